"""Waiting for things that send no notice when they happen: other processes, descriptors, log lines."""

import asyncio
import time
from collections.abc import Callable, Iterator


async def until(condition: Callable[[], object], seconds: float = 30, explain: Callable[[], object] = str) -> None:
    """Wait until the condition holds; fails with the explanation if it takes longer than that."""
    for _ in _tries(condition, seconds, explain):
        await asyncio.sleep(0.005)


def wait_until(condition: Callable[[], object], seconds: float = 30, explain: Callable[[], object] = str) -> None:
    """Do the same as `until`, but block this process's event loop meanwhile."""
    for _ in _tries(condition, seconds, explain):
        time.sleep(0.005)


def _tries(condition: Callable[[], object], seconds: float, explain: Callable[[], object]) -> Iterator[None]:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"It did not happen within {seconds} s. {explain()}"
        yield
