"""Makes retries safe: an idempotency key makes one record, even if it is sent often and to several replicas."""

from uuid import UUID

from service.database.idempotency_keys import IdempotencyKey, find_idempotency_key, insert_idempotency_key
from service.database.pool import Database
from service.database.records import find_record
from service.models import IdempotentUpload, Record, User
from service.refusals import IDEMPOTENCY_KEY_REUSED, RECORD_NOT_FOUND, UPLOAD_RUNNING
from service.uploads.leases import Leases

LONGEST_KEY = 255


async def find_replay(database: Database, user: User, upload: IdempotentUpload) -> Record | None:
    """Return the record that an upload with this key has made already, if there is one. Reads only.

    Raises NotFound if that record has been deleted, Unprocessable if the key came with another upload, and
    Unavailable.
    """
    key = await find_idempotency_key(database, user.id, upload.key)
    return await _replay(database, key, upload) if key is not None else None


async def claim(leases: Leases, user: User, upload_id: UUID, upload: IdempotentUpload) -> Record | None:
    """Take the key for an upload, or return the record that another upload has just made with it.

    If the upload ends without a record, the key is free again. If this process is killed, the key is free when its
    lease runs out. Raises Conflict while another upload has the key, NotAuthenticated if the user has been deleted,
    and as `find_replay` does.
    """
    leases.hold(upload_id)
    key = IdempotencyKey(user.id, upload.key, upload_id, upload.fingerprint)
    if await insert_idempotency_key(leases.database, key, leases.lease_seconds):
        return None
    other = await find_idempotency_key(leases.database, user.id, upload.key)
    replay = await _replay(leases.database, other, upload) if other is not None else None
    if replay is None:  # the other upload runs, or has just freed the key, which the client's next try then gets
        raise UPLOAD_RUNNING(upload_id=other.upload_id if other is not None else None)
    return replay


async def _replay(database: Database, key: IdempotencyKey, upload: IdempotentUpload) -> Record | None:
    if key.fingerprint != upload.fingerprint:
        raise IDEMPOTENCY_KEY_REUSED()
    if not key.is_done:
        return None
    record = await find_record(database, key.upload_id)
    if record is None:
        raise RECORD_NOT_FOUND()
    return record
