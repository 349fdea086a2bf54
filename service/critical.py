"""Work that a cancellation must not cut in half."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end and return its result, even if the caller is cancelled meanwhile.

    For the last step of a use case alone: a cancellation that arrives once it has begun comes too late and is
    dropped. Unlike after a bare `asyncio.shield`, nothing goes on behind the caller's back.
    """
    task = asyncio.create_task(work)
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            continue
    return task.result()
