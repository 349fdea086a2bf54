"""Records: one typed function per statement."""

from collections.abc import Collection
from dataclasses import asdict
from uuid import UUID

from service.database import Database, Row, read_query
from service.models import Record

_INSERT = read_query("insert_record")
_SELECT_BY_ID = read_query("select_record_by_id")
_SELECT_KNOWN_IDS = read_query("select_known_record_ids")


async def insert_record(database: Database, record: Record) -> None:
    """Keep a record whose MP3 is in the storage already; a second call with the same id changes nothing.

    Raises ConstraintViolated where the user is gone, and Unavailable.
    """
    await database.fetch_all(_INSERT, asdict(record) | {"warnings": list(record.warnings)})


async def find_record(database: Database, record_id: UUID) -> Record | None:
    """Return the record of that id, if there is one."""
    row = await database.fetch_one(_SELECT_BY_ID, {"id": record_id})
    return _record(row) if row else None


async def select_known_ids(database: Database, ids: Collection[UUID]) -> set[UUID]:
    """Return those of the ids that have a record."""
    return {row[0] for row in await database.fetch_all(_SELECT_KNOWN_IDS, {"ids": list(ids)})}


def _record(row: Row) -> Record:
    return Record(*row[:9], warnings=tuple(row[9]), created_at=row[10])  # type: ignore[misc] # a row is of Any
