"""What an operator does with users and records: `wavepress users ...` and `wavepress records ...`."""

import argparse
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from service.accounts import events
from service.accounts.tokens import Tokens
from service.database.pool import Database
from service.database.records import Position, select_known_ids, select_records
from service.database.users import find_user, insert_user, select_users, update_disabled
from service.models import Record, User
from service.refusals import RECORD_NOT_FOUND, USER_NOT_FOUND
from service.uploads.removal import Removal

_PAGE = 500


class Parts(NamedTuple):
    """What the commands work with."""

    database: Database
    removal: Removal


class _Action(NamedTuple):
    does: str
    run: Callable[[Parts, argparse.Namespace], Awaitable[None]]
    arguments: Mapping[str, Mapping[str, Any]]


async def operate(parts: Parts, arguments: argparse.Namespace) -> None:
    """Do what the command says, and print each answer as a line of JSON. Raises NotFound and Unavailable."""
    await _ACTIONS[arguments.command][arguments.action].run(parts, arguments)


def add_actions(noun: str, command: argparse.ArgumentParser) -> None:
    """Add what can be done with users or with records to that command."""
    actions = command.add_subparsers(title="actions", required=True, dest="action", metavar="ACTION")
    for name, action in _ACTIONS[noun].items():
        parser = actions.add_parser(name, help=action.does, description=f"{action.does[0].upper()}{action.does[1:]}.")
        for argument, options in action.arguments.items():
            parser.add_argument(argument, **options)


async def _list_users(parts: Parts, _arguments: argparse.Namespace) -> None:
    async for user in _users(parts.database):
        _print(
            id=user.id,
            username=user.username,
            created_at=_iso(user.created_at),
            last_used_at=_iso(user.token_used_at),
            disabled=user.is_disabled,
            records=user.record_count,
            bytes=user.byte_count,
        )


async def _create_user(parts: Parts, arguments: argparse.Namespace) -> None:
    user, token = await insert_user(parts.database, arguments.username)
    events.note("user_created", user.id)
    _print(id=user.id, username=user.username, token=str(token))


async def _disable_user(parts: Parts, arguments: argparse.Namespace) -> None:
    await _set_disabled(parts, arguments.user_id, is_disabled=True)


async def _enable_user(parts: Parts, arguments: argparse.Namespace) -> None:
    await _set_disabled(parts, arguments.user_id, is_disabled=False)


async def _set_disabled(parts: Parts, user_id: int, *, is_disabled: bool) -> None:
    await _require_user(parts.database, user_id)
    if not await update_disabled(parts.database, user_id, is_disabled=is_disabled):
        raise USER_NOT_FOUND()
    events.note("user_disabled" if is_disabled else "user_enabled", user_id)
    _print(id=user_id, disabled=is_disabled)


async def _delete_user(parts: Parts, arguments: argparse.Namespace) -> None:
    await _require_user(parts.database, arguments.user_id)
    if not await parts.removal.delete_user(arguments.user_id):
        raise USER_NOT_FOUND()
    _print(id=arguments.user_id, removed_records=await parts.removal.remove_due())


async def _replace_token(parts: Parts, arguments: argparse.Namespace) -> None:
    await _require_user(parts.database, arguments.user_id)
    token = await Tokens(parts.database).replace(arguments.user_id)
    if token is None:
        raise USER_NOT_FOUND()
    _print(id=arguments.user_id, token=str(token))


async def _list_records(parts: Parts, arguments: argparse.Namespace) -> None:
    only = arguments.user_id
    if only is not None:
        await _print_records(parts.database, await _require_user(parts.database, only))
        return
    async for user in _users(parts.database):
        await _print_records(parts.database, user)


async def _print_records(database: Database, user: User) -> None:
    async for record in _records(database, user):
        _print(
            id=str(record.id),
            user_id=record.user_id,
            filename=record.filename,
            duration=record.duration,
            size=record.size,
            created_at=_iso(record.created_at),
            expires_at=_iso(record.expires_at),
        )


async def _delete_record(parts: Parts, arguments: argparse.Namespace) -> None:
    if not await select_known_ids(parts.database, [arguments.record_id]):
        raise RECORD_NOT_FOUND()
    await parts.removal.delete_record(arguments.record_id)
    _print(id=str(arguments.record_id))


async def _require_user(database: Database, user_id: int) -> User:
    """Return the user, who may be deleted a moment later. Raises NotFound."""
    user = await find_user(database, user_id)
    if user is None:
        raise USER_NOT_FOUND()
    return user


async def _users(database: Database) -> AsyncIterator[User]:
    after_id = 0
    while page := await select_users(database, after_id=after_id, limit=_PAGE):
        for user in page:
            yield user
        after_id = page[-1].id


async def _records(database: Database, user: User) -> AsyncIterator[Record]:
    after: Position | None = None
    while page := await select_records(database, user, _PAGE, after):
        for record in page:
            yield record
        after = Position(page[-1].created_at, page[-1].id)


def _iso(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat() if moment is not None else None


def _print(**facts: object) -> None:
    print(json.dumps(facts))  # noqa: T201 - the command's answer


def _user_id(text: str) -> int:
    """Return a user's id. Raises ArgumentTypeError."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a number that `wavepress users list` shows (it is {text!r})")
    return int(text)


def _record_id(text: str) -> UUID:
    """Return a record's id. Raises ArgumentTypeError."""
    try:
        return UUID(text)
    except ValueError:
        message = f"must be an id that `wavepress records list` shows (it is {text!r})"
        raise argparse.ArgumentTypeError(message) from None


_USER_ID = {"user_id": {"type": _user_id, "metavar": "ID", "help": "the user's id, as `wavepress users list` shows it"}}
_ACTIONS: Mapping[str, Mapping[str, _Action]] = {
    "users": {
        "list": _Action("list all users", _list_users, {}),
        "create": _Action("create a user and show its token", _create_user, {"username": {"metavar": "USERNAME"}}),
        "disable": _Action("refuse a user's token and links, and end its uploads", _disable_user, _USER_ID),
        "enable": _Action("undo `disable`", _enable_user, _USER_ID),
        "delete": _Action("delete a user with all records and files", _delete_user, _USER_ID),
        "token": _Action("give a user a new token; the old one is dead at once", _replace_token, _USER_ID),
    },
    "records": {
        "list": _Action(
            "list records, of one user or of all",
            _list_records,
            {"user_id": {"type": _user_id, "nargs": "?", "metavar": "USER_ID"}},
        ),
        "delete": _Action(
            "delete a record and its file", _delete_record, {"record_id": {"type": _record_id, "metavar": "ID"}}
        ),
    },
}
