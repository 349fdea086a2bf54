"""A pool's connections as the server sees them, and faults for them."""

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg2.extensions import parse_dsn

from tests.support.database import query
from tests.support.descriptors import allowed_descriptors
from tests.support.waiting import wait_until


def connections(url: str) -> set[int]:
    """Return the server's process for each of the pool's connections."""
    name = parse_dsn(url)["application_name"]
    return {pid for (pid,) in query(url, "SELECT pid FROM pg_stat_activity WHERE application_name = %s", (name,))}


def break_connections(url: str, count: int | None = None) -> None:
    """Let the server end so many of the pool's connections, or all; nothing else of this process runs meanwhile."""
    open_ones = sorted(connections(url))
    end_connections(url, set(random.Random(count).sample(open_ones, len(open_ones) if count is None else count)))


def end_connections(url: str, processes: set[int]) -> None:
    """Let the server end those processes; nothing else of this process runs meanwhile."""
    query(url, "SELECT pg_terminate_backend(pid) FROM unnest(%s) AS pid", (list(processes),))
    wait_until(lambda: not connections(url) & processes)


@contextmanager
def seconds_within(least: float, most: float) -> Iterator[None]:
    begin = time.monotonic()
    yield
    assert least <= time.monotonic() - begin <= most


@contextmanager
def many_descriptors(count: int = 1100) -> Iterator[None]:
    """Make the next descriptor larger than 1023, as in a service with many clients."""
    held = [os.open(os.devnull, os.O_RDONLY)]
    with allowed_descriptors(2 * count):
        try:
            held += [os.dup(held[0]) for _ in range(count)]
            assert held[-1] > 1023
            yield
        finally:
            for descriptor in held:
                os.close(descriptor)
