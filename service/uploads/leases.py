"""What each user may hold, across all replicas: records, bytes, and uploads at a time."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import UUID

from service.background import going_on
from service.database.leases import (
    UploadLease,
    delete_expired_leases,
    delete_leases,
    insert_upload_lease,
    update_leases,
)
from service.database.pool import Database
from service.models import User, UserLimits
from service.refusals import QUOTA_EXCEEDED, TOO_MANY_UPLOADS

# Leases that could not be given back are given back this soon after the database is back.
_GIVE_BACK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Leases:
    """What this process's uploads hold: their upload leases and their idempotency keys.

    They are renewed together. They are given back when their upload ends or, if the database is away just then,
    when it is back. A killed process holds them for up to `lease_seconds`. `holder` is the address of this process, or
    None if nobody passes requests on to it.
    """

    database: Database
    limits: UserLimits
    lease_seconds: float = 60.0
    holder: str | None = None
    _held: set[UUID] = field(default_factory=set)
    _owed: set[UUID] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def given_back_after(self, upload_id: UUID) -> AsyncIterator[None]:
        """Give back at the end of the block what was taken for the upload in it."""
        try:
            yield
        finally:
            if upload_id in self._held:
                self._held.discard(upload_id)
                self._owed.add(upload_id)
                await self.give_back_owed()

    def hold(self, upload_id: UUID) -> None:
        """Renew from now on what the upload has. Call it before taking anything, because an answer may be lost."""
        self._held.add(upload_id)

    def forget(self, upload_id: UUID) -> None:
        """Give nothing back of the upload, because nothing is left of what it has taken."""
        self._held.discard(upload_id)

    async def take(self, user: User, upload_id: UUID) -> None:
        """Take an upload lease, which counts the upload against its user's limits.

        Raises Forbidden if the user keeps all that a user may keep, TooManyRequests if all the user's leases are taken,
        NotAuthenticated if the user has been deleted, and Unavailable.
        """
        limits = self.limits
        if user.record_count >= limits.max_records or user.byte_count >= limits.max_bytes:
            raise QUOTA_EXCEEDED(max_records=limits.max_records, max_bytes=limits.max_bytes)
        self.hold(upload_id)
        lease = UploadLease(user.id, upload_id, self.holder)
        is_taken, was_free = False, True
        while was_free and not is_taken:  # uploads that begin together may reach for the same free lease
            is_taken, was_free = await insert_upload_lease(
                self.database, lease, max_uploads=limits.max_uploads, lease_seconds=self.lease_seconds
            )
        if not is_taken:
            raise TOO_MANY_UPLOADS(max_uploads=limits.max_uploads)

    async def give_back_owed(self) -> None:
        """Give back what ended uploads have taken, if the database answers. Raises nothing."""
        if not self._owed:
            return
        owed = list(self._owed)
        with going_on("leases"):
            await delete_leases(self.database, owed)
            self._owed.difference_update(owed)

    async def renew_for_ever(self) -> None:
        """Renew all leases in time and give back what is owed, until cancelled."""
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(min(_GIVE_BACK_SECONDS, self.lease_seconds / 3))
            await self.give_back_owed()
            if time.monotonic() - renewed >= self.lease_seconds / 3:
                renewed = time.monotonic()
                await self._renew()

    async def _renew(self) -> None:
        with going_on("leases"):
            if self._held:
                await update_leases(self.database, self._held, self.lease_seconds)
            await delete_expired_leases(self.database)
