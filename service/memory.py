"""Keeps memory for the next piece of an upload, and gives what nobody uses back to the system."""

import asyncio
import ctypes

from service.background import going_on
from service.threads import in_thread

PAUSE_SECONDS = 10.0

# Numbers of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_MOST_KEPT_BYTES = 4 * 2**20
# More than a piece has.
_LEAST_MAPPED_BYTES = 512 * 1024


async def give_back_for_ever() -> None:
    """Give unused memory back every `PAUSE_SECONDS`, and most of it only then, until cancelled.

    By itself, glibc gives the memory of a piece of an upload back at once, and the next piece pays for new pages: a
    sixth of this process's CPU. Yet it keeps what pieces leave among small objects that live on, several hundred KiB
    for each live upload, until it is asked for it. Asking takes a few milliseconds, or none if nothing has come since.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "malloc_trim"):
        return
    libc.mallopt(_TRIM_THRESHOLD, _MOST_KEPT_BYTES)
    libc.mallopt(_MMAP_THRESHOLD, _LEAST_MAPPED_BYTES)  # else setting the other one would fix it at less than a piece
    while True:
        await asyncio.sleep(PAUSE_SECONDS)
        with going_on("memory"):
            await in_thread(libc.malloc_trim, 0)
