"""Hands out the encoder slots: first come, first served, but fairly among users."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from service import metrics
from service.refusals import CLIENT_GONE, QUEUE_FULL, TOO_MANY_UPLOADS
from service.uploads.places import Places

# A waiting upload checks this often whether its client is still there and whether another process has freed a slot.
_LOOK_SECONDS = 0.1
# A client that has waited for so long had better try another replica.
_LONGEST_WAIT_SECONDS = 60.0


@dataclass(eq=False, slots=True)
class Waiting:
    """An upload that waits for a slot; `turn` is done when it has one. One that returns goes before all new ones."""

    user_id: int
    is_returning: bool = False
    turn: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class FairQueue:
    """The uploads that wait for a slot, and how many slots each user has.

    While others wait, a user who has half of all slots gets no more.
    """

    def __init__(self, places: Places, max_uploads_per_user: int) -> None:
        self._places = places
        self._max_uploads_per_user = max_uploads_per_user
        self._half = max(1, places.max_running // 2)
        self._waiting: list[Waiting] = []
        self._arriving: set[asyncio.Task[object]] = set()
        self._running_of = Counter[int]()

    def arrive(self, task: asyncio.Task[object]) -> None:
        """Count a task as waiting until it enters the queue or takes a slot, or ends."""
        self._arriving.add(task)
        self._count_waiting()
        task.add_done_callback(self.forget_arrival)

    def forget_arrival(self, task: asyncio.Task[object]) -> None:
        """Do not count the task as waiting any more."""
        self._arriving.discard(task)
        self._count_waiting()

    def take_slot(self, user_id: int, *, is_returning: bool = False) -> bool:
        """Take a slot for the user, and return whether one was free that nobody waits for."""
        is_promised = any(other.is_returning >= is_returning for other in self._waiting)
        if is_promised or not self._places.take_slot():
            return False
        self._running_of[user_id] += 1
        return True

    def give_back_slot(self, user_id: int) -> None:
        """Give back a slot of the user, to the next one that waits."""
        self._running_of[user_id] -= 1
        if self._running_of[user_id] == 0:
            del self._running_of[user_id]  # else it would grow with every user
        self._places.give_back_slot()
        self.hand_out()

    async def wait(self, waiting: Waiting, is_abandoned: Callable[[], bool]) -> None:
        """Wait until the slot is ours.

        Raises TooManyRequests at once if the user has all that one may of the slots and of the queue, Unavailable
        after a minute, and ClientGone if `is_abandoned` becomes true.
        """
        if not waiting.is_returning:
            self._require_share(waiting.user_id)
        self._waiting.append(waiting)
        self._count_waiting()
        try:
            with metrics.SLOTS_WAITING.track_inprogress():
                await self._until_turn(waiting.turn, is_abandoned)
        except BaseException:
            if waiting.turn.done():
                self.give_back_slot(waiting.user_id)
            raise
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            self._count_waiting()
            self.hand_out()

    async def _until_turn(self, turn: asyncio.Future[None], is_abandoned: Callable[[], bool]) -> None:
        began_at = time.monotonic()
        while not turn.done():
            await asyncio.wait({turn}, timeout=_LOOK_SECONDS)
            if is_abandoned():
                raise CLIENT_GONE()
            if time.monotonic() - began_at > _LONGEST_WAIT_SECONDS and not turn.done():
                raise QUEUE_FULL()
            self.hand_out()

    def hand_out(self) -> None:
        """Give the free slots to those that wait."""
        while self._waiting and self._places.take_slot():
            next_one = self._next()
            self._waiting.remove(next_one)
            self._running_of[next_one.user_id] += 1
            self._count_waiting()
            next_one.turn.set_result(None)

    def _next(self) -> Waiting:
        """Return the first that returns, else the first whose user has fewer than half of the slots, else the first."""
        returning = (waiting for waiting in self._waiting if waiting.is_returning)
        modest = (waiting for waiting in self._waiting if self._running_of[waiting.user_id] < self._half)
        return next(returning, next(modest, self._waiting[0]))

    def _require_share(self, user_id: int) -> None:
        running = self._running_of[user_id]
        queued = sum(other.user_id == user_id for other in self._waiting)
        if running + queued >= self._max_uploads_per_user:
            raise TOO_MANY_UPLOADS(max_uploads=running + queued)
        if queued < len(self._waiting) and running >= self._half:
            raise TOO_MANY_UPLOADS(max_uploads=running)

    def _count_waiting(self) -> None:
        self._places.set_waiting(len(self._waiting) + len(self._arriving))
