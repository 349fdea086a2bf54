"""Measures how long small requests take, once or while something else runs."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import quantiles

from benchmarks.client import Address, Connection, create_user
from benchmarks.table import Row, at_most

# Often enough for a p99 within half a minute, and almost no load for the service.
_HEALTH_PAUSE_SECONDS = 0.05
_CREATE_PAUSE_SECONDS = 0.1
_HEALTH_AIM_MS = 50
_CREATE_AIM_MS = 100


@dataclass(frozen=True, slots=True)
class Latencies:
    """How many seconds each `GET /health/live` and each create-user took."""

    health: list[float] = field(default_factory=list)
    creates: list[float] = field(default_factory=list)

    def rows(self, when: str) -> list[Row]:
        """Return a row for each request, with the aims that hold under any load."""
        return [
            latency_row(f"{when}: GET /health/live", self.health, _HEALTH_AIM_MS),
            latency_row(f"{when}: create-user", self.creates, _CREATE_AIM_MS),
        ]


@contextmanager
def probing(address: Address) -> Iterator[Latencies]:
    """Time both requests again and again for the length of the block, each over a connection of its own.

    Raises RuntimeError or OSError at the end of the block if one of them failed.
    """
    latencies, ended = Latencies(), threading.Event()

    def probe(request: Callable[[Connection], object], found: list[float], pause_seconds: float) -> None:
        with Connection(address) as connection:
            while not ended.wait(pause_seconds):
                found.append(seconds_of(lambda: request(connection)))

    with ThreadPoolExecutor(2) as threads:
        probes = [
            threads.submit(probe, _ask_health, latencies.health, _HEALTH_PAUSE_SECONDS),
            threads.submit(probe, create_user, latencies.creates, _CREATE_PAUSE_SECONDS),
        ]
        try:
            yield latencies
        finally:
            ended.set()
        for running in probes:
            running.result()


def latency_row(what: str, seconds: list[float], p99_aim_ms: float) -> Row:
    """Return the row for what took `seconds` each time; the aim is for the p99. It is noisy."""
    if len(seconds) < 2:  # noqa: PLR2004 - no percentile of fewer
        return Row(f"{what} ({len(seconds)} times)", "too few to tell")
    p50, p99 = percentile(seconds, 50), percentile(seconds, 99)
    figures = f"p50 {p50:.1f} ms, most {max(seconds) * 1000:.0f} ms"
    title = f"{what} ({len(seconds)} times): p99"
    return Row(title, figures, "", p99, "ms", at_most(p99_aim_ms, "ms"), is_noisy=True)


def percentile(seconds: list[float], percent: float) -> float:
    """Return a percentile, to a tenth, in milliseconds; the hundredth is the most."""
    return [*quantiles(seconds, n=1000, method="inclusive"), max(seconds)][round(percent * 10) - 1] * 1000


def seconds_of(work: Callable[[], object]) -> float:
    """Return how many seconds `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _ask_health(connection: Connection) -> None:
    connection.send_head("GET", "/health/live")
    connection.receive()
