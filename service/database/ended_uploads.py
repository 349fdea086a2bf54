"""Uploads that ended without a record: one typed function for each statement."""

import contextlib
from typing import NamedTuple
from uuid import UUID

from service.database.pool import ConstraintViolated, Database, read_query
from service.errors import ServiceError

_INSERT = read_query("insert_ended_upload")
_SELECT = read_query("select_ended_upload")

# Its owner can ask for so long why an upload failed, and about so many of them.
_KEPT_SECONDS = 3600
_MOST_PER_USER = 100


class EndedUpload(NamedTuple):
    """Why an upload has no record: the refusal's code, its sentence, and the byte at which it was found."""

    code: str
    detail: str
    body_offset: int | None


async def insert_ended_upload(database: Database, upload_id: UUID, user_id: int, error: ServiceError) -> None:
    """Note how an upload failed, and forget the user's oldest ones. Raises Unavailable."""
    parameters = {
        "id": upload_id,
        "user_id": user_id,
        "code": error.code,
        "detail": error.detail,
        "body_offset": error.offset,
        "kept_seconds": _KEPT_SECONDS,
        "most": _MOST_PER_USER,
    }
    with contextlib.suppress(ConstraintViolated):  # the user has been deleted, and nobody can ask
        await database.execute(_INSERT, parameters)


async def find_ended_upload(database: Database, upload_id: UUID, user_id: int) -> EndedUpload | None:
    """Return how the user's upload failed, or None if it did not, or too long ago. Raises Unavailable."""
    row = await database.fetch_one(_SELECT, {"id": upload_id, "user_id": user_id, "kept_seconds": _KEPT_SECONDS})
    return EndedUpload(**row) if row else None
