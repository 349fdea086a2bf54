"""Reads a WAV's header: where the samples are, and how many."""

# Sources: Microsoft's "Multiple Channel Audio Data and WAVE Files", EBU Tech 3306 (RF64), ITU-R BS.2088 (BW64).

import struct
from collections.abc import Generator
from dataclasses import dataclass
from typing import NamedTuple

from service.audio import block_codecs
from service.audio.block_codecs import BlockCodec
from service.audio.chunks import CHUNK_HEADER_BYTES, WAV_MAGIC
from service.audio.header_chunks import MAX_HEADER_BYTES, HeaderChunks, find_data, malformed
from service.audio.other_formats import not_wav
from service.audio.placeholders import is_placeholder
from service.audio.wav_format import parse_fmt
from service.audio.wav_tags import NO_TAGS, WavTags
from service.models import RecordWarning
from service.record_warnings import LEADING_TAG

_ID3_HEADER_BYTES = 10
_ID3_FOOTER_FLAG = 0x10
# A 64-bit size from here on means that the writer did not know it.
_UNKNOWN_LONG_SIZE = 2**63


@dataclass(frozen=True, slots=True)
class WavHeader:
    """What the header says about the samples.

    `codec` is ffmpeg's name for the raw sample format ("s16le") or for a block codec ("gsm_ms"), `channel_mask` the
    speaker bits (0 if the file names none). `block_align` bytes hold `samples_per_block` samples of all channels: one,
    unless it is a block codec. `data_size` is the byte count of the samples. It is None if the writer did not know it:
    the samples then go on to the end of the body. `is_zero` says whether the header declares 0 bytes, which may mean
    either. `riff_end` is where the RIFF size says that the file ends; it is None if the writer did not know that.
    `riff_offset` is where it begins, behind any tag. `fact` is how many samples the fact chunk declares, if there is
    one. `warnings` say what is odd about the header, and `tags` what the file says about itself.
    """

    codec: str
    sample_rate: int
    channels: int
    channel_mask: int
    block_align: int
    data_offset: int
    data_size: int | None
    is_riff: bool
    is_zero: bool = False
    riff_end: int | None = None
    riff_offset: int = 0
    warnings: tuple[RecordWarning, ...] = ()
    samples_per_block: int = 1
    fact: int | None = None
    tags: WavTags = NO_TAGS

    @property
    def playing_rate(self) -> int:
        """The bytes of samples that play in a second."""
        return self.block_align * self.sample_rate // self.samples_per_block

    @property
    def least_data_size(self) -> int:
        """The bytes of samples that must follow by all that the header says; 0 if it does not say."""
        declared = self.data_size or 0
        return declared if self.riff_end is None else min(declared, self.riff_end - self.data_offset)

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
        if self.fact is None or self.block_codec is None or self.fact == 0 or is_placeholder(self.fact):
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

    Raises UnsupportedMedia for anything but a WAV and Unprocessable for a WAV that we refuse. If the body ends
    earlier, throw EOFError in. It comes out again, unless a broken chunk explains the end.
    """
    start, magic = yield from _skip_tags()
    riff_size, form = struct.unpack("<I4s", (yield 8))
    if form != b"WAVE":
        raise not_wav(magic + struct.pack("<I4s", riff_size, form), offset=start + 8)
    chunks = HeaderChunks()
    try:
        offset, size = yield from find_data(chunks, start + 12)
    except EOFError:
        if chunks.broken is not None:
            raise chunks.broken from None
        raise
    place = offset - CHUNK_HEADER_BYTES
    if b"fmt " not in chunks.held:
        raise malformed("The data chunk comes before the fmt chunk.", place)
    found = parse_fmt(*chunks.held[b"fmt "])._asdict()
    if start:
        found["warnings"] += (LEADING_TAG(byte_count=start),)
    if magic == b"RIFF":
        sizes = _sizes(size, start + CHUNK_HEADER_BYTES + riff_size, offset)
    else:
        sizes = _long_sizes(chunks, size, start, offset)
    fact = int.from_bytes(chunks.held[b"fact"][1], "little") if b"fact" in chunks.held else None
    is_riff = magic == b"RIFF"
    found |= sizes._asdict() | {"fact": fact, "tags": chunks.tags.tags}
    return WavHeader(**found, data_offset=offset, is_riff=is_riff, riff_offset=start)


def _skip_tags() -> Generator[int, bytes, tuple[int, bytes]]:
    """Skip the ID3 tags before the WAV; return where it begins, and its first four bytes."""
    start, magic = 0, (yield 4)
    while magic.startswith(b"ID3") and start < MAX_HEADER_BYTES:
        rest = yield _ID3_HEADER_BYTES - len(magic)
        flags, sizes = rest[1], rest[2:]
        size = sum(byte << shift for byte, shift in zip(sizes, (21, 14, 7, 0), strict=True))
        size += _ID3_HEADER_BYTES if flags & _ID3_FOOTER_FLAG else 0
        if max(sizes) >= 0x80 or start + size > MAX_HEADER_BYTES:  # noqa: PLR2004 - each byte has seven bits
            raise not_wav(magic)
        if size:
            yield -size
        start += _ID3_HEADER_BYTES + size
        tag, magic = magic, (yield 4)
        if magic not in WAV_MAGIC and not magic.startswith(b"ID3"):
            raise not_wav(tag)
    if magic not in WAV_MAGIC:
        raise not_wav(magic)
    return start, magic


class _Sizes(NamedTuple):
    """The fields of `WavHeader` that are about sizes."""

    data_size: int | None
    is_zero: bool
    riff_end: int | None


def _sizes(size: int, riff_end: int, data_offset: int) -> _Sizes:
    """Judge the 32-bit size of a data chunk; `riff_end` is what the RIFF size says, right or not."""
    # Programs that do not know the one size do not know the other, and add the rest of the header to it or not.
    sizes = {riff_end - data_offset, riff_end - CHUNK_HEADER_BYTES}
    is_known = riff_end > data_offset and not any(map(is_placeholder, sizes))
    known_end = riff_end if is_known else None
    if size == 0:
        return _Sizes(data_size=0 if is_known else None, is_zero=True, riff_end=known_end)
    return _Sizes(data_size=None if is_placeholder(size) else size, is_zero=False, riff_end=known_end)


def _long_sizes(chunks: HeaderChunks, size: int, start: int, data_offset: int) -> _Sizes:
    """Judge the sizes of an RF64 or BW64, which are in its ds64 chunk."""
    if b"ds64" not in chunks.held:
        raise malformed("An RF64 or BW64 file needs a ds64 chunk.", data_offset - CHUNK_HEADER_BYTES)
    offset, ds64 = chunks.held[b"ds64"]
    if len(ds64) < 16:  # noqa: PLR2004 - two 64-bit sizes
        raise malformed("The ds64 chunk is shorter than 16 bytes.", offset)
    riff_size, long_size = struct.unpack("<QQ", ds64[:16])
    riff_end = start + CHUNK_HEADER_BYTES + riff_size
    if size not in {0, 0xFFFFFFFF}:
        return _sizes(size, riff_end, data_offset)
    is_known = data_offset < riff_end < _UNKNOWN_LONG_SIZE
    known_end = riff_end if is_known else None
    if long_size == 0:
        return _Sizes(data_size=0 if is_known else None, is_zero=True, riff_end=known_end)
    return _Sizes(long_size if long_size < _UNKNOWN_LONG_SIZE else None, is_zero=False, riff_end=known_end)
