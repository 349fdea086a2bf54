"""The work beside the requests: an error of one round, even one that nobody expected, does not end it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest
import structlog

from service.accounts import totals
from service.accounts.totals import TotalLimits
from service.background import in_background
from service.database.pool import Database, open_database
from service.database.users import insert_user
from service.models import User, UserLimits
from service.refusals import DATABASE_UNAVAILABLE
from service.storage.disk import DiskStorage
from service.uploads import leases, removal, revocation
from service.uploads.leases import Leases
from service.uploads.removal import Removal
from service.uploads.revocation import Revocations

LIMITS = UserLimits(max_records=1, max_bytes=1, max_uploads=1)
PAUSES = [
    (leases, "_GIVE_BACK_SECONDS"),
    (removal, "_LOOK_SECONDS"),
    (removal, "_FAILURE_SECONDS"),
    (revocation, "_LOOK_SECONDS"),
    (totals, "_REFRESH_SECONDS"),
    (totals, "_LEAST_SECONDS"),
]
Work = Callable[[Database, User, ExitStack, Path], Coroutine[None, None, None]]


def renew_leases(database: Database, _user: User, _stack: ExitStack, _directory: Path) -> Coroutine[None, None, None]:
    own = Leases(database, LIMITS, lease_seconds=0.03)
    own.hold(uuid4())
    return own.renew_for_ever()


def remove(database: Database, _user: User, _stack: ExitStack, directory: Path) -> Coroutine[None, None, None]:
    return Removal(database, DiskStorage(directory)).remove_for_ever()


def look_for_revoked(database: Database, user: User, stack: ExitStack, _directory: Path) -> Coroutine[None, None, None]:
    revocations = Revocations(database)
    stack.enter_context(revocations.watched(uuid4(), user))
    return revocations.look_for_ever()


def count_totals(database: Database, _user: User, _stack: ExitStack, _directory: Path) -> Coroutine[None, None, None]:
    return TotalLimits(database, max_users=1, max_bytes=None).refresh_for_ever()


WORKS = {"leases": renew_leases, "removal": remove, "revocation": look_for_revoked, "totals": count_totals}


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, 2) as database:
        yield database


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize(
    ("error", "is_logged"), [(ZeroDivisionError, True), (DATABASE_UNAVAILABLE, False)], ids=["bug", "outage"]
)
@pytest.mark.parametrize("name", WORKS)
async def test_work_goes_on_after_an_error(
    name: str,
    error: Callable[[], Exception],
    is_logged: bool,
    database: Database,
    stack: ExitStack,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The database itself logs an outage."""
    for module, pause in PAUSES:
        monkeypatch.setattr(module, pause, 0.01)
    user, _ = await insert_user(database, "ann")
    work: Work = WORKS[name]
    rounds, has_gone_on = list[str](), asyncio.Event()

    def failing_twice(method: str) -> None:
        run = getattr(database, method)

        async def fail_twice(query: object, parameters: object) -> object:
            rounds.append("")
            if len(rounds) <= 2:
                raise error()
            answer = await run(query, parameters)
            has_gone_on.set()
            return answer

        monkeypatch.setattr(database, method, fail_twice)

    failing_twice("fetch_all")
    failing_twice("execute")
    with structlog.testing.capture_logs() as events:
        async with in_background(work(database, user, stack, tmp_path)), asyncio.timeout(5):
            await has_gone_on.wait()
    failures = [(event["event"], event["work"]) for event in events if event["log_level"] == "error"]
    assert failures == [("background_work_failed", name)] * 2 * is_logged


async def test_work_ends_with_its_block() -> None:
    has_ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            has_ended.set()

    async with in_background(work()):
        await asyncio.sleep(0)
    assert has_ended.is_set()
