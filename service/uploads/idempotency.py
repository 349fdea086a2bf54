"""Safe retries: one key, one record, however often and through whichever replica it is sent."""

from dataclasses import dataclass
from uuid import UUID

import structlog

from service.database.pool import Database, read_query
from service.database.records import find_record
from service.models import Record, User
from service.refusals import IDEMPOTENCY_KEY_REUSED, RECORD_NOT_FOUND, UPLOAD_RUNNING
from service.uploads.leases import LEASE_SECONDS, Leases

log = structlog.stdlib.get_logger()

_INSERT = read_query("insert_idempotency_key")
_SELECT = read_query("select_idempotency_key")

LONGEST_KEY = 255


@dataclass(frozen=True, slots=True)
class IdempotentUpload:
    """A key as a client sent it with an upload; `fingerprint` is a hash of what makes it that upload."""

    key: str
    fingerprint: bytes


async def claim(leases: Leases, user: User, upload_id: UUID, upload: IdempotentUpload) -> Record | None:
    """Take the key for an upload, or return the record that it made already.

    If the upload ends without a record the key is free again; if this process is killed it is so when the lease
    runs out. Raises Conflict while another upload has the key, NotFound where its record has been deleted, and
    Unprocessable where the key came with another upload.
    """
    parameters = {
        "user_id": user.id,
        "key": upload.key,
        "upload_id": upload_id,
        "fingerprint": upload.fingerprint,
        "lease_seconds": LEASE_SECONDS,
    }
    leases.hold(upload_id)
    if await leases.database.fetch_one(_INSERT, parameters) is not None:
        return None
    return await _find_replay(leases.database, user, upload)


async def _find_replay(database: Database, user: User, upload: IdempotentUpload) -> Record:
    row = await database.fetch_one(_SELECT, {"user_id": user.id, "key": upload.key})
    if row is None:  # freed a moment ago: the retry that this asks for will get it
        raise UPLOAD_RUNNING()
    if bytes(row["fingerprint"]) != upload.fingerprint:
        raise IDEMPOTENCY_KEY_REUSED()
    if not row["is_done"]:
        raise UPLOAD_RUNNING()
    record = await find_record(database, row["upload_id"])
    if record is None:
        raise RECORD_NOT_FOUND()
    return record
