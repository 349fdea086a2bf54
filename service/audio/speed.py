"""Measures how fast an ffmpeg encodes on this machine."""

import math
import random
import resource
from array import array
from functools import cache

from service.audio.encoder import Encoder, mp3_tag
from service.audio.mp3 import Mp3Format
from service.audio.wav_header import WavHeader

_RATE = 44_100
_SOURCE = WavHeader("s16le", _RATE, 2, 0, 4, data_offset=44, data_size=None, is_riff=True)
_TARGET = Mp3Format(sample_rate=_RATE, channels=2, bit_rate=128_000)
_SECONDS = 5
_ROUNDS = 3


async def measure_speed(encoder: Encoder, draft: int) -> float:
    """Return how many seconds of CD sound it encodes in a second of CPU, the start of ffmpeg included.

    It is the best of a few runs, and of CPU, because other work on the machine would spoil the time on the clock. No
    other child of this process may end meanwhile. `draft` is the descriptor of a file for the MP3. Raises as
    `Encoder.open` and `Encoding` do.
    """
    second = _second_of_sound()
    return max([await _speed_of_one(encoder, draft, second) for _ in range(_ROUNDS)])


async def _speed_of_one(encoder: Encoder, draft: int, second: bytes) -> float:
    before = _cpu_seconds_of_children()
    async with encoder.open(_SOURCE, _TARGET, draft, mp3_tag(_SOURCE, "sample.wav")) as encoding:
        for _ in range(_SECONDS):
            await encoding.write(second)
        await encoding.finish(_SECONDS * _RATE)
    return _SECONDS / (_cpu_seconds_of_children() - before)


def _cpu_seconds_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@cache
def _second_of_sound() -> bytes:
    """Return chords over some noise: silence would give LAME nothing to do."""
    noise = random.Random(1)  # noqa: S311 - the same sound each time
    samples = array("h")
    for index in range(_RATE):
        for pitches in ((110, 440, 3000), (330, 1320, 5000)):
            chord = sum(math.sin(2 * math.pi * pitch * index / _RATE) for pitch in pitches)
            samples.append(round(5000 * chord + noise.gauss(0, 600)))
    return samples.tobytes()
