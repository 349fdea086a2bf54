"""Reads a WAV's fmt chunk: what the samples are, and whether we take them."""

import struct
from typing import NamedTuple

from service.audio import block_codecs
from service.errors import Unprocessable
from service.models import RecordWarning
from service.record_warnings import WRONG_BITS, WRONG_BLOCK_ALIGN, WRONG_BYTE_RATE
from service.refusals import (
    MALFORMED_HEADER,
    UNSUPPORTED_CHANNELS,
    UNSUPPORTED_CODEC,
    UNSUPPORTED_SAMPLE_RATE,
)

SAMPLE_RATES = range(1_000, 768_001)
CHANNELS = range(1, 33)
# Nothing after so many bytes is used.
FMT_BYTES = block_codecs.FMT_BYTES

_PCM, _FLOAT, _ALAW, _MULAW, _EXTENSIBLE = 0x0001, 0x0003, 0x0006, 0x0007, 0xFFFE
_CODECS = {
    (_PCM, 1): "u8",
    (_PCM, 2): "s16le",
    (_PCM, 3): "s24le",
    (_PCM, 4): "s32le",
    (_FLOAT, 4): "f32le",
    (_FLOAT, 8): "f64le",
    (_ALAW, 1): "alaw",
    (_MULAW, 1): "mulaw",
}
_G711_TITLES, _G711_BITS = {_ALAW: "A-law", _MULAW: "mu-law"}, 8
_EXTENSIBLE_BYTES = 40
# The tail of every KSDATAFORMAT_SUBTYPE_* GUID; its first two bytes are the format tag.
_SUBTYPE_TAIL = bytes.fromhex("000000001000800000aa00389b71")


class WavFormat(NamedTuple):
    """What a fmt chunk says about the samples.

    `codec` is ffmpeg's name for the raw sample format ("s16le") or for a block codec ("gsm_ms"), `channel_mask` the
    speaker bits (0 if the file names none). `block_align` bytes hold `samples_per_block` samples of all channels.
    `warnings` name the fields that do not fit these and are ignored.
    """

    codec: str
    sample_rate: int
    channels: int
    channel_mask: int
    block_align: int
    warnings: tuple[RecordWarning, ...]
    samples_per_block: int = 1


def parse_fmt(offset: int, fmt: bytes) -> WavFormat:
    """Return what a fmt chunk's first `FMT_BYTES` say; `offset` is its place in the body. Raises Unprocessable.

    Block align and byte rate follow from the other fields. Many programs write wrong ones, and players ignore them.
    """
    if len(fmt) < 16:  # noqa: PLR2004 - WAVEFORMAT with its bits per sample
        raise _malformed("The fmt chunk is shorter than 16 bytes.", offset)
    tag, channels, sample_rate, byte_rate, block_align, bits = struct.unpack("<HHIIHH", fmt[:16])
    if channels not in CHANNELS:
        raise UNSUPPORTED_CHANNELS(channels=channels, legal=f"1 to {CHANNELS[-1]}", offset=offset + 2)
    if sample_rate not in SAMPLE_RATES:
        least, most = SAMPLE_RATES[0], SAMPLE_RATES[-1]
        raise UNSUPPORTED_SAMPLE_RATE(sample_rate=sample_rate, least=least, most=most, offset=offset + 4)
    if tag in block_codecs.BY_TAG:
        blocks = block_codecs.parse_blocks(offset, fmt)
        return WavFormat(
            blocks.codec.name, sample_rate, channels, 0, blocks.block_align, blocks.warnings, blocks.samples_per_block
        )
    tag, mask = _subtype(offset, fmt) if tag == _EXTENSIBLE else (tag, 0)
    width = _width(tag, bits)
    codec = _CODECS.get((tag, width))
    if codec is None:
        raise UNSUPPORTED_CODEC(tag=tag, bits=bits, offset=offset)
    if codec == "s24le" and block_align == channels * 4:
        what = (
            f"The block align of {block_align} puts samples of {bits} bits into 4 bytes, and players disagree on them."
        )
        raise _malformed(what, offset + 12)
    right = channels * width
    warnings = _warnings(tag, bits, (block_align, right), (byte_rate, right * sample_rate))
    return WavFormat(codec, sample_rate, channels, mask, right, warnings)


def _subtype(offset: int, fmt: bytes) -> tuple[int, int]:
    """Return the format tag and the channel mask of an extensible fmt chunk."""
    if len(fmt) < _EXTENSIBLE_BYTES:
        raise _malformed("The extensible fmt chunk is shorter than 40 bytes.", offset)
    mask, tag, tail = struct.unpack("<IH14s", fmt[20:40])
    # Another tail is a vendor's own format, which is not among our codecs.
    return (tag if tail == _SUBTYPE_TAIL else _EXTENSIBLE), mask


def _width(tag: int, bits: int) -> int:
    """Return the bytes that one sample takes. A-law and mu-law have one, whatever the bits of the decoded samples."""
    return 1 if tag in _G711_TITLES else (bits + 7) // 8


def _warnings(
    tag: int, bits: int, block_align: tuple[int, int], byte_rate: tuple[int, int]
) -> tuple[RecordWarning, ...]:
    """Return a warning for each field that is wrong; the pairs are what is declared and what is right."""
    found = []
    if tag in _G711_TITLES and bits != _G711_BITS:
        found.append(WRONG_BITS(bits=bits, title=_G711_TITLES[tag], right=_G711_BITS))
    declared, right = block_align
    if declared != right:
        found.append(WRONG_BLOCK_ALIGN(declared=declared, right=right))
    declared, right = byte_rate
    if declared != right:
        found.append(WRONG_BYTE_RATE(declared=declared, right=right))
    return tuple(found)


def _malformed(what: str, offset: int) -> Unprocessable:
    return MALFORMED_HEADER(what=what, offset=offset)
