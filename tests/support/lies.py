"""Seeded WAVs whose headers lie: a lie depends only on its number, so the number in a failure makes it again."""

import random
import struct
from dataclasses import dataclass

from tests.support import wavs
from tests.support.wavs import S16, S24, S32, U8, chunk

RATE = 8000
FORMATS = (S16, S16, S16, U8, S24, S32)
CODECS = {U8: "u8", S16: "s16le", S24: "s24le", S32: "s32le"}
PLACEHOLDERS = (0, 0xFFFFFFFF, 0xFFFFFFDB, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0x7FFF0000, 2_000_000_000, 0x1FFFFFFE)
LIST = chunk(b"LIST", b"INFO" + chunk(b"ISFT", b"Lavf59.27.100\0"))


@dataclass(frozen=True)
class Lie:
    """A WAV whose header may lie, and what its samples are."""

    wav: bytes
    codec: str
    block_align: int


def lie(number: int) -> Lie:
    """Return the lie of that number. Some tell the truth."""
    rng = random.Random(f"lie {number}")
    sample_format, channels = rng.choice(FORMATS), rng.choice([1, 1, 2])
    block_align = channels * sample_format.bits // 8
    sound = sample_format.encode(wavs.chirp(rng.randrange(100, 1500), RATE, channels, amplitude=0.9))
    if rng.random() < 0.1:
        sound += bytes(rng.randrange(1, 5))
    right = RATE * block_align
    byte_rate = rng.choice([right] * 7 + [0, 1, 2 * right])
    fmt = wavs.fmt_chunk(sample_rate=RATE, channels=channels, sample_format=sample_format, byte_rate=byte_rate)
    before = rng.choice([b"", b"", LIST, chunk(b"JUNK", b"odd"), chunk(b"bext", bytes(602))])
    after = rng.choice([b"", b"", b"", LIST, chunk(b"Ours", b"1234567"), LIST + chunk(b"id3 ", b"abc")])
    data_size = _data_size(rng, len(sound), block_align)
    body = fmt + before + b"data" + struct.pack("<I", data_size) + sound + bytes(len(sound) % 2) + after
    riff_size = _riff_size(rng, 4 + len(body), len(body) - len(after) - len(sound) + data_size)
    wav = b"RIFF" + struct.pack("<I", riff_size % 2**32) + b"WAVE" + body
    return Lie(_ending(rng, wav), CODECS[sample_format], block_align)


def _data_size(rng: random.Random, right: int, block_align: int) -> int:
    if rng.random() < 0.4:
        return right
    wrong = [right + more for more in (1, 8, 28, 36, 44, right)]
    wrong += [right // block_align, right // 2, max(right - 1, 0), 64]
    return rng.choice([*wrong, *PLACEHOLDERS])


def _riff_size(rng: random.Random, right: int, of_declared: int) -> int:
    if rng.random() < 0.5:
        return right
    return rng.choice([of_declared + 4, of_declared + 4, right + 8, right - 36, 0, 36, *PLACEHOLDERS])


def _ending(rng: random.Random, wav: bytes) -> bytes:
    if rng.random() < 0.7:
        return wav
    second = wavs.wav(bytes(400), sample_rate=RATE, channels=1)
    behind = [wav + rest for rest in (second, chunk(b"data", bytes(400)), bytes(600), b"\n", b"TAG" + bytes(125))]
    return rng.choice([*behind, wav[: -rng.randrange(1, 90)], wav[: len(wav) * 2 // 3]])
