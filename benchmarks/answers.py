"""Measures the small requests and the downloads."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from io import RawIOBase
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from benchmarks.bench import Bench, run_at_once
from benchmarks.client import Address, Connection, create_user, upload
from benchmarks.latency import percentile, seconds_of
from benchmarks.table import Row, at_least, at_most

_LONG_SECONDS = 300
_UPLOADS = 4
_CROWD = 100
_PAUSE_SECONDS = 0.01


def measure_users(bench: Bench) -> list[Row]:
    """Measure how long creating a user takes while uploads run, and how long creating many at once takes."""
    creates, syncs = _waits_beside_uploads(bench)
    crowd = median(_crowd_seconds(bench.service.address) for _ in range(bench.shortened(10)))
    what = f"create-user while {_UPLOADS} uploads run ({len(creates)} times, beside a bare fdatasync)"
    return [
        Row(f"{what}: p50", f"{percentile(creates, 50):.1f} ms", f"{percentile(syncs, 50):.1f} ms"),
        Row(
            f"{what}: p99",
            f"{percentile(creates, 99):.1f} ms",
            f"{percentile(syncs, 99):.1f} ms",
            percentile(creates, 99),
            "ms",
            at_most(20, "ms"),
        ),
        Row(
            f"{_CROWD} create-user at once, all 201",
            f"{crowd * 1000:.0f} ms",
            figure=crowd * 1000,
            unit="ms",
            aim=at_most(150, "ms"),
        ),
    ]


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


def _waits_beside_uploads(bench: Bench) -> tuple[list[float], list[float]]:
    """Create one user after the other while uploads run, and return how many seconds each took.

    A new user must survive a power cut, so the disk takes a part of that time. The seconds of a bare fdatasync after
    each user are returned too.
    """
    wav = bench.wav(bench.shortened(_LONG_SECONDS))
    creates, syncs = list[float](), list[float]()
    with (
        ThreadPoolExecutor(_UPLOADS) as threads,
        Connection(bench.service.address) as connection,
        Path(bench.directory, "synced").open("wb", buffering=0) as synced,
    ):
        uploads = [threads.submit(upload, bench.service.address, wav) for _ in range(_UPLOADS)]
        while not any(running.done() for running in uploads):
            time.sleep(_PAUSE_SECONDS)
            creates.append(seconds_of(lambda: create_user(connection)))
            syncs.append(seconds_of(lambda: _sync(synced)))
        for running in uploads:
            running.result()
    return creates, syncs


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
