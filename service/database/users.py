"""Users: one typed function for each statement."""

import hashlib
import secrets
from dataclasses import replace
from typing import NamedTuple
from uuid import UUID, uuid4

from service.database.pool import Database, Row, read_query
from service.models import User
from service.names import has_control_characters
from service.refusals import INVALID_USERNAME

_INSERT = read_query("insert_user")
_SELECT = read_query("select_users")
_SELECT_BY_TOKEN = read_query("select_user_by_token")
_SELECT_BY_ID = read_query("select_user_by_id")
_SELECT_TOTALS = read_query("select_totals")
_UPDATE_TOKEN = read_query("update_user_token")
_UPDATE_PENDING_TOKEN = read_query("update_pending_token")
_UPDATE_TOKEN_TO_PENDING = read_query("update_token_to_pending")
_UPDATE_TOKEN_USE = read_query("update_token_use")
_UPDATE_DISABLED = read_query("update_user_disabled")
_UPDATE_DELETED = read_query("update_user_deleted")
_DELETE_REMOVED = read_query("delete_removed_users")

LONGEST_USERNAME = 250
_LARGEST_ID = 2**63 - 1


class FoundToken(NamedTuple):
    """Whose token it is, and what is true of it.

    `is_pending`: it is a new one that has not been used yet. `pending_sha256` is the new one that has been offered,
    if any.
    """

    user: User
    is_pending: bool
    is_expired: bool
    is_use_noted: bool
    pending_sha256: bytes | None


class Totals(NamedTuple):
    """What all users are and keep together."""

    user_count: int
    byte_count: int


async def insert_user(database: Database, username: str) -> tuple[User, UUID]:
    """Create a user and return them with their token, which cannot be read again: only its hash is kept.

    Raises Unprocessable for a name that is empty, too long or not text.
    """
    check_username(username)
    token = uuid4()
    row = await database.fetch_one(_INSERT, {"username": username, "token_sha256": token_sha256(str(token))})
    assert row is not None  # noqa: S101 - the statement returns its row
    return _user(row), token


def check_username(username: str) -> None:
    """Raise Unprocessable for a name that is empty, too long or not text."""
    if not 1 <= len(username) <= LONGEST_USERNAME or has_control_characters(username):
        raise INVALID_USERNAME(max_length=LONGEST_USERNAME)


async def find_token(
    database: Database, token: str, *, lifetime_seconds: float | None, use_seconds: float
) -> FoundToken | None:
    """Return whose token this is, if anybody's.

    It has expired after `lifetime_seconds`. Its use is noted if that was done in the last `use_seconds`.
    """
    # The hash has the same length for every token and is looked up in an index, so the time says nothing about it.
    presented = token_sha256(token)
    parameters = {"token_sha256": presented, "lifetime_seconds": lifetime_seconds, "use_seconds": use_seconds}
    row = await database.fetch_one(_SELECT_BY_TOKEN, parameters)
    if row is None:
        return None
    pending = row["pending_token_sha256"]
    return FoundToken(
        user=replace(_user(row), token_sha256=presented),
        is_pending=row["is_pending"],
        is_expired=row["is_expired"],
        is_use_noted=row["is_use_noted"],
        pending_sha256=bytes(pending) if pending is not None else None,
    )


async def find_user(database: Database, user_id: int) -> User | None:
    """Return the user of that id, if there is one."""
    if not 0 < user_id <= _LARGEST_ID:
        return None
    row = await database.fetch_one(_SELECT_BY_ID, {"id": user_id})
    return _user(row) if row else None


async def select_users(database: Database, *, after_id: int, limit: int) -> list[User]:
    """Return up to `limit` users in the order of their ids, with ids above `after_id`."""
    return [_user(row) for row in await database.fetch_all(_SELECT, {"after_id": after_id, "limit": limit})]


async def select_totals(database: Database) -> Totals:
    """Count all users and the bytes that they keep; reads every user's row."""
    [row] = await database.fetch_all(_SELECT_TOTALS, {})
    return Totals(**row)


async def update_token(database: Database, user_id: int) -> UUID | None:
    """Give a user a new token and return it, or None if there is no such user; the old one is dead at once."""
    token = uuid4()
    row = await database.fetch_one(_UPDATE_TOKEN, {"id": user_id, "token_sha256": token_sha256(str(token))})
    return token if row else None


async def offer_token(database: Database, user: User, pending_sha256: bytes | None) -> UUID | None:
    """Keep a new token beside the user's and return it.

    Returns None if the user's token is dead, or if the one offered before is not `pending_sha256` any more.
    """
    token = uuid4()
    parameters = {
        "id": user.id,
        "token_sha256": user.token_sha256,
        "pending_token_sha256": pending_sha256,
        "new_token_sha256": token_sha256(str(token)),
    }
    return token if await database.fetch_one(_UPDATE_PENDING_TOKEN, parameters) else None


async def use_offered_token(database: Database, user: User) -> None:
    """Make the offered token, which is `user.token_sha256`, the user's only one."""
    await database.execute(_UPDATE_TOKEN_TO_PENDING, {"id": user.id, "token_sha256": user.token_sha256})


async def note_token_use(database: Database, user: User) -> None:
    """Remember that the user's token was used now; not if that would have to wait for another statement."""
    await database.execute(_UPDATE_TOKEN_USE, {"id": user.id})


async def update_disabled(database: Database, user_id: int, *, is_disabled: bool) -> bool:
    """Disable a user or enable it again; return whether there is such a user."""
    return await database.fetch_one(_UPDATE_DISABLED, {"id": user_id, "is_disabled": is_disabled}) is not None


async def mark_deleted(database: Database, user_id: int) -> bool:
    """Delete a user for everybody outside: the token is nobody's, and no record is found or kept any more.

    The row and the records are left. Returns False if there is no such user, or not any more.
    """
    parameters = {"id": user_id, "nobodys_token_sha256": secrets.token_bytes(hashlib.sha256().digest_size)}
    return await database.fetch_one(_UPDATE_DELETED, parameters) is not None


async def delete_removed_users(database: Database, limit: int) -> list[int]:
    """Delete up to `limit` rows of deleted users that have no record left, and return their ids."""
    return [row["id"] for row in await database.fetch_all(_DELETE_REMOVED, {"limit": limit})]


def token_sha256(token: str) -> bytes:
    """Return what is kept of a token. One that is not a UUID has a hash that belongs to no one."""
    # A UUID may be written in either case, with or without hyphens.
    try:
        token = str(UUID(token))
    except ValueError:
        token = ""
    return hashlib.sha256(token.encode()).digest()


def _user(row: Row) -> User:
    return User(
        id=row["id"],
        username=row["username"],
        created_at=row["created_at"],
        record_count=row["record_count"],
        byte_count=row["byte_count"],
        token_sha256=bytes(row["token_sha256"]),
        token_used_at=row["token_used_at"],
        is_disabled=row["is_disabled"],
    )
