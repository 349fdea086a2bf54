"""Measures the small requests and the downloads."""

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from io import RawIOBase
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from benchmarks.bench import Bench, run_at_once
from benchmarks.client import Address, Connection, Uploaded, create_user, upload
from benchmarks.latency import percentile, seconds_of
from benchmarks.table import Row, at_least, at_most

_LONG_SECONDS = 300
_UPLOADS = 4
_CROWD = 100
_CREATES = 2000
_PAUSE_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class _Waits:
    """How many seconds each new user took, and a bare fdatasync after it.

    A new user must survive a power cut, so the disk takes a part of that time.
    """

    creates: list[float] = field(default_factory=list)
    syncs: list[float] = field(default_factory=list)


def measure_users(bench: Bench) -> list[Row]:
    """Measure how long creating a user takes, also while uploads run, and how long creating many at once takes."""
    idle = _waits(bench, bench.shortened(_CREATES))
    busy = _waits_beside_uploads(bench, bench.shortened(_CREATES))
    crowd = median(_crowd_seconds(bench.service.address) for _ in range(bench.shortened(10)))
    what = f"create-user while {_UPLOADS} uploads run ({len(busy.creates)} times; then idle, then a bare fdatasync)"
    return [
        _wait_row(f"{what}: p50", 50, busy, idle),
        _wait_row(f"{what}: p99", 99, busy, idle, 20),
        _wait_row(f"{what}: p99.9", 99.9, busy, idle, 100),
        _wait_row(f"{what}: worst", 100, busy, idle),
        Row(
            f"{_CROWD} create-user at once, all 201",
            f"{crowd * 1000:.0f} ms",
            figure=crowd * 1000,
            unit="ms",
            aim=at_most(150, "ms"),
        ),
    ]


def _wait_row(what: str, percent: float, busy: _Waits, idle: _Waits, aim_ms: float | None = None) -> Row:
    figure = percentile(busy.creates, percent)
    others = f"{percentile(idle.creates, percent):.1f} ms, {percentile(busy.syncs, percent):.1f} ms"
    if aim_ms is None:
        return Row(what, f"{figure:.1f} ms", others)
    return Row(what, f"{figure:.1f} ms", others, figure, "ms", at_most(aim_ms, "ms"))


def measure_downloads(bench: Bench) -> list[Row]:
    """Measure downloads, eight at a time."""
    uploaded = upload(bench.service.address, bench.wav(bench.shortened(_LONG_SECONDS)))
    path = urlsplit(json.loads(uploaded.answer)["url"]).path

    def download(_number: int) -> int:
        with Connection(bench.service.address) as connection:
            return sum(_download(connection, path) for _ in range(bench.shortened(50)))

    started = time.perf_counter()
    byte_count = sum(run_at_once(download, count=8, at_a_time=8))
    rate = byte_count / (time.perf_counter() - started) / 1e6
    return [Row("8 downloads at a time", f"{rate:.0f} MB/s", figure=rate, unit="MB/s", aim=at_least(590, "MB/s"))]


def _waits(bench: Bench, count: int, is_over: Callable[[], bool] = bool) -> _Waits:
    """Create up to `count` users, one after the other, until `is_over`."""
    waits = _Waits()
    with Connection(bench.service.address) as connection, Path(bench.directory, "synced").open("wb", 0) as synced:
        while len(waits.creates) < count and not is_over():
            time.sleep(_PAUSE_SECONDS)
            waits.creates.append(seconds_of(lambda: create_user(connection)))
            waits.syncs.append(seconds_of(lambda: _sync(synced)))
    return waits


def _waits_beside_uploads(bench: Bench, count: int) -> _Waits:
    """Do the same while uploads run, as often as it takes."""
    wav, found = bench.wav(bench.shortened(_LONG_SECONDS)), _Waits()
    while len(found.creates) < count:
        with ThreadPoolExecutor(_UPLOADS) as threads:
            uploads = [threads.submit(upload, bench.service.address, wav) for _ in range(_UPLOADS)]
            some = _waits(bench, count - len(found.creates), partial(_is_any_done, uploads))
            for running in uploads:
                running.result()
        found.creates.extend(some.creates)
        found.syncs.extend(some.syncs)
    return found


def _is_any_done(uploads: list[Future[Uploaded]]) -> bool:
    return any(running.done() for running in uploads)


def _sync(file: RawIOBase) -> None:
    file.seek(0)
    file.write(bytes(8192))
    os.fdatasync(file.fileno())


def _crowd_seconds(address: Address) -> float:
    """Return how many seconds it takes to create many users at once. Raises RuntimeError unless all are created."""

    def create_all() -> None:
        with ExitStack() as stack:
            connections = [stack.enter_context(Connection(address)) for _ in range(_CROWD)]
            for connection in connections:
                connection.send_head("POST", "/users?username=bench")
            for connection in connections:
                connection.receive()

    return seconds_of(create_all)


def _download(connection: Connection, path: str) -> int:
    connection.send_head("GET", path)
    return connection.receive_and_forget()
