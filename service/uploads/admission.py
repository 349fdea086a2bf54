"""How many uploads encode at a time, how many may wait for it, and who is refused at once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from service import metrics
from service.refusals import QUEUE_FULL, SHUTTING_DOWN


class Admission:
    """A limited number of encoder slots with a limited queue in front of them.

    An unbounded queue would accept uploads that it can only time out later. Past `max_waiting` we refuse at
    once, before a byte of the body has been read, so that the client can retry elsewhere.
    """

    def __init__(self, *, max_running: int, max_waiting: int) -> None:
        metrics.SLOTS_LIMIT.set(max_running)
        self._slots = asyncio.Semaphore(max_running)
        self._places = max_running + max_waiting
        self.is_open = True
        self._nothing_runs = asyncio.Event()
        self._nothing_runs.set()
        self.running: set[asyncio.Task[object]] = set()
        self.waiting: set[asyncio.Task[object]] = set()
        self._arriving: set[asyncio.Task[object]] = set()

    @contextlib.asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold a slot for the length of the block, after a wait in the queue where all are taken.

        Raises Unavailable at once where the queue is full, and where the service shuts down: before the block,
        or in place of the cancellation with which `drain` ends the block.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        try:
            await self._take(task)
            try:
                yield
            finally:
                self._give_back(task)
        except asyncio.CancelledError:
            if self.is_open:
                raise
            task.uncancel()
            raise SHUTTING_DOWN() from None

    def arrive(self) -> None:
        """Keep a place for this task until it takes its slot, or ends. Raises Unavailable where there is none."""
        self._require_place()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    def _require_place(self) -> None:
        if not self.is_open:
            raise SHUTTING_DOWN()
        if len(self.running) + len(self.waiting) + len(self._arriving) >= self._places:
            raise QUEUE_FULL()

    async def _take(self, task: asyncio.Task[object]) -> None:
        self._arriving.discard(task)
        self._require_place()
        self.waiting.add(task)
        try:
            with metrics.SLOTS_WAITING.track_inprogress():
                await self._slots.acquire()
        finally:
            self.waiting.discard(task)
        self.running.add(task)
        metrics.SLOTS_USED.inc()
        self._nothing_runs.clear()

    def _give_back(self, task: asyncio.Task[object]) -> None:
        self.running.discard(task)
        metrics.SLOTS_USED.dec()
        self._slots.release()
        if not self.running:
            self._nothing_runs.set()

    def close(self) -> None:
        """Refuse every upload from now on, the waiting ones too; those that run go on."""
        self.is_open = False
        for task in self.waiting:
            task.cancel()

    async def drain(self, grace_seconds: float) -> None:
        """Wait for the uploads that run, and cancel those that still do after `grace_seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self._nothing_runs.wait()
        for task in self.running:
            if not task.cancelling():  # one that cleans up already must not be disturbed
                task.cancel()
