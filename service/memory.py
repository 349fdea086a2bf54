"""Gives memory that nobody uses back to the system."""

import asyncio
import ctypes

from service.background import going_on
from service.threads import in_thread

PAUSE_SECONDS = 10.0


async def give_back_for_ever() -> None:
    """Give unused memory back every `PAUSE_SECONDS`, until cancelled.

    Pieces of uploads are freed among small objects that live on. glibc keeps what they leave until it is asked for it:
    several hundred KiB for each live upload. Asking takes a few milliseconds, or none if nothing has come since.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    while trim is not None:
        await asyncio.sleep(PAUSE_SECONDS)
        with going_on("memory"):
            await in_thread(trim, 0)
