"""Work that a cancellation must not cut in half."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def to_the_end(work: Awaitable[T]) -> T:
    """Run `work` to its end and return its result, even if the caller is cancelled meanwhile.

    For the last step of a use case alone: a cancellation that arrives once it has begun comes too late and is
    dropped. Unlike after a bare `asyncio.shield`, nothing goes on behind the caller's back.
    """
    task = asyncio.ensure_future(work)
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            continue
    return task.result()
