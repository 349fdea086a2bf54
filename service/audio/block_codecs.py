"""Knows the codecs that pack samples into blocks, GSM 6.10 and ADPCM: their headers, their blocks, and their counts."""

# Sources: Microsoft's "New Multimedia Data Types and Data Techniques" (1994), and what ffmpeg, sox and libsndfile do.
# A file that these decode differently is refused.

import struct
from dataclasses import dataclass
from typing import NamedTuple

from service.models import RecordWarning
from service.record_warnings import NO_SAMPLES_PER_BLOCK, WRONG_BITS, WRONG_COEFFICIENTS
from service.refusals import MALFORMED_BLOCK, MALFORMED_HEADER, UNSUPPORTED_CHANNELS, UNSUPPORTED_CODEC

# The fmt chunk of MS ADPCM is the longest, because of its coefficients.
FMT_BYTES = 50
_COEFFICIENTS = struct.pack("<14h", 256, 0, 512, -256, 0, 0, 192, 64, 240, 0, 460, -208, 392, -232)
_COEFFICIENT_PAIRS, _COEFFICIENTS_AT = 7, 22


@dataclass(frozen=True, slots=True)
class BlockCodec:
    """One codec. `name` is that of ffmpeg's decoder, `title` is for people.

    For each channel, a block begins with `head_bytes`, which hold `head_samples`. From there on, `packed_bytes` of each
    channel hold `packed_samples`, of which decoders take whole groups of `group`. A head has an index into one of the
    codec's tables: `index_at` is its place in the first head, `index_stride` the distance to the next channel's, and
    `largest_index` the table's end; `has_reserved_byte` is whether a byte without meaning follows it. GSM 6.10 has no
    heads, and its blocks have one length.
    """

    name: str
    title: str
    tag: int
    most_channels: int
    head_bytes: int
    head_samples: int
    packed_bytes: int
    packed_samples: int
    group: int
    index_at: int = 0
    index_stride: int = 0
    largest_index: int | None = None
    has_reserved_byte: bool = False

    def sample_count(self, byte_count: int, channels: int) -> int:
        """Return how many samples the first `byte_count` bytes of a block hold, for each channel."""
        body = byte_count - self.head_bytes * channels
        if body < 0:
            return 0
        packed = body * self.packed_samples // (self.packed_bytes * channels)
        return self.head_samples + packed - packed % self.group

    def byte_count(self, sample_count: int, channels: int) -> int:
        """Return how many bytes of a block so many samples take."""
        if sample_count == 0:
            return 0
        packed = sample_count - self.head_samples
        return self.head_bytes * channels + -(-packed * self.packed_bytes * channels // self.packed_samples)

    def cleaned(self, blocks: bytes, block_align: int, channels: int, offset: int) -> bytes:
        """Return whole blocks so that every ffmpeg decodes them; `offset` is the place of the first one in the body.

        Raises Unprocessable for a block with an index beyond its table: ffmpeg drops it, and other decoders guess.
        """
        if self.largest_index is None:
            return blocks
        clean = bytearray(blocks)
        for channel in range(channels):
            place = self.index_at + channel * self.index_stride
            indices = clean[place::block_align]
            if max(indices, default=0) > self.largest_index:
                block, index = next((at, index) for at, index in enumerate(indices) if index > self.largest_index)
                what = f"A block of {self.title} has an index of {index}, and {self.largest_index} is the highest."
                raise MALFORMED_BLOCK(what=what, offset=offset + block * block_align + place)
            if self.has_reserved_byte:  # ffmpeg 5.1 reads it as a part of the index
                clean[place + 1 :: block_align] = bytes(len(indices))
        return bytes(clean)


GSM = BlockCodec("gsm_ms", "GSM 6.10", 0x31, 1, 0, 0, packed_bytes=65, packed_samples=320, group=320)
IMA_ADPCM = BlockCodec("adpcm_ima_wav", "IMA ADPCM", 0x11, 2, 4, 1, 1, 2, 8, 2, 4, 88, has_reserved_byte=True)
MS_ADPCM = BlockCodec("adpcm_ms", "MS ADPCM", 0x02, 2, 7, 2, 1, 2, 1, 0, 1, 6)
BY_TAG = {codec.tag: codec for codec in (GSM, IMA_ADPCM, MS_ADPCM)}
BY_NAME = {codec.name: codec for codec in BY_TAG.values()}


class BlockFormat(NamedTuple):
    """What a fmt chunk says about blocks, and what is odd about it. Every block has `samples_per_block`."""

    codec: BlockCodec
    block_align: int
    samples_per_block: int
    warnings: tuple[RecordWarning, ...]


def parse_blocks(offset: int, fmt: bytes) -> BlockFormat:
    """Return what the fmt chunk of a block codec says; `offset` is its place in the body. Raises Unprocessable.

    Samples per block follow from the block align. A header that says otherwise is refused, because some players then
    skip a part of each block. The byte rate is ignored: it is rounded in several ways.
    """
    tag, channels, _, _, block_align, bits = struct.unpack("<HHIIHH", fmt[:16])
    codec = BY_TAG[tag]
    if channels > codec.most_channels:
        legal = f"1 to {codec.most_channels} with {codec.title}" if codec.most_channels > 1 else f"1 with {codec.title}"
        raise UNSUPPORTED_CHANNELS(channels=channels, legal=legal, offset=offset + 2)
    samples_per_block = _samples_per_block(codec, block_align, channels, offset)
    declared = struct.unpack("<H", fmt[18:20])[0] if len(fmt) >= 20 else 0  # noqa: PLR2004 - to its end
    if declared not in {0, samples_per_block}:
        what = f"The header says {declared} samples per block, but {block_align} bytes hold {samples_per_block}."
        raise MALFORMED_HEADER(what=what, offset=offset + 18)
    warnings = _about_bits(codec, bits, offset, is_declared=declared != 0)
    if declared == 0:
        warnings.append(NO_SAMPLES_PER_BLOCK(right=samples_per_block))
    if codec is MS_ADPCM:
        warnings += _about_coefficients(offset, fmt)
    return BlockFormat(codec, block_align, samples_per_block, tuple(warnings))


def _samples_per_block(codec: BlockCodec, block_align: int, channels: int, offset: int) -> int:
    """Return how many samples fill a block exactly. Raises Unprocessable if the codec has no such blocks."""
    samples = codec.sample_count(block_align, channels)
    is_whole = samples > 0 and codec.byte_count(samples, channels) == block_align
    if not is_whole or (codec is GSM and samples != GSM.packed_samples):
        what = f"{codec.title} with {channels} channels has no blocks of {block_align} bytes."
        raise MALFORMED_HEADER(what=what, offset=offset + 12)
    return samples


def _about_bits(codec: BlockCodec, bits: int, offset: int, *, is_declared: bool) -> list[RecordWarning]:
    """Return a warning if ADPCM has bits other than 4; raise Unprocessable if nothing proves that it has 4."""
    if codec is GSM or bits == 4:  # noqa: PLR2004 - what ADPCM has
        return []
    if not is_declared:
        raise UNSUPPORTED_CODEC(tag=codec.tag, bits=bits, offset=offset)
    return [WRONG_BITS(bits=bits, title=codec.title, right=4)]


def _about_coefficients(offset: int, fmt: bytes) -> list[RecordWarning]:
    """Return a warning if there are not seven pairs; raise Unprocessable if they are not the usual ones.

    ffmpeg and libsndfile always use the usual ones, but sox uses the header's.
    """
    given = fmt[_COEFFICIENTS_AT:FMT_BYTES]
    count = struct.unpack("<H", fmt[20:22])[0] if len(fmt) >= _COEFFICIENTS_AT else 0
    given = given[: count * 4]
    if given != _COEFFICIENTS[: len(given)]:
        what = "The coefficients are not those of MS ADPCM, and players disagree on them."
        raise MALFORMED_HEADER(what=what, offset=offset + _COEFFICIENTS_AT)
    if count == _COEFFICIENT_PAIRS and len(given) == len(_COEFFICIENTS):
        return []
    return [WRONG_COEFFICIENTS(right=_COEFFICIENT_PAIRS, declared=count, given=len(given) // 4)]


def wav_header(codec: BlockCodec, sample_rate: int, channels: int, block_align: int) -> bytes:
    """Return a WAV header for ffmpeg, whose demuxer finds the blocks. It states no length: the end of input is it."""
    bits = 0 if codec is GSM else 4
    byte_rate = sample_rate * block_align // codec.sample_count(block_align, channels)
    fmt = struct.pack("<HHIIHH", codec.tag, channels, sample_rate, byte_rate, block_align, bits)
    return struct.pack("<4sI4s4sI", b"RIFF", 0xFFFFFFFF, b"WAVE", b"fmt ", len(fmt)) + fmt + b"data" + bytes(4)
