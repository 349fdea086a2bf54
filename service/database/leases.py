"""Leases that uploads hold across all replicas: one typed function for each statement."""

from collections.abc import Collection
from typing import NamedTuple
from uuid import UUID

from service.database.pool import ConstraintViolated, Database, read_query
from service.refusals import UNKNOWN_TOKEN

_INSERT_UPLOAD_LEASE = read_query("insert_upload_lease")
_UPDATE = read_query("update_leases")
_DELETE = read_query("delete_leases")
_SELECT_WHEREABOUTS = read_query("select_whereabouts")
_SELECT_HOLDERS_OF_USER = read_query("select_upload_holders_of_user")
_DELETE_EXPIRED = read_query("delete_expired_leases")

_GRACE_SECONDS = 6 * 3600


class UploadLease(NamedTuple):
    """What a user holds while an upload runs.

    `holder` is the address of the upload's process, or None if nobody can pass requests on to it.
    """

    user_id: int
    upload_id: UUID
    holder: str | None


async def insert_upload_lease(
    database: Database, lease: UploadLease, *, max_uploads: int, lease_seconds: float
) -> tuple[bool, bool]:
    """Take one of the user's `max_uploads` leases for an upload, and return whether it has one, and if one was free.

    If one was free and it has none, another upload took the same lease at the same moment. Raises NotAuthenticated if
    the user has been deleted, and Unavailable.
    """
    parameters = lease._asdict() | {"max_uploads": max_uploads, "lease_seconds": lease_seconds}
    try:
        (row,) = await database.fetch_all(_INSERT_UPLOAD_LEASE, parameters)
    except ConstraintViolated:
        raise UNKNOWN_TOKEN() from None
    return row["is_taken"], row["was_free"]


async def find_whereabouts(database: Database, upload_id: UUID) -> tuple[str | None, bool]:
    """Return the address of the process that holds an upload, or None, and whether its record is kept already.

    Raises Unavailable.
    """
    row = await database.fetch_one(_SELECT_WHEREABOUTS, {"upload_id": upload_id})
    return (None, False) if row is None else (row["holder"], row["has_record"])


async def select_holders(database: Database, user_id: int) -> set[str]:
    """Return the addresses of the processes that hold uploads of the user. Raises Unavailable."""
    return {row["holder"] for row in await database.fetch_all(_SELECT_HOLDERS_OF_USER, {"user_id": user_id})}


async def update_leases(database: Database, upload_ids: Collection[UUID], lease_seconds: float) -> None:
    """Renew the upload leases and the idempotency keys that these uploads hold. Raises Unavailable."""
    await database.execute(_UPDATE, {"upload_ids": list(upload_ids), "lease_seconds": lease_seconds})


async def delete_leases(database: Database, upload_ids: Collection[UUID]) -> None:
    """Give back what these uploads hold, apart from keys whose upload made a record. Raises Unavailable."""
    await database.execute(_DELETE, {"upload_ids": list(upload_ids)})


async def delete_expired_leases(database: Database) -> None:
    """Remove the upload leases and keys, of whatever replica, that ran out hours ago. Raises Unavailable."""
    await database.execute(_DELETE_EXPIRED, {"grace_seconds": _GRACE_SECONDS})
