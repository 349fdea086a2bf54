"""Idempotency keys: one typed function for each statement."""

from typing import NamedTuple
from uuid import UUID

from service.database.pool import ConstraintViolated, Database, read_query
from service.refusals import UNKNOWN_TOKEN

_INSERT = read_query("insert_idempotency_key")
_SELECT = read_query("select_idempotency_key")


class IdempotencyKey(NamedTuple):
    """A user's key and the upload that has it; `is_done` if the upload has made its record.

    `fingerprint` is a hash of what a retry must repeat.
    """

    user_id: int
    key: str
    upload_id: UUID
    fingerprint: bytes
    is_done: bool = False


async def insert_idempotency_key(database: Database, key: IdempotencyKey, lease_seconds: float) -> bool:
    """Claim a key for its upload, and return whether it was free.

    Raises NotAuthenticated if the user has been deleted, and Unavailable.
    """
    try:
        return await database.fetch_one(_INSERT, key._asdict() | {"lease_seconds": lease_seconds}) is not None
    except ConstraintViolated:
        raise UNKNOWN_TOKEN() from None


async def find_idempotency_key(database: Database, user_id: int, key: str) -> IdempotencyKey | None:
    """Return the key if an upload has it, or None. Raises Unavailable."""
    row = await database.fetch_one(_SELECT, {"user_id": user_id, "key": key})
    return IdempotencyKey(**{**row, "fingerprint": bytes(row["fingerprint"])}) if row else None
