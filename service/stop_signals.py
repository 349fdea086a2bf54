"""Waits for the signals that stop a running service."""

import asyncio
import contextlib
import signal
from collections.abc import Coroutine


class StopSignals:
    """SIGTERM and SIGINT, one after the other, from now on until the event loop is closed."""

    def __init__(self) -> None:
        self._count = asyncio.Semaphore(0)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._count.release)

    async def wait(self) -> None:
        """Wait for the next signal."""
        await self._count.acquire()

    async def until_next(self, work: Coroutine[object, object, None]) -> bool:
        """Do the work to its end, or cancel it at the next signal. Returns whether it has ended; raises what it raises.

        A signal that comes as it ends counts as one that comes after it.
        """
        working, interrupted = asyncio.ensure_future(work), asyncio.ensure_future(self.wait())
        await asyncio.wait({working, interrupted}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            if not interrupted.cancel():
                self._count.release()
            await working
            return True
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
        return False
