"""Removes records with their files: those that an owner deletes, expired ones, and all of a deleted user."""

import asyncio
import contextlib
from collections.abc import Collection
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import structlog

from service.accounts import events
from service.background import going_on
from service.database.pool import Database
from service.database.records import delete_records, select_due_ids
from service.database.removal_turns import give_back_turn, take_turn
from service.database.users import delete_removed_users, mark_deleted
from service.errors import ServiceError
from service.storage import Storage

log = structlog.stdlib.get_logger()

_BATCH = 500
_FILES_AT_A_TIME = 8
_LOOK_SECONDS = 1.0
# A storage that fails is left alone for so long.
_FAILURE_SECONDS = 10.0
# A killed process holds the others up for so long; a batch takes less.
_TURN_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Removal:
    """Decides how records and files go.

    What is due, because it has expired or its user has been deleted, is gone at once for everybody outside. Then the
    files go, in batches, and each row after its file: so a restart in the middle finds what is left. One process at a
    time does this for all; should two do it, no harm is done.
    """

    database: Database
    storage: Storage
    _process_id: UUID = field(default_factory=uuid4)
    _has_work: asyncio.Event = field(default_factory=asyncio.Event)

    async def delete_record(self, record_id: UUID) -> None:
        """Delete a record and its file. Raises Unavailable if the database does not answer.

        The row goes first, so that no row is without its file. A file that cannot be deleted is left to the sweep.
        """
        await delete_records(self.database, [record_id])
        with contextlib.suppress(ServiceError):  # it is logged; to everybody outside the record is gone
            await self.storage.delete(record_id)
        # Its upload may have inserted the row again meanwhile, if the first insert's answer was lost.
        with contextlib.suppress(ServiceError):
            await delete_records(self.database, [record_id])

    async def delete_user(self, user_id: int) -> bool:
        """Delete a user: its token and its links are dead at once, its records and files go in the background.

        However many there are, this takes one short statement. Returns False if there is no such user. Raises
        Unavailable; then the user may be deleted or not.
        """
        is_deleted = await mark_deleted(self.database, user_id)
        if is_deleted:
            events.note("user_deleted", user_id)
        self._has_work.set()
        return is_deleted

    async def remove_for_ever(self) -> None:
        """Remove what is due, soon after it is, until cancelled."""
        while True:
            pause = _FAILURE_SECONDS
            with going_on("removal"):
                await self._remove_in_turn()
                pause = _LOOK_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._has_work.wait()
            self._has_work.clear()

    async def remove_due(self) -> int:
        """Remove all that is due now, and return how many records that were. Raises Unavailable."""
        count = 0
        while ids := await select_due_ids(self.database, _BATCH):
            count += await self._remove(ids)
        await self._remove_users()
        return count

    async def _remove_in_turn(self) -> None:
        """Do as `remove_due` does, as long as this process has the turn."""
        has_turn, count = False, 0
        try:
            while ids := await select_due_ids(self.database, _BATCH):
                has_turn = await take_turn(self.database, self._process_id, _TURN_SECONDS)
                if not has_turn:
                    return
                count += await self._remove(ids)
        finally:
            if has_turn:
                await give_back_turn(self.database, self._process_id)
            if count:
                log.info("records_removed", records=count)
        await self._remove_users()

    async def _remove_users(self) -> None:
        while user_ids := await delete_removed_users(self.database, _BATCH):
            for user_id in user_ids:
                events.note("user_removed", user_id)

    async def _remove(self, ids: Collection[UUID]) -> int:
        """Remove the files, then the rows of those whose file is gone, and return how many these are.

        Raises Unavailable if a file is left; the others are removed then.
        """
        gone, failure = list[UUID](), None
        waiting = list(ids)
        while waiting and failure is None:
            some, waiting = waiting[:_FILES_AT_A_TIME], waiting[_FILES_AT_A_TIME:]
            results = await asyncio.gather(*map(self.storage.delete, some), return_exceptions=True)
            for record_id, result in zip(some, results, strict=True):
                if result is None:
                    gone.append(record_id)
                elif isinstance(result, ServiceError):
                    failure = result
                else:
                    raise result
        await delete_records(self.database, gone)
        if failure is not None:
            raise failure
        return len(gone)
