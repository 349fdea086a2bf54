"""Reads a WAV's header: where the samples are, and how many."""

# Sources: Microsoft's "Multiple Channel Audio Data and WAVE Files", EBU Tech 3306 (RF64), ITU-R BS.2088 (BW64).

import struct
from collections.abc import Generator
from dataclasses import dataclass, replace

from service.audio import block_codecs
from service.audio.block_codecs import BlockCodec
from service.audio.wav_format import FMT_BYTES, parse_fmt
from service.audio.wav_tags import NO_TAGS, TAG_CHUNKS, TagReader, WavTags
from service.errors import Unprocessable
from service.models import RecordWarning
from service.refusals import HEADER_TOO_LARGE, MALFORMED_HEADER, NOT_WAV

# Broadcast WAVs have some MB of metadata before the samples. A longer header is refused.
MAX_HEADER_BYTES = 16 * 2**20
# Skipping millions of empty chunks would take more CPU than encoding sound.
MAX_CHUNKS = 2**16

# How much of each chunk before the samples is read.
_KEPT_BYTES = {b"fmt ": FMT_BYTES, b"ds64": 16, b"fact": 4}

_OTHER_MAGIC = {
    b"RIFX": "a big-endian RIFX file",
    b"riff": "a Sony Wave64 file",
    b"FORM": "an AIFF file",
    b"fLaC": "a FLAC file",
    b"OggS": "an Ogg file",
    b"caff": "a Core Audio file",
    b"ID3\x03": "an MP3 file",
    b"ID3\x04": "an MP3 file",
}
# sox writes 0x7FFFF000 minus the rest of a block, arecord 0x80000000, ffmpeg 0xFFFFFFFF or that minus the header,
# and others 0x7FFFFFFF.
_PLACEHOLDERS = (range(0x7FFFF000 - 64, 0x80000001), range(0xFFFFFF00, 0x100000000))


@dataclass(frozen=True, slots=True)
class WavHeader:
    """What the header says about the samples.

    `codec` is ffmpeg's name for the raw sample format ("s16le") or for a block codec ("gsm_ms"), `channel_mask` the
    speaker bits (0 if the file names none). `block_align` bytes hold `samples_per_block` samples of all channels: one,
    unless it is a block codec. `data_size` is the byte count of the samples. It is None if the writer did not know it:
    the samples then go on to the end of the body. `fact` is how many samples the fact chunk declares, if there is one.
    `warnings` say what is odd about the header, and `tags` what the file says about itself.
    """

    codec: str
    sample_rate: int
    channels: int
    channel_mask: int
    block_align: int
    data_offset: int
    data_size: int | None
    is_riff: bool
    warnings: tuple[RecordWarning, ...] = ()
    tags: WavTags = NO_TAGS
    samples_per_block: int = 1
    fact: int | None = None

    @property
    def playing_rate(self) -> int:
        """The bytes of samples that play in a second."""
        return self.block_align * self.sample_rate // self.samples_per_block

    @property
    def block_codec(self) -> BlockCodec | None:
        """The codec if it packs samples into blocks."""
        return block_codecs.BY_NAME.get(self.codec)

    def sample_count(self, byte_count: int) -> int:
        """Return how many samples of each channel so many bytes of data hold.

        The last block may be short. It may also hold more than was recorded: if the fact chunk fits, it is right.
        """
        held = self._held(byte_count)
        return self.fact if self.fact is not None and self._is_right(self.fact, held) else held

    def leftover(self, byte_count: int) -> int:
        """Return how many bytes at the end of so many are less than one sample.

        With a block codec, a single odd byte is the chunk's pad byte: sox counts it.
        """
        rest = byte_count % self.block_align
        codec = self.block_codec
        if codec is None:
            return rest
        rest -= codec.byte_count(codec.sample_count(rest, self.channels), self.channels)
        return 0 if rest == 1 and byte_count % 2 == 0 else rest

    def is_fact_wrong(self, byte_count: int) -> bool:
        """Return whether the blocks do not hold what the fact chunk declares. Its place-holders are not wrong."""
        if self.fact is None or self.block_codec is None or self.fact == 0 or self.fact >= _PLACEHOLDERS[0].start:
            return False
        return not self._is_right(self.fact, self._held(byte_count))

    def _held(self, byte_count: int) -> int:
        blocks, rest = divmod(byte_count, self.block_align)
        codec = self.block_codec
        return blocks * self.samples_per_block + (codec.sample_count(rest, self.channels) if codec is not None else 0)

    def _is_right(self, fact: int, held: int) -> bool:
        # libsndfile divides the count by the channels. In a single block, that looks like a short recording.
        is_divided = self.channels > 1 and fact == held // self.channels
        return fact > 0 and 0 <= held - fact < self.samples_per_block and not is_divided


