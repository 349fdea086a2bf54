"""Decides which uploads encode now, which wait or are suspended, and which are refused at once."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from service import metrics
from service.cancellation import current_task
from service.refusals import CLIENT_GONE, QUEUE_FULL, SHUTTING_DOWN, TOO_MANY_SUSPENDED
from service.uploads.fair_queue import FairQueue, Waiting
from service.uploads.places import Places

# A waiting upload checks this often whether its client is still there and whether another process has freed a slot.
_LOOK_SECONDS = 0.1
# A client that has waited for so long had better try another replica.
_LONGEST_WAIT_SECONDS = 60.0


class Admission:
    """A limited number of encoder slots with a limited queue in front of them.

    An unlimited queue would accept uploads only to time them out later. A full queue refuses an upload before a byte of
    its body has been read, so that the client can retry elsewhere. While others wait, a user who has half of all slots
    gets no more. A suspended upload keeps its encoder, but no slot; at most `places.max_suspended` may be, half of
    them of one user.
    """

    def __init__(self, places: Places, max_uploads_per_user: int = 2**31) -> None:
        metrics.SLOTS_LIMIT.set(places.max_running)
        self.is_open = True
        self.running: set[asyncio.Task[object]] = set()
        self.waiting: set[asyncio.Task[object]] = set()
        self.suspended: set[asyncio.Task[object]] = set()
        self._places = places
        self._queue = FairQueue(places, max_uploads_per_user)
        self._suspended_of = Counter[int]()
        self._nothing_is_held = asyncio.Event()
        self._nothing_is_held.set()
        self._full_since: float | None = None

    @contextlib.asynccontextmanager
    async def slot(self, user_id: int, is_abandoned: Callable[[], bool]) -> AsyncIterator["EncoderSlot"]:
        """Hold a slot for the length of the block, after a wait in the queue if all slots are taken.

        Raises at once Unavailable if the queue is full, and TooManyRequests if others wait and the user has half of
        all slots. Raises ClientGone if `is_abandoned` becomes true during the wait. Raises Unavailable if the service
        shuts down: before the block, or in place of the cancellation with which `close` ends a suspended block, and
        `drain` any block.
        """
        task = current_task()
        slot = EncoderSlot(self, task, user_id)
        try:
            self._queue.forget_arrival(task)
            self.require_place()
            await self._take(slot, is_abandoned, _LONGEST_WAIT_SECONDS)
            try:
                yield slot
            finally:
                self._let_go(slot)
        except asyncio.CancelledError:
            if self.is_open:
                raise
            task.uncancel()
            raise SHUTTING_DOWN() from None

    def arrive(self) -> None:
        """Keep a place for this task until it takes its slot, or ends. Raises Unavailable if there is none."""
        self.require_place()
        self._queue.arrive(current_task())

    def is_crowded(self) -> bool:
        """Whether somebody waits for a slot, here or in another process."""
        return self._places.waiting > 0

    @property
    def full_seconds(self) -> float:
        """For how long the queue has been full; 0 if it is not."""
        self._note_fullness()
        return 0.0 if self._full_since is None else time.time() - self._full_since

    def close(self) -> None:
        """Refuse every upload from now on, and end those that wait or are suspended. Those that run go on."""
        self.is_open = False
        for task in self.waiting | self.suspended:
            if not task.cancelling():
                task.cancel()

    async def drain(self, grace_seconds: float) -> None:
        """Wait for the uploads that run, and cancel those that still run after `grace_seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self._nothing_is_held.wait()
        for task in self.running | self.suspended:
            if not task.cancelling():  # one that already cleans up must not be disturbed
                task.cancel()

    def require_place(self) -> None:
        """Raise Unavailable if the queue is full or the service shuts down."""
        if not self.is_open:
            raise SHUTTING_DOWN()
        self._note_fullness()
        if self._full_since is not None:
            raise QUEUE_FULL()

    def _note_fullness(self) -> None:
        if not self._places.are_full:
            self._full_since = None
        elif self._full_since is None:
            self._full_since = time.time()
        metrics.QUEUE_FULL_SINCE.set(self._full_since or 0)

    async def _take(
        self, slot: "EncoderSlot", is_abandoned: Callable[[], bool], seconds: float, *, is_returning: bool = False
    ) -> None:
        if not self._queue.take_slot(slot.user_id, is_returning=is_returning):
            await self._wait(slot.task, Waiting(slot.user_id, is_returning), is_abandoned, seconds)
        self.running.add(slot.task)
        self._nothing_is_held.clear()
        metrics.SLOTS_USED.inc()

    async def _wait(
        self, task: asyncio.Task[object], waiting: Waiting, is_abandoned: Callable[[], bool], seconds: float
    ) -> None:
        """Wait in the queue until the slot is ours."""
        self._queue.enter(waiting)
        self.waiting.add(task)
        try:
            with metrics.SLOTS_WAITING.track_inprogress():
                await self._until_turn(waiting.turn, is_abandoned, seconds)
        except BaseException:
            if waiting.turn.done():
                self._queue.give_back_slot(waiting.user_id)
            raise
        finally:
            self.waiting.discard(task)
            self._queue.leave(waiting)

    async def _until_turn(self, turn: asyncio.Future[None], is_abandoned: Callable[[], bool], seconds: float) -> None:
        began_at = time.monotonic()
        while not turn.done():
            await asyncio.wait({turn}, timeout=_LOOK_SECONDS)
            if is_abandoned():
                raise CLIENT_GONE()
            if time.monotonic() - began_at > seconds and not turn.done():
                raise QUEUE_FULL()
            self._queue.hand_out()

    def _suspend(self, slot: "EncoderSlot") -> None:
        if self._suspended_of[slot.user_id] >= max(1, self._places.max_suspended // 2):
            raise TOO_MANY_SUSPENDED()
        if not self._places.take_suspension():
            raise TOO_MANY_SUSPENDED()
        self._suspended_of[slot.user_id] += 1
        self.suspended.add(slot.task)
        metrics.UPLOADS_SUSPENDED.inc()
        self._give_back(slot)

    async def _take_again(self, slot: "EncoderSlot", is_abandoned: Callable[[], bool], seconds: float) -> None:
        await self._take(slot, is_abandoned, seconds, is_returning=True)
        self._end_suspension(slot)

    def _let_go(self, slot: "EncoderSlot") -> None:
        if slot.task in self.running:
            self._give_back(slot)
        if slot.task in self.suspended:
            self._end_suspension(slot)
        if not self.running and not self.suspended:
            self._nothing_is_held.set()

    def _give_back(self, slot: "EncoderSlot") -> None:
        self.running.discard(slot.task)
        metrics.SLOTS_USED.dec()
        self._queue.give_back_slot(slot.user_id)

    def _end_suspension(self, slot: "EncoderSlot") -> None:
        self.suspended.discard(slot.task)
        metrics.UPLOADS_SUSPENDED.dec()
        self._suspended_of -= Counter({slot.user_id: 1})
        self._places.give_back_suspension()


@dataclass(frozen=True, slots=True)
class EncoderSlot:
    """The slot of an upload, which it may give back for a while and take again."""

    admission: Admission
    task: asyncio.Task[object]
    user_id: int

    def suspend(self) -> None:
        """Give the slot back, and keep the encoder. Raises Unavailable if no more uploads may be suspended."""
        self.admission._suspend(self)  # noqa: SLF001 - two classes of one thing

    async def take_again(self, is_abandoned: Callable[[], bool], seconds: float = _LONGEST_WAIT_SECONDS) -> None:
        """Take the next free slot, before every new upload.

        Raises Unavailable if none comes free in time, and ClientGone if `is_abandoned` becomes true; the upload then
        is still suspended.
        """
        await self.admission._take_again(self, is_abandoned, seconds)  # noqa: SLF001 - two classes of one thing
