"""Makes the WAVs: 44.1 kHz, stereo, 16 bits, and enough like music to give LAME its usual work."""

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

SAMPLE_RATE = 44_100
BYTES_PER_SECOND = SAMPLE_RATE * 4
_BLOCK_SECONDS = 30


def make_wav(directory: Path, seconds: int) -> Path:
    """Return a WAV of that length, and make it first if it is not there yet."""
    path = directory / f"{seconds}s.wav"
    if not path.exists():
        draft = path.with_suffix(".draft")
        with draft.open("wb") as file:
            file.writelines(stream_wav(seconds * BYTES_PER_SECOND))
        draft.rename(path)
    return path


def wav_byte_count(sample_byte_count: int) -> int:
    """Return the size of a WAV with `sample_byte_count` bytes of samples."""
    return len(_header(sample_byte_count)) + sample_byte_count


def stream_wav(sample_byte_count: int) -> Iterator[bytes]:
    """Yield a WAV in pieces of half a second, the same half minute over and over."""
    yield _header(sample_byte_count)
    block = memoryview(_block())
    size = BYTES_PER_SECOND // 2
    for start in range(0, sample_byte_count, size):
        offset = start % len(block)
        yield bytes(block[offset : offset + min(size, sample_byte_count - start)])


def _header(sample_byte_count: int) -> bytes:
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, SAMPLE_RATE, BYTES_PER_SECOND, 4, 16)
    return (
        struct.pack("<4sI4s", b"RIFF", 36 + sample_byte_count, b"WAVE")
        + fmt
        + struct.pack("<4sI", b"data", sample_byte_count)
    )


@cache
def _block() -> bytes:
    """Return chords that sweep in opposite directions left and right, over some noise."""
    random = np.random.default_rng(1)
    time = np.arange(_BLOCK_SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    stereo = random.normal(0, 0.02, (len(time), 2))
    for start, stop in ((110, 440), (330, 1320), (2000, 6000)):
        sweep = (stop - start) / (2 * _BLOCK_SECONDS) * time**2
        stereo[:, 0] += 0.15 * np.sin(2 * np.pi * (start * time + sweep))
        stereo[:, 1] += 0.15 * np.sin(2 * np.pi * (stop * time - sweep))
    return (np.clip(stereo, -1, 1) * 32767).astype("<i2").tobytes()