def parse_header() -> Generator[int, bytes, WavHeader]:
    """Yield how many bytes to send next (negative: how many to skip), and return the header at the first sample.

    Raises UnsupportedMedia for anything but a WAV and Unprocessable for a WAV that we refuse.
    """
    is_riff = _require_wav((yield 4))
    riff_size, form = struct.unpack("<I4s", (yield 8))
    if form != b"WAVE":
        raise NOT_WAV(what="a RIFF file that does not hold WAVE", offset=8)
    offset, chunk_count = 12, 0
    chunks: dict[bytes, tuple[int, bytes]] = {}
    tag_reader = TagReader()
    while True:
        chunk_id, size = struct.unpack("<4sI", (yield 8))
        offset += 8
        if chunk_id == b"data":
            header = _header(chunks, is_riff=is_riff, riff_size=riff_size, size=size, offset=offset)
            return replace(header, tags=tag_reader.tags)
        padded = size + size % 2
        chunk_count += 1
        if offset + padded > MAX_HEADER_BYTES or chunk_count > MAX_CHUNKS:
            raise HEADER_TOO_LARGE(max_bytes=MAX_HEADER_BYTES, max_chunks=MAX_CHUNKS, offset=offset - 8)
        kept = min(size, _KEPT_BYTES.get(chunk_id, 0)) or tag_reader.wanted(chunk_id, size)
        if kept and chunk_id in TAG_CHUNKS:
            tag_reader.read(chunk_id, (yield kept))
        elif kept:
            if chunk_id in chunks and chunk_id != b"fact":
                raise _malformed(f"There is a second {chunk_id.decode().strip()} chunk.", offset - 8)
            chunks[chunk_id] = offset, (yield kept)
            if chunk_id == b"fmt ":
                parse_fmt(*chunks[chunk_id])  # refuse now, not after megabytes of other chunks
        if padded > kept:
            yield kept - padded
        offset += padded


def _header(
    chunks: dict[bytes, tuple[int, bytes]], *, is_riff: bool, riff_size: int, size: int, offset: int
) -> WavHeader:
    if b"fmt " not in chunks:
        raise _malformed("The data chunk comes before the fmt chunk.", offset - 8)
    if is_riff:
        data_size = _data_size(size, riff_size, offset)
    elif b"ds64" in chunks:
        long_riff_size, long_data_size = _parse_ds64(*chunks[b"ds64"])
        is_short = size not in {0, 0xFFFFFFFF}
        data_size = _data_size(size if is_short else long_data_size, long_riff_size, offset, is_long=not is_short)
    else:
        raise _malformed("An RF64 or BW64 file needs a ds64 chunk.", offset - 8)
    found = parse_fmt(*chunks[b"fmt "])._asdict()
    fact = int.from_bytes(chunks[b"fact"][1], "little") if b"fact" in chunks else None
    return WavHeader(**found, data_offset=offset, data_size=data_size, is_riff=is_riff, fact=fact)


def _malformed(what: str, offset: int) -> Unprocessable:
    return MALFORMED_HEADER(what=what, offset=offset)


def _require_wav(magic: bytes) -> bool:
    """Return whether this is plain RIFF (not RF64 or BW64); raise UnsupportedMedia for anything else."""
    if magic in {b"RIFF", b"RF64", b"BW64"}:
        return magic == b"RIFF"
    raise NOT_WAV(what=_OTHER_MAGIC.get(magic, "not a WAV"), offset=0)


def _parse_ds64(offset: int, ds64: bytes) -> tuple[int, int]:
    if len(ds64) < 16:  # noqa: PLR2004 - two 64-bit sizes
        raise _malformed("The ds64 chunk is shorter than 16 bytes.", offset)
    riff_size, data_size = struct.unpack("<QQ", ds64[:16])
    return riff_size, data_size


def _data_size(size: int, riff_size: int, data_offset: int, *, is_long: bool = False) -> int | None:
    """Return the size, or None if it is a placeholder of a program that wrote into a pipe."""
    if size == 0:
        # If the RIFF size says that chunks follow, the file is finished and has no sound: 0 is not a placeholder.
        largest = 2**63 if is_long else _PLACEHOLDERS[0].start
        return 0 if data_offset - 8 < riff_size < largest else None
    if is_long:
        return size if size < 2**63 else None
    return None if any(size in placeholder for placeholder in _PLACEHOLDERS) else size
