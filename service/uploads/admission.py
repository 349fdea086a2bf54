"""Decides which uploads encode now, which wait, and which are refused at once."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from service import metrics
from service.cancellation import current_task
from service.refusals import CLIENT_GONE, QUEUE_FULL, SHUTTING_DOWN, TOO_MANY_UPLOADS
from service.uploads.places import Places

# A waiting upload checks this often whether its client is still there and whether another process has freed a slot.
_LOOK_SECONDS = 0.1
# A client that has waited for so long had better try another replica.
_LONGEST_WAIT_SECONDS = 60.0


@dataclass(eq=False, slots=True)
class _Waiting:
    user_id: int
    turn: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Admission:
    """A limited number of encoder slots with a limited queue in front of them.

    An unlimited queue would accept uploads only to time them out later. A full queue refuses an upload before a byte of
    its body has been read, so that the client can retry elsewhere. While others wait, a user who has half of all slots
    gets no more.
    """

    def __init__(self, places: Places, max_uploads_per_user: int = 2**31) -> None:
        metrics.SLOTS_LIMIT.set(places.max_running)
        self.is_open = True
        self.running: set[asyncio.Task[object]] = set()
        self.waiting: set[asyncio.Task[object]] = set()
        self._places = places
        self._max_uploads_per_user = max_uploads_per_user
        self._queue: list[_Waiting] = []
        self._arriving: set[asyncio.Task[object]] = set()
        self._running_of = Counter[int]()
        self._half = max(1, places.max_running // 2)
        self._nothing_runs = asyncio.Event()
        self._nothing_runs.set()
        self._full_since: float | None = None

    @contextlib.asynccontextmanager
    async def slot(self, user_id: int, is_abandoned: Callable[[], bool]) -> AsyncIterator[None]:
        """Hold a slot for the length of the block, after a wait in the queue if all slots are taken.

        Raises at once Unavailable if the queue is full, and TooManyRequests if others wait and the user has half of
        all slots. Raises ClientGone if `is_abandoned` becomes true during the wait. Raises Unavailable if the service
        shuts down: before the block, or in place of the cancellation with which `drain` ends the block.
        """
        task = current_task()
        try:
            await self._take(task, user_id, is_abandoned)
            try:
                yield
            finally:
                self._give_back(task, user_id)
        except asyncio.CancelledError:
            if self.is_open:
                raise
            task.uncancel()
            raise SHUTTING_DOWN() from None

    def arrive(self) -> None:
        """Keep a place for this task until it takes its slot, or ends. Raises Unavailable if there is none."""
        self.require_place()
        task = current_task()
        self._arriving.add(task)
        self._count_waiting()
        task.add_done_callback(self._forget_arrival)

    def is_crowded(self) -> bool:
        """Whether somebody waits for a slot, here or in another process."""
        return self._places.waiting > 0

    @property
    def full_seconds(self) -> float:
        """For how long the queue has been full; 0 if it is not."""
        self._note_fullness()
        return 0.0 if self._full_since is None else time.time() - self._full_since

    def close(self) -> None:
        """Refuse every upload from now on, also those that wait. Those that run go on."""
        self.is_open = False
        for task in self.waiting:
            task.cancel()

    async def drain(self, grace_seconds: float) -> None:
        """Wait for the uploads that run, and cancel those that still run after `grace_seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self._nothing_runs.wait()
        for task in self.running:
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

    async def _take(self, task: asyncio.Task[object], user_id: int, is_abandoned: Callable[[], bool]) -> None:
        self._forget_arrival(task)
        self.require_place()
        if self._queue or not self._places.take_slot():
            await self._wait(task, _Waiting(user_id), is_abandoned)
        else:
            self._running_of[user_id] += 1
        self.running.add(task)
        self._nothing_runs.clear()
        metrics.SLOTS_USED.inc()

    async def _wait(self, task: asyncio.Task[object], waiting: _Waiting, is_abandoned: Callable[[], bool]) -> None:
        """Wait in the queue until the slot is ours."""
        self._require_share(waiting.user_id)
        self._queue.append(waiting)
        self.waiting.add(task)
        self._count_waiting()
        try:
            with metrics.SLOTS_WAITING.track_inprogress():
                await self._until_turn(waiting.turn, is_abandoned)
        except BaseException:
            if waiting.turn.done():
                self._free_slot(waiting.user_id)
            raise
        finally:
            self.waiting.discard(task)
            if waiting in self._queue:
                self._queue.remove(waiting)
            self._count_waiting()
            self._hand_out()

    def _require_share(self, user_id: int) -> None:
        """Raise TooManyRequests if the user has all that one user may have of the slots and of the queue."""
        running = self._running_of[user_id]
        queued = sum(other.user_id == user_id for other in self._queue)
        if running + queued >= self._max_uploads_per_user:
            raise TOO_MANY_UPLOADS(max_uploads=running + queued)
        if queued < len(self._queue) and running >= self._half:
            raise TOO_MANY_UPLOADS(max_uploads=running)

    async def _until_turn(self, turn: asyncio.Future[None], is_abandoned: Callable[[], bool]) -> None:
        began_at = time.monotonic()
        while not turn.done():
            await asyncio.wait({turn}, timeout=_LOOK_SECONDS)
            if is_abandoned():
                raise CLIENT_GONE()
            if time.monotonic() - began_at > _LONGEST_WAIT_SECONDS and not turn.done():
                raise QUEUE_FULL()
            self._hand_out()

    def _give_back(self, task: asyncio.Task[object], user_id: int) -> None:
        self.running.discard(task)
        metrics.SLOTS_USED.dec()
        self._free_slot(user_id)
        self._hand_out()
        if not self.running:
            self._nothing_runs.set()

    def _free_slot(self, user_id: int) -> None:
        self._running_of -= Counter({user_id: 1})  # forgets a user with none
        self._places.give_back_slot()

    def _hand_out(self) -> None:
        """Give the free slots to those who wait."""
        while self._queue and self._places.take_slot():
            next_one = self._next()
            self._queue.remove(next_one)
            self._running_of[next_one.user_id] += 1
            self._count_waiting()
            next_one.turn.set_result(None)

    def _next(self) -> _Waiting:
        """Return the first upload whose user has fewer than half of the slots; if there is none, the first of all."""
        modest = (waiting for waiting in self._queue if self._running_of[waiting.user_id] < self._half)
        return next(modest, self._queue[0])

    def _count_waiting(self) -> None:
        self._places.set_waiting(len(self._queue) + len(self._arriving))

    def _forget_arrival(self, task: asyncio.Task[object]) -> None:
        self._arriving.discard(task)
        self._count_waiting()
