"""Users: one typed function for each statement."""

import hashlib
from uuid import UUID, uuid4

from service.database.pool import Database, read_query
from service.models import User
from service.names import has_control_characters
from service.refusals import INVALID_USERNAME

_INSERT = read_query("insert_user")
_SELECT_BY_TOKEN = read_query("select_user_by_token")
_SELECT_BY_ID = read_query("select_user_by_id")
_UPDATE_TOKEN = read_query("update_user_token")
_DELETE = read_query("delete_user")
_SELECT_RECORD_IDS = read_query("select_record_ids_by_user")

LONGEST_USERNAME = 250
_LARGEST_ID = 2**63 - 1


async def insert_user(database: Database, username: str) -> tuple[User, UUID]:
    """Create a user and return them with their token, which cannot be read again: only its hash is kept.

    Raises Unprocessable for a name that is empty, too long or not text, and Unavailable.
    """
    if not 1 <= len(username) <= LONGEST_USERNAME or has_control_characters(username):
        raise INVALID_USERNAME(max_length=LONGEST_USERNAME)
    token = uuid4()
    row = await database.fetch_one(_INSERT, {"username": username, "token_sha256": _sha256(str(token))})
    assert row is not None  # noqa: S101 - the statement returns its row
    return User(**row), token


async def find_user_by_token(database: Database, token: str) -> User | None:
    """Return the user whose token this is, if there is one. Raises Unavailable."""
    # The hash has the same length for every token and is looked up in an index, so the time says nothing about it.
    row = await database.fetch_one(_SELECT_BY_TOKEN, {"token_sha256": _sha256(token)})
    return User(**row) if row else None


async def find_user(database: Database, user_id: int) -> User | None:
    """Return the user of that id, if there is one. Raises Unavailable."""
    if not 0 < user_id <= _LARGEST_ID:
        return None
    row = await database.fetch_one(_SELECT_BY_ID, {"id": user_id})
    return User(**row) if row else None


async def update_token(database: Database, user: User) -> UUID:
    """Give a user a new token and return it; the old one stops working at once. Raises Unavailable."""
    token = uuid4()
    await database.execute(_UPDATE_TOKEN, {"id": user.id, "token_sha256": _sha256(str(token))})
    return token


async def delete_user(database: Database, user: User) -> list[UUID]:
    """Delete a user with all their records and return the records' ids; the files stay. Raises Unavailable."""
    # The ids are read first, because a deletion whose answer was lost runs again and then returns nothing.
    rows = await database.fetch_all(_SELECT_RECORD_IDS, {"user_id": user.id})
    rows += await database.fetch_all(_DELETE, {"id": user.id})
    return list({row["id"] for row in rows})


def _sha256(token: str) -> bytes:
    # A UUID may be written in either case, with or without hyphens. A token that is not a UUID belongs to no one.
    try:
        token = str(UUID(token))
    except ValueError:
        token = ""
    return hashlib.sha256(token.encode()).digest()
