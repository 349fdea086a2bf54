"""Measures how fast uploads are, beside bare runs of every ffmpeg of this machine on the same files."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks import bare
from benchmarks.bench import Bench, run_at_once
from benchmarks.client import upload
from benchmarks.measure import Comparison, Sample, compare
from benchmarks.table import Aim, Row, at_least, at_most
from service.audio.ffmpegs import OWN, SYSTEM, Ffmpeg, find_ffmpegs
from tests.support.procfs import cpu_seconds

_LONG_SECONDS = 300
_SHORT_SECONDS = 3

Comparisons = dict[Ffmpeg, Comparison]


@dataclass(frozen=True, slots=True)
class _Batch:
    """A WAV to be encoded `count` times, of which `at_a_time` run together."""

    wav: Path
    count: int = 1
    at_a_time: int = 1


@dataclass(frozen=True, slots=True)
class _Aims:
    """What a ratio should be: beside the system's ffmpeg, and beside the rival, if that is another one."""

    system: Aim | None = None
    rival: Aim | None = None


_NO_AIMS = _Aims()


def measure_short(bench: Bench) -> list[Row]:
    """Measure one short WAV."""
    found = _compare(bench, _Batch(bench.wav(_SHORT_SECONDS)), bench.shortened(15))
    return _rows(f"one {_SHORT_SECONDS} s WAV: wall", found, _wall_in_milliseconds, _Aims(at_most(0.45), at_most(1.0)))


def measure_long(bench: Bench) -> list[Row]:
    """Measure one long WAV."""
    seconds = bench.shortened(_LONG_SECONDS)
    found = _compare(bench, _Batch(bench.wav(seconds)), bench.shortened(7))
    return [
        *_rows(f"one {seconds} s WAV: wall", found, _wall, _Aims(at_most(0.95), at_most(1.0))),
        *_rows(f"one {seconds} s WAV: CPU", found, _cpu, _Aims(at_most(0.92), at_most(1.0))),
    ]


def measure_paced(bench: Bench) -> list[Row]:
    """Measure the time from the last byte of a slow upload to its answer."""
    seconds = bench.shortened(_LONG_SECONDS)
    wav = bench.wav(seconds)
    tails = [upload(bench.service.address, wav, 10e6).tail_seconds for _ in range(bench.shortened(5))]
    what = f"one {seconds} s WAV at 10 MB/s: last byte to response"
    return [Row(what, f"{median(tails) * 1000:.0f} ms", figure=median(tails), unit="s", aim=at_most(0.02, "s"))]


def measure_parallel(bench: Bench) -> list[Row]:
    """Measure as many long WAVs at once as there are cores, and eight."""
    seconds = bench.shortened(_LONG_SECONDS)
    wav = bench.wav(seconds)
    rows = []
    for count, aims in ((os.cpu_count() or 1, _NO_AIMS), (8, _Aims(at_least(1.08), at_least(1.0)))):
        found = _compare(bench, _Batch(wav, count, at_a_time=count), bench.shortened(3))
        what = f"{count} x {seconds} s WAV at once"
        rows += _rows(f"{what}: throughput", found, partial(_megabytes, count * wav.stat().st_size), aims)
        rows += _rows(f"{what}: CPU", found, _cpu)
    return rows


def measure_many(bench: Bench) -> list[Row]:
    """Measure many short WAVs."""
    count = bench.shortened(200)
    found = _compare(bench, _Batch(bench.wav(_SHORT_SECONDS), count, at_a_time=8), bench.shortened(3))
    what = f"{count} x {_SHORT_SECONDS} s WAV, 8 at a time: throughput"
    return _rows(what, found, partial(_uploads, count), _Aims(at_least(2.0), at_least(1.0)))


def rival(found: Comparisons) -> Ffmpeg:
    """Return the fastest ffmpeg that anyone can install with one command: by pip or by the system's packages.

    It is our own build if there is no other.
    """
    others = [program for program in found if program.origin != OWN] or list(found)
    return min(others, key=lambda program: found[program].wall_seconds[1])


def _rows(
    what: str, found: Comparisons, present: Callable[[Comparison], tuple[str, str, float]], aims: _Aims = _NO_AIMS
) -> list[Row]:
    """Return a row for each ffmpeg: the service's figure, the bare one's, and their ratio."""
    rows = []
    fastest = rival(found)
    for program, comparison in found.items():
        service, alone, ratio = present(comparison)
        aim = aims.system if program.origin == SYSTEM else aims.rival if program == fastest else None
        rows.append(Row(f"{what}, beside {program.origin}", service, alone, ratio, aim=aim))
    return rows


def _wall_in_milliseconds(comparison: Comparison) -> tuple[str, str, float]:
    service, alone = comparison.wall_seconds
    return f"{service * 1000:.0f} ms", f"{alone * 1000:.0f} ms", comparison.wall_ratio


def _wall(comparison: Comparison) -> tuple[str, str, float]:
    service, alone = comparison.wall_seconds
    return f"{service:.2f} s", f"{alone:.2f} s", comparison.wall_ratio


def _cpu(comparison: Comparison) -> tuple[str, str, float]:
    service, alone = comparison.cpu_seconds
    return f"{service:.2f} s", f"{alone:.2f} s", comparison.cpu_ratio


def _megabytes(byte_count: int, comparison: Comparison) -> tuple[str, str, float]:
    service, alone = (byte_count / wall / 1e6 for wall in comparison.wall_seconds)
    return f"{service:.1f} MB/s", f"{alone:.1f} MB/s", 1 / comparison.wall_ratio


def _uploads(count: int, comparison: Comparison) -> tuple[str, str, float]:
    service, alone = (count / wall for wall in comparison.wall_seconds)
    return f"{service:.1f} /s", f"{alone:.1f} /s", 1 / comparison.wall_ratio


def _compare(bench: Bench, batch: _Batch, rounds: int) -> Comparisons:
    """Send a batch through the service and through each bare ffmpeg, round by round."""
    upload(bench.service.address, batch.wav)  # warms the file's cache for all
    bares = {program: partial(_through, program, bench.directory, batch) for program in find_ffmpegs()}
    for program in bares:  # warms the programs
        bare.encode(program.path, batch.wav, bench.directory / "0.mp3")
    return compare(partial(_through_service, bench, batch), bares, rounds)


def _through_service(bench: Bench, batch: _Batch) -> Sample:
    cpu_before, started = cpu_seconds(bench.service.pid), time.perf_counter()
    run_at_once(lambda _: upload(bench.service.address, batch.wav), batch.count, batch.at_a_time)
    wall_seconds = time.perf_counter() - started
    return Sample(wall_seconds, cpu_seconds(bench.service.pid) - cpu_before)


def _through(program: Ffmpeg, directory: Path, batch: _Batch) -> Sample:
    started = time.perf_counter()
    cpu = run_at_once(
        lambda number: bare.encode(program.path, batch.wav, directory / f"{number}.mp3"), batch.count, batch.at_a_time
    )
    return Sample(time.perf_counter() - started, sum(cpu))
