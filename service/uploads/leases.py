"""What each user may hold, across all replicas: records, bytes, and uploads at a time."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from service.database.pool import Database, read_query
from service.errors import ServiceError
from service.models import User, UserLimits
from service.refusals import QUOTA_EXCEEDED, TOO_MANY_UPLOADS

log = structlog.stdlib.get_logger()

_INSERT_SLOT = read_query("insert_upload_slot")
_UPDATE_LEASES = read_query("update_leases")
_DELETE_LEASES = read_query("delete_leases")
_DELETE_EXPIRED = read_query("delete_expired_leases")

# A killed process holds its users' slots for this long; a database away for less costs nobody a slot.
LEASE_SECONDS = 60.0
# What a database that was away did not take back it takes back this soon after its return.
_GIVE_BACK_SECONDS = 0.5
# Uploads that begin together may reach for the same free slot; all but one of them try another.
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Leases:
    """The leases that this process holds for its running uploads: user slots and idempotency keys.

    They are renewed together, and given back when the upload ends or, should the database be away just then,
    when it is back.
    """

    database: Database
    limits: UserLimits
    _held: set[UUID] = field(default_factory=set)
    _owed: set[UUID] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def given_back_after(self, upload_id: UUID) -> AsyncIterator[None]:
        """Give back at the end of the block whatever was taken for the upload in it."""
        try:
            yield
        finally:
            if upload_id in self._held:
                self._held.discard(upload_id)
                self._owed.add(upload_id)
                await self.give_back_owed()

    def hold(self, upload_id: UUID) -> None:
        """Renew from now on what the upload has; to be called before it takes any, for an answer may be lost."""
        self._held.add(upload_id)

    async def take_slot(self, user: User, upload_id: UUID) -> None:
        """Count an upload against its user's limits.

        Raises Forbidden where the user holds all that it may, and TooManyRequests.
        """
        if user.record_count >= self.limits.max_records or user.byte_count >= self.limits.max_bytes:
            raise QUOTA_EXCEEDED(max_records=self.limits.max_records, max_bytes=self.limits.max_bytes)
        self.hold(upload_id)
        parameters = {
            "user_id": user.id,
            "upload_id": upload_id,
            "max_uploads": self.limits.max_uploads,
            "lease_seconds": LEASE_SECONDS,
        }
        for _ in range(_TRIES):
            if await self.database.fetch_one(_INSERT_SLOT, parameters) is not None:
                return
        raise TOO_MANY_UPLOADS(max_uploads=self.limits.max_uploads)

    async def give_back_owed(self) -> None:
        """Give back what ended uploads have taken, as far as the database answers."""
        if not self._owed:
            return
        owed = list(self._owed)
        with contextlib.suppress(ServiceError):  # it is logged, and tried again
            await self.database.execute(_DELETE_LEASES, {"upload_ids": owed})
            self._owed.difference_update(owed)

    async def renew_for_ever(self) -> None:
        """Renew all leases in time and give back what is owed, until cancelled."""
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(min(_GIVE_BACK_SECONDS, LEASE_SECONDS / 3))
            await self.give_back_owed()
            if time.monotonic() - renewed >= LEASE_SECONDS / 3:
                renewed = time.monotonic()
                await self._renew()

    async def _renew(self) -> None:
        with contextlib.suppress(ServiceError):  # it is logged, and the next round is soon enough
            if self._held:
                parameters = {"upload_ids": list(self._held), "lease_seconds": LEASE_SECONDS}
                await self.database.execute(_UPDATE_LEASES, parameters)
            await self.database.execute(_DELETE_EXPIRED, {})
