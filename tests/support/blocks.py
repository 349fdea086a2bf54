"""WAVs of codecs that pack samples into blocks: GSM 6.10, IMA ADPCM and MS ADPCM, honest and hostile.

libsndfile encodes and decodes them. It shares no code with ffmpeg.
"""

import io
import struct
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from tests.support.wavs import Samples, chirp, chunk

MS_COEFFICIENTS = ((256, 0), (512, -256), (0, 0), (192, 64), (240, 0), (460, -208), (392, -232))


@dataclass(frozen=True)
class Kind:
    """A codec: its format tag, libsndfile's name for it, and how many channels it may have."""

    tag: int
    subtype: str
    most_channels: int = 2

    def __str__(self) -> str:
        return self.subtype


GSM, IMA, MS = Kind(0x31, "GSM610", 1), Kind(0x11, "IMA_ADPCM"), Kind(0x02, "MS_ADPCM")
KINDS = (GSM, IMA, MS)
# Every codec with every number of channels that it may have.
FORMS = tuple((kind, channels) for kind in KINDS for channels in range(1, kind.most_channels + 1))


@dataclass(frozen=True)
class Blocks:
    """A WAV of blocks, whose every field can be wrong; a field that is None is left out, with all that follows it.

    `coefficients` are raw bytes, and `coefficient_count` what the header says about them.
    """

    kind: Kind
    channels: int
    sample_rate: int
    block_align: int
    data: bytes
    bits: int = 4
    samples_per_block: int | None = None
    coefficient_count: int | None = None
    coefficients: bytes = b""
    fact: int | None = None
    data_size: int | None = None
    riff_size: int | None = None

    def but(self, **lies: Any) -> "Blocks":
        """Return the same WAV with some fields changed."""
        return replace(self, **lies)

    def fmt(self) -> bytes:
        """Return the fmt chunk."""
        byte_rate = self.sample_rate * self.block_align // max(self.samples_per_block or 1, 1) % 2**32
        fields = struct.pack(
            "<HHIIHH", self.kind.tag, self.channels, self.sample_rate, byte_rate, self.block_align, self.bits
        )
        if self.samples_per_block is None:
            return chunk(b"fmt ", fields)
        extra = struct.pack("<H", self.samples_per_block)
        if self.coefficient_count is not None:
            extra += struct.pack("<H", self.coefficient_count) + self.coefficients
        return chunk(b"fmt ", fields + struct.pack("<H", len(extra)) + extra)

    @property
    def head(self) -> bytes:
        """Everything before the first block."""
        fact = b"" if self.fact is None else chunk(b"fact", struct.pack("<I", self.fact))
        size = len(self.data) if self.data_size is None else self.data_size
        before = b"WAVE" + self.fmt() + fact + b"data" + struct.pack("<I", size)
        riff_size = len(before) + len(self.data) + len(self.data) % 2 if self.riff_size is None else self.riff_size
        return b"RIFF" + struct.pack("<I", riff_size) + before

    def wav(self) -> bytes:
        """Return the whole file."""
        return self.head + self.data + bytes(len(self.data) % 2)


def encoded(kind: Kind, samples: Samples, sample_rate: int) -> Blocks:
    """Return the samples as whole blocks, with an honest header but no fact chunk."""
    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate, format="WAV", subtype=kind.subtype)
    chunks = _chunks(file.getvalue())
    tag, channels, rate, _, block_align, bits, _, samples_per_block = struct.unpack_from("<HHIIHHHH", chunks[b"fmt "])
    assert (tag, rate) == (kind.tag, sample_rate)
    data = chunks[b"data"]
    blocks = Blocks(kind, channels, rate, block_align, data[: len(data) // block_align * block_align], bits)
    blocks = blocks.but(samples_per_block=samples_per_block)
    if kind is not MS:
        return blocks
    return blocks.but(coefficient_count=7, coefficients=struct.pack("<14h", *np.ravel(MS_COEFFICIENTS)))


def of_chirp(kind: Kind, channels: int, sample_rate: int = 8000, sample_count: int = 5000) -> Blocks:
    """Return a chirp as whole blocks."""
    return encoded(kind, chirp(sample_count, sample_rate, channels), sample_rate)


def decoded(wav: bytes) -> npt.NDArray[np.float64]:
    """Return what libsndfile makes of a WAV, in the shape (sample_count, channels). GSM has a block too many there."""
    samples: npt.NDArray[np.float64] = soundfile.read(io.BytesIO(wav), always_2d=True)[0]
    return samples


def read_blocks(fmt: bytes, fact: bytes, data: bytes) -> int | None:
    """Return how many samples a service must take of such chunks, in the simplest way. None if it must refuse them."""
    tag, channels, _, _, align, bits = struct.unpack_from("<HHIIHH", fmt)
    declared = struct.unpack_from("<H", fmt, 18)[0] if len(fmt) >= 20 else 0
    codec = {GSM.tag: _gsm_samples, IMA.tag: _ima_samples, MS.tag: _ms_samples}[tag]
    per_block = codec(align, channels)
    is_block = align > 0 and codec(align - 1, channels) < per_block and (tag != GSM.tag or align == 65)
    if channels not in ((1,) if tag == GSM.tag else (1, 2)) or not is_block or declared not in {0, per_block}:
        return None
    if tag != GSM.tag and bits != 4 and not declared:
        return None
    if tag == MS.tag and not _has_own_coefficients(fmt):
        return None
    blocks = [data[start : start + align] for start in range(0, len(data), align)]
    blocks = [block for block in blocks if codec(len(block), channels)]
    if any(
        _index(tag, block, channel) > {IMA.tag: 88, MS.tag: 6}.get(tag, 255)
        for block in blocks
        for channel in range(channels)
    ):
        return None
    held = sum(codec(len(block), channels) for block in blocks)
    count = int.from_bytes(fact[:4], "little")
    is_divided = channels == 2 and count == held // 2
    return count if count and held - per_block < count <= held and not is_divided else held


def _gsm_samples(byte_count: int, _channels: int) -> int:
    return byte_count // 65 * 320


def _ima_samples(byte_count: int, channels: int) -> int:
    return byte_count // (4 * channels) * 8 - 7 if byte_count >= 4 * channels > 0 else 0


def _ms_samples(byte_count: int, channels: int) -> int:
    return (byte_count - 7 * channels) * 2 // channels + 2 if byte_count >= 7 * channels > 0 else 0


def _index(tag: int, block: bytes, channel: int) -> int:
    return block[{IMA.tag: 4 * channel + 2, MS.tag: channel, GSM.tag: 0}[tag]]


def _has_own_coefficients(fmt: bytes) -> bool:
    count = struct.unpack_from("<H", fmt, 20)[0] if len(fmt) >= 22 else 0
    given = fmt[22 : min(22 + 4 * count, 50)]
    own = struct.pack("<14h", *np.ravel(MS_COEFFICIENTS))
    return own.startswith(given)


def _chunks(wav: bytes) -> dict[bytes, bytes]:
    found, place = {}, 12
    while place + 8 <= len(wav):
        name, size = struct.unpack_from("<4sI", wav, place)
        found[name] = wav[place + 8 : place + 8 + size]
        place += 8 + size + size % 2
    return found
