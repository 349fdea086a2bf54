"""Work that a cancellation must not cut in half."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def to_the_end(work: Awaitable[T]) -> T:
    """Run `work` to its end and return its result, even if the caller is cancelled meanwhile.

    Only for the last step of a use case: a cancellation that arrives once it has begun comes too late and is
    dropped, as if nobody had asked for it. Unlike after a bare `asyncio.shield`, nothing goes on behind the
    caller's back.
    """
    task = asyncio.ensure_future(work)
    caller = asyncio.current_task()
    assert caller is not None  # noqa: S101 - a coroutine runs in a task
    earlier = caller.cancelling()
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            # Without uncancel(), a later asyncio.timeout() takes its own cancellation for this one. If the count
            # has not risen, the cancellation was due before we began.
            earlier = min(earlier, caller.cancelling() - 1)
            while caller.cancelling() > max(earlier, 0):
                caller.uncancel()
    return task.result()
