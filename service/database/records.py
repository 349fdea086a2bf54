"""Records: one typed function for each statement."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from datetime import datetime
from typing import NamedTuple
from uuid import UUID, uuid4

from service.database.name_search import patterns
from service.database.pool import Database, Row, read_query
from service.models import IdempotentUpload, Record, RecordWarning, User, UserLimits

_INSERT = read_query("insert_record")
_SELECT_BY_ID = read_query("select_record_by_id")
_SELECT_BY_USER = read_query("select_records_by_user")
_DELETE = read_query("delete_records")
_SELECT_DUE_IDS = read_query("select_due_record_ids")
_SELECT_KNOWN_IDS = read_query("select_known_record_ids")
_SELECT_PEAKS = read_query("select_peaks_by_id")
_SELECT_SAMPLE = read_query("select_record_sample")
_FIELDS = [field.name for field in fields(Record)]

# A key answers with its record for this long after the upload.
IDEMPOTENCY_KEY_SECONDS = 24 * 3600
# The code of a warning that a replica of the version before has kept, which knows no codes.
OTHER_WARNING = "other"


@dataclass(frozen=True, slots=True)
class Position:
    """A position in a user's list of records. It stays valid if its record is deleted."""

    created_at: datetime
    id: UUID


class Insertion(NamedTuple):
    """Whether a record is kept and, if it is not, why: if nothing else is wrong, there is no room for it.

    `has_owner`: the user is there, and the token is still the user's.
    """

    is_kept: bool
    has_owner: bool
    is_disabled: bool
    has_key: bool


async def insert_record(
    database: Database,
    record: Record,
    token_sha256: bytes,
    idempotency_key: IdempotentUpload | None,
    limits: UserLimits,
) -> Insertion:
    """Keep a record whose MP3 is in the storage already, and give its upload's lease back.

    A second call with the same id changes nothing.

    It is not kept if the user has been deleted or disabled, has another token by now or holds all that a user may, or
    if another upload has the key. A key that nobody has, because its lease ran out in an outage, is taken again.
    Bytes are counted when a record is kept, so the last one may reach past the limit. Raises Unavailable.
    """
    parameters = {name: getattr(record, name) for name in _FIELDS} | {
        "warnings": [warning.detail for warning in record.warnings],
        "warning_codes": [warning.code for warning in record.warnings],
        "token_sha256": token_sha256,
        "idempotency_key": idempotency_key.key if idempotency_key is not None else None,
        "fingerprint": idempotency_key.fingerprint if idempotency_key is not None else None,
        "key_seconds": IDEMPOTENCY_KEY_SECONDS,
        "max_records": limits.max_records,
        "max_bytes": limits.max_bytes,
    }
    [row] = await database.fetch_all(_INSERT, parameters)
    insertion = Insertion(**row)
    if not insertion.is_kept and await select_known_ids(database, [record.id]):
        # An earlier run, whose answer was lost, was still running when this one began.
        return insertion._replace(is_kept=True)
    return insertion


async def select_records(
    database: Database, user: User, limit: int, after: Position | None, search: str = ""
) -> list[Record]:
    """Return up to `limit` of a user's records, newest first, those that follow `after`. Raises Unavailable.

    Those are left out whose file name does not contain `search`, in any case.
    """
    parameters = {
        "user_id": user.id,
        "limit": limit,
        "after_created_at": after.created_at if after else None,
        "after_id": after.id if after else None,
        "name_patterns": patterns(search) if search else None,
    }
    return [_record(row) for row in await database.fetch_all(_SELECT_BY_USER, parameters)]


async def delete_records(database: Database, ids: Collection[UUID]) -> None:
    """Delete those of the records that are still there; their files stay. Raises Unavailable."""
    # It does not say which were there: a deletion whose answer was lost runs again and finds nothing.
    await database.execute(_DELETE, {"ids": list(ids)})


async def select_due_ids(database: Database, limit: int) -> set[UUID]:
    """Return up to twice `limit` ids of records that nobody may have any more: expired, or of deleted users."""
    return {row["id"] for row in await database.fetch_all(_SELECT_DUE_IDS, {"limit": limit})}


async def find_record(database: Database, record_id: UUID) -> Record | None:
    """Return the record of that id, if there is one that has not expired and whose user is not disabled.

    Raises Unavailable.
    """
    row = await database.fetch_one(_SELECT_BY_ID, {"id": record_id})
    return _record(row) if row else None


async def find_peaks(database: Database, record_id: UUID) -> bytes | None:
    """Return a record's waveform as an audiowaveform data file, if it has one. Raises Unavailable."""
    row = await database.fetch_one(_SELECT_PEAKS, {"id": record_id})
    return None if row is None or row["peaks"] is None else bytes(row["peaks"])


async def select_known_ids(database: Database, ids: Collection[UUID]) -> set[UUID]:
    """Return those of the ids that have a record. Raises Unavailable."""
    return {row["id"] for row in await database.fetch_all(_SELECT_KNOWN_IDS, {"ids": list(ids)})}


async def select_sample_of_ids(database: Database, limit: int) -> list[UUID]:
    """Return the ids of up to `limit` records, taken at random."""
    return [row["id"] for row in await database.fetch_all(_SELECT_SAMPLE, {"start": uuid4(), "limit": limit})]


def _record(row: Row) -> Record:
    values, details = dict(row), row["warnings"]
    codes = values.pop("warning_codes") or [OTHER_WARNING] * len(details)
    return Record(**values | {"warnings": tuple(map(RecordWarning, codes, details))})
