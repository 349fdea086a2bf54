"""Decides which uploads encode now, which wait or are suspended, and which are refused at once."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

from service import metrics
from service.cancellation import current_task
from service.refusals import QUEUE_FULL, SHUTTING_DOWN
from service.uploads.encoder_slot import EncoderSlot
from service.uploads.fair_queue import FairQueue, Waiting
from service.uploads.places import Places
from service.uploads.suspensions import Suspensions

# What has arrived of an upload is encoded and kept in this time when the service stops.
_KEEPING_SECONDS = 5.0
# How often it is looked whether the uploads on their way have got a slot.
_LOOK_SECONDS = 0.05


class Admission:
    """A limited number of encoder slots with a limited queue in front of them.

    An unlimited queue would accept uploads only to time them out later. A full queue refuses an upload before a byte of
    its body has been read, so that the client can retry elsewhere. While others wait, a user who has half of all slots
    gets no more. A suspended upload keeps its encoder, but no slot.
    """

    def __init__(self, places: Places, max_uploads_per_user: int = 2**31) -> None:
        metrics.SLOTS_LIMIT.set(places.max_running)
        self.is_open = True
        self.running: set[asyncio.Task[object]] = set()
        self.waiting: set[asyncio.Task[object]] = set()
        self.suspended: set[asyncio.Task[object]] = set()
        self._places = places
        self._queue = FairQueue(places, max_uploads_per_user)
        self._suspensions = Suspensions(places)
        self._slots: dict[asyncio.Task[object], EncoderSlot] = {}
        self._on_their_way: set[asyncio.Task[object]] = set()
        self._nothing_is_held = asyncio.Event()
        self._nothing_is_held.set()
        self._full_since: float | None = None

    @contextlib.asynccontextmanager
    async def slot(self, user_id: int, is_abandoned: Callable[[], bool]) -> AsyncIterator[EncoderSlot]:
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
            await self._take(slot, is_abandoned)
            self._on_their_way.discard(task)
            self._slots[task] = slot
            try:
                yield slot
            finally:
                self._let_go(slot)
        except asyncio.CancelledError:
            if self.is_open:
                raise
            task.uncancel()
            raise SHUTTING_DOWN() from None

    def begin(self) -> None:
        """Note that this task is on its way to a slot, until it has one or ends."""
        task = current_task()
        self._on_their_way.add(task)
        task.add_done_callback(self._on_their_way.discard)

    async def until_settled(self, seconds: float) -> None:
        """Wait, at most for `seconds`, until no upload is on its way to a slot."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._on_their_way:
                    await asyncio.wait(set(self._on_their_way), timeout=_LOOK_SECONDS)

    def arrive(self) -> None:
        """Keep a place for this task until it takes its slot, or ends. Raises Unavailable if there is none."""
        self.require_place()
        self._queue.arrive(current_task())

    def is_crowded(self) -> bool:
        """Whether somebody waits for a slot, here or in another process; who arrives at a free one does not."""
        return self._places.waiting > 0 and not self._places.has_free_slot

    @property
    def full_seconds(self) -> float:
        """For how long the queue has been full; 0 if it is not."""
        self._note_fullness()
        return 0.0 if self._full_since is None else time.time() - self._full_since

    def close(self) -> None:
        """Refuse every upload from now on, and end those that wait or are suspended. Those that run go on."""
        self.is_open = False
        for task in self.waiting | self.suspended:
            self._end(task)

    async def drain(self, grace_seconds: float) -> None:
        """Wait for the uploads that run, and end those that still run after `grace_seconds`.

        What has arrived of an upload that may be kept without the rest is kept before this returns.
        """
        await self._until_nothing_is_held(grace_seconds)
        may_keep = False
        for task in self.running | self.suspended:
            may_keep |= self._end(task)
        if may_keep:
            await self._until_nothing_is_held(_KEEPING_SECONDS)
            for task in self.running | self.suspended:
                task.cancel()

    async def _until_nothing_is_held(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._nothing_is_held.wait()

    def _end(self, task: asyncio.Task[object]) -> bool:
        """End an upload, and return whether it may keep what has arrived."""
        slot = self._slots.get(task)
        if slot is not None and slot.may_keep:
            slot.make_last_call()
            return True
        if not task.cancelling():  # one that already cleans up must not be disturbed
            task.cancel()
        return False

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

    async def _take(self, slot: EncoderSlot, is_abandoned: Callable[[], bool], *, is_returning: bool = False) -> None:
        if not self._queue.take_slot(slot.user_id, is_returning=is_returning):
            self.waiting.add(slot.task)
            try:
                await self._queue.wait(Waiting(slot.user_id, is_returning), is_abandoned)
            finally:
                self.waiting.discard(slot.task)
        self.running.add(slot.task)
        self._nothing_is_held.clear()
        metrics.SLOTS_USED.inc()

    def suspend(self, slot: EncoderSlot) -> None:
        """Give back the upload's slot, and let it keep its encoder. Raises Unavailable."""
        self._suspensions.take(slot.user_id)
        self.suspended.add(slot.task)
        self._give_back(slot)

    async def take_again(self, slot: EncoderSlot, is_abandoned: Callable[[], bool]) -> None:
        """Give the upload the next free slot. Raises Unavailable and ClientGone."""
        await self._take(slot, is_abandoned, is_returning=True)
        self._end_suspension(slot)

    def _let_go(self, slot: EncoderSlot) -> None:
        del self._slots[slot.task]
        if slot.task in self.running:
            self._give_back(slot)
        if slot.task in self.suspended:
            self._end_suspension(slot)
        if not self.running and not self.suspended:
            self._nothing_is_held.set()

    def _give_back(self, slot: EncoderSlot) -> None:
        self.running.discard(slot.task)
        metrics.SLOTS_USED.dec()
        self._queue.give_back_slot(slot.user_id)

    def _end_suspension(self, slot: EncoderSlot) -> None:
        self.suspended.discard(slot.task)
        self._suspensions.give_back(slot.user_id)
