"""The totals of all users: what this process adds, what others do, and how seldom the rows are counted."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from service import metrics
from service.accounts.totals import TotalLimits
from service.database.pool import Database, open_database
from service.errors import StorageFull
from tests.support.database import query

INSERT = "INSERT INTO users (username, token_sha256, byte_count) VALUES ('ann', sha256('x'), 10) RETURNING id"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, max_connections=1) as database:
        yield database


def counts_made() -> float:
    return sum(
        sample.value
        for metric in metrics.QUERY_SECONDS.collect()
        for sample in metric.samples
        if sample.name.endswith("_count") and sample.labels == {"query": "select_totals"}
    )


async def is_refused(totals: TotalLimits) -> bool:
    try:
        await totals.require_room_for_user()
        await totals.require_room_for_record()
    except StorageFull:
        return True
    return False


@pytest.mark.parametrize("limits", [{"max_users": 1, "max_bytes": None}, {"max_users": None, "max_bytes": 10}])
async def test_changes_by_other_processes_count_soon(
    database: Database, database_url: str, limits: dict[str, int | None]
) -> None:
    totals = TotalLimits(database, **limits)
    assert not await is_refused(totals)
    query(database_url, INSERT)
    counting = asyncio.create_task(totals.refresh_for_ever())
    async with asyncio.timeout(10):
        while not await is_refused(totals):
            await asyncio.wait({counting}, timeout=0.02)
    counting.cancel()


async def test_additions_by_this_process_count_at_once_and_only_once(database: Database) -> None:
    totals = TotalLimits(database, max_users=2, max_bytes=None)
    with totals.counting_user():
        assert not await is_refused(totals)
    with contextlib.suppress(KeyError), totals.counting_user():
        raise KeyError
    assert not await is_refused(totals)


async def test_a_refusal_comes_from_the_rows_themselves(database: Database) -> None:
    totals = TotalLimits(database, max_users=1, max_bytes=None)
    with totals.counting_user():
        pass  # and deleted since, by another process
    assert not await is_refused(totals)


async def test_rows_are_not_counted_for_every_refusal(database: Database, database_url: str) -> None:
    query(database_url, INSERT)
    totals = TotalLimits(database, max_users=1, max_bytes=10)
    with totals.counting_user():
        before = counts_made()
        assert [await is_refused(totals) for _ in range(20)] == [True] * 20
        assert counts_made() - before <= 2


async def test_without_a_limit_nothing_is_counted(database: Database) -> None:
    before = counts_made()
    await TotalLimits(database, max_users=None, max_bytes=None).refresh_for_ever()
    assert counts_made() == before
