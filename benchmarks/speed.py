"""Measures how fast uploads are, beside bare ffmpegs on the same files."""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import bare
from benchmarks.bench import Bench, run_at_once
from benchmarks.client import upload
from benchmarks.measure import Comparison, Sample, compare
from benchmarks.table import Aim, Row, at_least, at_most
from service.audio.ffmpegs import default_ffmpeg
from tests.support.procfs import cpu_seconds

_LONG_SECONDS = 300
_SHORT_SECONDS = 3


@dataclass(frozen=True, slots=True)
class _Batch:
    """A WAV to be encoded `count` times, of which `at_a_time` run together."""

    wav: Path
    count: int = 1
    at_a_time: int = 1


def measure_short(bench: Bench) -> list[Row]:
    """Measure one short WAV, beside the ffmpeg that the service runs and beside the system's."""
    rows = []
    for ffmpeg, aim in _ffmpegs(at_most(1.0)):
        found = _compare(bench, _Batch(bench.wav(_SHORT_SECONDS)), bench.shortened(20), ffmpeg)
        wall, bare_wall = found.wall_seconds
        what = f"one {_SHORT_SECONDS} s WAV: wall, beside {_place(ffmpeg)}"
        rows.append(Row(what, f"{wall * 1000:.0f} ms", f"{bare_wall * 1000:.0f} ms", found.wall_ratio, aim=aim))
    return rows


def measure_long(bench: Bench) -> list[Row]:
    """Measure one long WAV."""
    seconds = bench.shortened(_LONG_SECONDS)
    found = _compare(bench, _Batch(bench.wav(seconds)), bench.shortened(9))
    (wall, bare_wall), (cpu, bare_cpu) = found.wall_seconds, found.cpu_seconds
    what = f"one {seconds} s WAV"
    return [
        Row(f"{what}: wall", f"{wall:.2f} s", f"{bare_wall:.2f} s", found.wall_ratio, aim=at_most(1.02)),
        Row(f"{what}: CPU", f"{cpu:.2f} s", f"{bare_cpu:.2f} s", found.cpu_ratio, aim=at_most(1.03)),
    ]


def measure_paced(bench: Bench) -> list[Row]:
    """Measure the time from the last byte of a slow upload to its answer."""
    seconds = bench.shortened(_LONG_SECONDS)
    wav = bench.wav(seconds)
    tails = [upload(bench.service.address, wav, 10e6).tail_seconds for _ in range(bench.shortened(5))]
    what = f"one {seconds} s WAV at 10 MB/s: last byte to response"
    return [Row(what, f"{median(tails) * 1000:.0f} ms", figure=median(tails), unit="s", aim=at_most(0.1, "s"))]


def measure_parallel(bench: Bench) -> list[Row]:
    """Measure as many long WAVs at once as there are cores, and eight."""
    seconds = bench.shortened(_LONG_SECONDS)
    wav = bench.wav(seconds)
    rows = []
    for count, rounds in ((os.cpu_count() or 1, 5), (8, 3)):
        found = _compare(bench, _Batch(wav, count, at_a_time=count), bench.shortened(rounds))
        rate, bare_rate = (count * wav.stat().st_size / wall / 1e6 for wall in found.wall_seconds)
        what = f"{count} x {seconds} s WAV at once"
        speeds = f"{rate:.1f} MB/s", f"{bare_rate:.1f} MB/s"
        rows.append(Row(f"{what}: throughput", *speeds, 1 / found.wall_ratio, aim=at_least(0.97)))
        cpu, bare_cpu = found.cpu_seconds
        rows.append(Row(f"{what}: CPU", f"{cpu:.2f} s", f"{bare_cpu:.2f} s", found.cpu_ratio, aim=at_most(1.05)))
    return rows


def measure_many(bench: Bench) -> list[Row]:
    """Measure many short WAVs, beside the ffmpeg that the service runs and beside the system's."""
    count = bench.shortened(200)
    batch = _Batch(bench.wav(_SHORT_SECONDS), count, at_a_time=8)
    rows = []
    for ffmpeg, aim in _ffmpegs(at_least(1.0)):
        found = _compare(bench, batch, bench.shortened(3), ffmpeg)
        rate, bare_rate = (count / wall for wall in found.wall_seconds)
        what = f"{count} x {_SHORT_SECONDS} s WAV, 8 at a time: throughput, beside {_place(ffmpeg)}"
        rows.append(Row(what, f"{rate:.1f} /s", f"{bare_rate:.1f} /s", 1 / found.wall_ratio, aim=aim))
    return rows


def _compare(bench: Bench, batch: _Batch, rounds: int, ffmpeg: str = "") -> Comparison:
    """Send a batch through the service and through bare ffmpegs: `ffmpeg`, or by default the service's own."""

    def through_service() -> Sample:
        cpu_before, started = cpu_seconds(bench.service.pid), time.perf_counter()
        run_at_once(lambda _: upload(bench.service.address, batch.wav), batch.count, batch.at_a_time)
        wall_seconds = time.perf_counter() - started
        return Sample(wall_seconds, cpu_seconds(bench.service.pid) - cpu_before)

    def through_ffmpeg() -> Sample:
        started = time.perf_counter()
        cpu = run_at_once(encode, batch.count, batch.at_a_time)
        return Sample(time.perf_counter() - started, sum(cpu))

    def encode(number: int) -> float:
        mp3 = bench.directory / f"{number}.mp3"
        return bare.encode(ffmpeg or default_ffmpeg().path, batch.wav, mp3)

    upload(bench.service.address, batch.wav)  # warms the file's cache for both
    encode(0)
    return compare(through_service, through_ffmpeg, rounds)


def _ffmpegs(aim: Aim) -> list[tuple[str, Aim | None]]:
    """Return the service's own ffmpeg and, if there is one, the system's. The aim is for the system's."""
    system = shutil.which("ffmpeg")
    return [(default_ffmpeg().path, None), *([(system, aim)] if system else [])]


def _place(ffmpeg: str) -> str:
    return "the same ffmpeg" if ffmpeg == default_ffmpeg().path else ffmpeg
