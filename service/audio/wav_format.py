"""Reads a WAV's fmt chunk: what the samples are, and whether we take them."""

import struct
from typing import NamedTuple

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
# WAVEFORMATEXTENSIBLE takes 40 bytes; nothing after them is used.
FMT_BYTES = 40

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
# The tail of every KSDATAFORMAT_SUBTYPE_* GUID; its first two bytes are the format tag.
_SUBTYPE_TAIL = bytes.fromhex("000000001000800000aa00389b71")


class WavFormat(NamedTuple):
    """What a fmt chunk says about the samples.

    `codec` is ffmpeg's name for the raw sample format ("s16le"), `channel_mask` the speaker bits (0 if the file names
    none), and `block_align` the bytes of one sample of all channels. `warnings` name the fields that do not fit these
    and are ignored.
    """

    codec: str
    sample_rate: int
    channels: int
    channel_mask: int
    block_align: int
    warnings: tuple[RecordWarning, ...]


def parse_fmt(offset: int, fmt: bytes) -> WavFormat:
    """Return what a fmt chunk's first 40 bytes say; `offset` is its place in the body. Raises Unprocessable.

    Block align and byte rate follow from the other fields. Many programs write wrong ones, and players ignore them.
    """
    if len(fmt) < 16:  # noqa: PLR2004 - WAVEFORMAT with its bits per sample
        raise _malformed("The fmt chunk is shorter than 16 bytes.", offset)
    tag, channels, sample_rate, byte_rate, block_align, bits = struct.unpack("<HHIIHH", fmt[:16])
    tag, mask = _subtype(offset, fmt) if tag == _EXTENSIBLE else (tag, 0)
    if channels not in CHANNELS:
        raise UNSUPPORTED_CHANNELS(channels=channels, most=CHANNELS[-1], offset=offset + 2)
    if sample_rate not in SAMPLE_RATES:
        least, most = SAMPLE_RATES[0], SAMPLE_RATES[-1]
        raise UNSUPPORTED_SAMPLE_RATE(sample_rate=sample_rate, least=least, most=most, offset=offset + 4)
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
    if len(fmt) < FMT_BYTES:
        raise _malformed("The extensible fmt chunk is shorter than 40 bytes.", offset)
    mask, tag, tail = struct.unpack("<IH14s", fmt[20:40])
    # Another tail is a vendor's own format, which is not among our codecs.
    return (tag if tail == _SUBTYPE_TAIL else _EXTENSIBLE), mask


def _width(tag: int, bits: int) -> int:
    """Return the bytes that one sample takes. A-law and mu-law have one, whatever the bits of the decoded samples."""
    return 1 if tag in {_ALAW, _MULAW} else (bits + 7) // 8


def _warnings(
    tag: int, bits: int, block_align: tuple[int, int], byte_rate: tuple[int, int]
) -> tuple[RecordWarning, ...]:
    """Return a warning for each field that is wrong; the pairs are what is declared and what is right."""
    found = []
    if tag in {_ALAW, _MULAW} and bits != 8:  # noqa: PLR2004 - G.711
        found.append(WRONG_BITS(bits=bits))
    declared, right = block_align
    if declared != right:
        found.append(WRONG_BLOCK_ALIGN(declared=declared, right=right))
    declared, right = byte_rate
    if declared != right:
        found.append(WRONG_BYTE_RATE(declared=declared, right=right))
    return tuple(found)


def _malformed(what: str, offset: int) -> Unprocessable:
    return MALFORMED_HEADER(what=what, offset=offset)
