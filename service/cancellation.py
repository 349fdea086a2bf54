"""Runs work that a cancellation must not interrupt."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def to_the_end(work: Awaitable[T]) -> T:
    """Run `work` to its end and return its result, even if the caller is cancelled meanwhile. Raises what it raises.

    Use it only for the last step of a use case: a cancellation that arrives after the work began is dropped. Unlike
    with a bare `asyncio.shield`, the work has always ended when this returns.
    """
    task = asyncio.ensure_future(work)
    caller = current_task()
    earlier = caller.cancelling()
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            # Without uncancel(), a later asyncio.timeout() would mistake its own cancellation for this one. If the
            # count has not risen, the cancellation was requested before we began.
            earlier = min(earlier, caller.cancelling() - 1)
            while caller.cancelling() > max(earlier, 0):
                caller.uncancel()
    return task.result()


def current_task() -> asyncio.Task[object]:
    """Return the task that runs this coroutine."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in a task
    return task
