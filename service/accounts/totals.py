"""How many users there are and how many bytes they keep, and how many there may be."""

import asyncio
import contextlib
import time
from collections.abc import Iterator

from service.background import going_on
from service.database.pool import Database
from service.database.users import Totals, select_totals
from service.refusals import BYTES_FULL, USERS_FULL

_REFRESH_SECONDS = 5.0
# Near a limit, a refusal must not come from an old count.
_LEAST_SECONDS = 0.5
# Counting takes at most this share of one connection's time, however many users there are.
_SHARE = 0.05


class TotalLimits:
    """The limits on all users together; None stands for no limit.

    Counting every row for every upload would be dear, and a row that every upload changes would make them wait for
    each other. So each process counts all rows every few seconds, and adds what it does itself in between. A refusal
    comes from a count that is half a second old at most. With several processes, what the others did in the last
    seconds may reach past a limit.
    """

    def __init__(self, database: Database, *, max_users: int | None, max_bytes: int | None) -> None:
        self._database = database
        self._max_users = max_users
        self._max_bytes = max_bytes
        self._counted = Totals(0, 0)
        self._new_users, self._new_bytes = 0, 0
        self._next_at = 0.0
        self._cost_seconds = 0.0
        self._refreshing = asyncio.Lock()

    async def require_room_for_user(self) -> None:
        """Raise StorageFull if there are as many users as there may be."""
        if self._max_users is None or self._counted.user_count + self._new_users < self._max_users:
            return
        await self._refresh()
        if self._counted.user_count + self._new_users >= self._max_users:
            raise USERS_FULL(max_users=self._max_users)

    async def require_room_for_record(self) -> None:
        """Raise StorageFull if all users together keep as many bytes as they may."""
        if self._max_bytes is None or self._counted.byte_count + self._new_bytes < self._max_bytes:
            return
        await self._refresh()
        if self._counted.byte_count + self._new_bytes >= self._max_bytes:
            raise BYTES_FULL(max_bytes=self._max_bytes)

    @contextlib.contextmanager
    def counting_user(self) -> Iterator[None]:
        """Count a user that the block creates; not if the block raises."""
        self._new_users += 1  # before: users that are created side by side must not pass the limit together
        try:
            yield
        except BaseException:
            self._new_users -= 1
            raise

    def count_bytes(self, byte_count: int) -> None:
        """Count a record that this process has kept."""
        self._new_bytes += byte_count

    async def refresh_for_ever(self) -> None:
        """Count every few seconds, until cancelled; not at all if there is no limit."""
        while self._max_users is not None or self._max_bytes is not None:
            with going_on("totals"):  # the old count will do
                await self._refresh()
            await asyncio.sleep(max(_REFRESH_SECONDS, self._cost_seconds / _SHARE))

    async def _refresh(self) -> None:
        """Count now, unless that was done a moment ago. Raises Unavailable."""
        async with self._refreshing:
            if time.monotonic() < self._next_at:
                return
            began_at, users, byte_count = time.monotonic(), self._new_users, self._new_bytes
            self._counted = await select_totals(self._database)
            # What came meanwhile may be in the count already: then it counts twice, until the next time.
            self._new_users -= users
            self._new_bytes -= byte_count
            self._cost_seconds = time.monotonic() - began_at
            self._next_at = time.monotonic() + max(_LEAST_SECONDS, self._cost_seconds / _SHARE)
