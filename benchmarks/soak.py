"""Uses the service for ten minutes in all the ways that clients do, and fails if its memory grows: `make soak`."""

import argparse
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.running import Running, require_sight, running_service
from benchmarks.sounds import make_wav
from benchmarks.table import Row, at_most, report
from benchmarks.visitor import Visitor
from tests.support import procfs

_VISITORS = 6
# For each visitor. Together they are a load that two cores bear with ease.
_ACTS_PER_SECOND = 2
_WAV_SECONDS = 3
_SAMPLE_SECONDS = 1
_MINUTE = 60
_MIB = 2**20
# Fragmentation and caches may grow so much; a leak grows more.
_GROWTH_RATIO = 1.05
_GROWTH_BYTES = 4 * _MIB
# The service lingers for two seconds on connections whose request it refused.
_SETTLE_SECONDS = 15


@dataclass(frozen=True, slots=True)
class _Sample:
    """What the service uses at a moment. The database is one of its child processes."""

    rss: int
    descriptors: int
    children: int

    def __str__(self) -> str:
        return f"{self.rss / _MIB:.1f} MiB RSS, {self.descriptors} descriptors, {self.children} children"


class _Tally:
    """Counts acts, and keeps the reasons of failed ones. Any thread may add to it."""

    def __init__(self) -> None:
        self.acts = 0
        self.failures = Counter[str]()
        self._lock = threading.Lock()

    def count(self, act: Callable[[], None]) -> None:
        """Do an act and count it."""
        failure = None
        try:
            act()
        except (OSError, RuntimeError) as error:
            failure = repr(error)
        with self._lock:
            self.acts += 1
            if failure is not None:
                self.failures[failure] += 1


def main() -> None:
    """Run the soak and print what was found; exit with 1 if an aim is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.soak", description=__doc__, allow_abbrev=False)
    parser.add_argument("--minutes", type=float, default=10, metavar="N", help="how long (10)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wavepress-soak-") as name:
        wav = make_wav(Path(name), _WAV_SECONDS)
        with running_service(Path(name)) as service:
            require_sight(service)
            rows = _soak(service, wav, arguments.minutes * _MINUTE)
    report(rows)


def _soak(service: Running, wav: Path, seconds: float) -> list[Row]:
    tally = _Tally()
    visitors = [Visitor(service.address, wav, seed) for seed in range(_VISITORS)]
    for visitor in visitors:  # the first act of each kind fills caches and pools, which is not a leak
        tally.count(visitor.every_act)
    baseline = _settled(service.pid)
    print(f"at rest: {baseline}", flush=True)
    until = time.perf_counter() + seconds
    with ThreadPoolExecutor(_VISITORS) as threads, ExitStack() as stack:
        ended = threading.Event()
        stack.callback(ended.set)  # the visitors must end even if the sampler fails
        visits = [threads.submit(_visit, visitor, tally, until, ended) for visitor in visitors]
        samples = _watch(service.pid, tally, until)
    for visit in visits:
        visit.result()
    at_rest = _settled(service.pid, baseline)
    print(f"at rest: {at_rest}\n", flush=True)
    return _verdict(samples, baseline, at_rest, tally)


def _visit(visitor: Visitor, tally: _Tally, until: float, ended: threading.Event) -> None:
    """Act at an even pace; time lost by a slow act is not made up for."""
    while (now := time.perf_counter()) < until and not ended.is_set():
        tally.count(visitor.act)
        ended.wait(max(0, now + 1 / _ACTS_PER_SECOND - time.perf_counter()))


def _watch(pid: int, tally: _Tally, until: float) -> list[_Sample]:
    """Sample the service until `until`, and print a line each minute."""
    samples = list[_Sample]()
    started = time.perf_counter()
    told = 0
    while (now := time.perf_counter()) < until:
        samples.append(_sample(pid))
        if now - started > (told + 1) * _MINUTE - _SAMPLE_SECONDS:  # early, so that the last minute is printed too
            told += 1
            print(_line(told, samples[-_MINUTE // _SAMPLE_SECONDS :], tally), flush=True)
        time.sleep(_SAMPLE_SECONDS)
    return samples


def _line(minute: int, samples: list[_Sample], tally: _Tally) -> str:
    typical = _Sample(
        int(median(sample.rss for sample in samples)),
        max(sample.descriptors for sample in samples),
        max(sample.children for sample in samples),
    )
    return f"minute {minute}: {typical} at most, {tally.acts} acts, {tally.failures.total()} failed"


def _sample(pid: int) -> _Sample:
    return _Sample(procfs.resident_bytes(pid), procfs.descriptor_count(pid), len(procfs.children(pid)))


def _settled(pid: int, baseline: _Sample | None = None) -> _Sample:
    """Return what the service uses at rest: when it is back at the baseline, or after some seconds."""
    until = time.perf_counter() + _SETTLE_SECONDS
    while True:
        sample = _sample(pid)
        is_back = (
            baseline is not None and sample.descriptors <= baseline.descriptors and sample.children <= baseline.children
        )
        if is_back or time.perf_counter() > until:
            return sample
        time.sleep(_SAMPLE_SECONDS)


def _verdict(samples: list[_Sample], baseline: _Sample, at_rest: _Sample, tally: _Tally) -> list[Row]:
    fifth = max(1, len(samples) // 5)
    early = median(sample.rss for sample in samples[fifth : 2 * fifth] or samples)
    late = median(sample.rss for sample in samples[-fifth:])
    most = f"most {max(sample.descriptors for sample in samples)}"
    allowed = (early * _GROWTH_RATIO + _GROWTH_BYTES) / _MIB
    wrong = "; ".join(f"{count} x {failure}" for failure, count in tally.failures.most_common(3))
    return [
        Row(
            "memory in the last fifth, by the second fifth's",
            f"{early / _MIB:.1f} to {late / _MIB:.1f} MiB",
            figure=late / _MIB,
            unit="MiB",
            aim=at_most(allowed, "MiB"),
        ),
        _rest_row("descriptors at rest", most, baseline.descriptors, at_rest.descriptors),
        _rest_row("children at rest", "", baseline.children, at_rest.children),
        Row(f"failed of {tally.acts} acts", wrong, figure=tally.failures.total(), unit="", aim=at_most(0, "")),
    ]


def _rest_row(what: str, service: str, before: int, after: int) -> Row:
    return Row(what, service, figure=after, unit="", aim=at_most(before, ""))


if __name__ == "__main__":
    main()
