"""What each user may hold, across all replicas: records, bytes, and uploads at a time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from service.database import Database, read_query
from service.errors import Forbidden, ServiceError, TooManyUploads
from service.models import User, UserLimits

log = structlog.stdlib.get_logger()

_INSERT_SLOT = read_query("insert_upload_slot")
_UPDATE_LEASES = read_query("update_leases")
_DELETE_SLOT = read_query("delete_upload_slot")
_DELETE_EXPIRED = read_query("delete_expired_leases")

# A killed process holds its users' slots for this long; a database away for less costs nobody a slot.
LEASE_SECONDS = 60.0
# Uploads that begin together may reach for the same free slot; all but one of them try another.
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Leases:
    """The leases that this process holds for its running uploads, renewed together."""

    database: Database
    limits: UserLimits
    _held: set[UUID] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def hold(self, user: User, upload_id: UUID) -> AsyncIterator[None]:
        """Count an upload against its user's limits for the length of the block.

        Raises Forbidden where the user holds all that it may, and TooManyUploads.
        """
        if user.record_count >= self.limits.max_records or user.byte_count >= self.limits.max_bytes:
            raise quota_exceeded(self.limits)
        await self._take_slot(user, upload_id)
        self._held.add(upload_id)
        try:
            yield
        finally:
            self._held.discard(upload_id)
            await self._give_back(upload_id)

    async def renew_for_ever(self) -> None:
        """Renew all leases in time, until cancelled."""
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            with contextlib.suppress(ServiceError):  # it is logged, and the next round is soon enough
                if self._held:
                    parameters = {"upload_ids": list(self._held), "lease_seconds": LEASE_SECONDS}
                    await self.database.fetch_all(_UPDATE_LEASES, parameters)
                await self.database.fetch_all(_DELETE_EXPIRED, {})

    async def _take_slot(self, user: User, upload_id: UUID) -> None:
        parameters = {
            "user_id": user.id,
            "upload_id": upload_id,
            "max_uploads": self.limits.max_uploads,
            "lease_seconds": LEASE_SECONDS,
        }
        for _ in range(_TRIES):
            if await self.database.fetch_one(_INSERT_SLOT, parameters) is not None:
                return
        raise TooManyUploads(
            "too_many_uploads", f"You have {self.limits.max_uploads} uploads running. Wait for one to end."
        )

    async def _give_back(self, upload_id: UUID) -> None:
        with contextlib.suppress(ServiceError):  # it is logged, and the lease runs out by itself
            await self.database.fetch_all(_DELETE_SLOT, {"upload_id": upload_id})


def quota_exceeded(limits: UserLimits) -> Forbidden:
    """Return the refusal of a user who holds all that it may."""
    return Forbidden(
        "quota_exceeded",
        f"A user may keep {limits.max_records} records and {limits.max_bytes} bytes. Delete some.",
    )
