"""Measures what drawing a waveform takes of the service's CPU."""

import time

from benchmarks.bench import Bench
from benchmarks.table import Row, at_most
from service.audio.peaks import Peaks
from service.audio.wav import WavReader

_WAV_SECONDS = 300
_PIECE_BYTES = 64 * 1024
_ROUNDS = 5
_MOST_MILLISECONDS = 25


def measure_waveform(bench: Bench) -> list[Row]:
    """Draw the waveform of a long WAV several times, apart from the service, and take the least time."""
    content = bench.wav(bench.shortened(_WAV_SECONDS)).read_bytes()
    reader = WavReader()
    samples = reader.feed(content)
    assert reader.header is not None  # noqa: S101 - it is a WAV
    best = float("inf")
    for _ in range(_ROUNDS):
        started = time.process_time()
        peaks = Peaks(reader.header, len(samples) // reader.header.block_align)
        for place in range(0, len(samples), _PIECE_BYTES):
            peaks.feed(samples[place : place + _PIECE_BYTES])
        best = min(best, time.process_time() - started)
    megabytes, milliseconds = len(content) / 1e6, best * 1000
    row = Row(
        f"the waveform of {megabytes:.0f} MB: CPU of the service",
        f"{milliseconds:.0f} ms",
        figure=milliseconds,
        unit="ms",
        aim=at_most(_MOST_MILLISECONDS, "ms"),
        is_noisy=True,
    )
    return [row]
