"""Leases: what runs out is left alone for hours, and the task that renews them does not end without a word."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import structlog

from service.database.leases import delete_expired_leases
from service.database.pool import Database, open_database
from service.models import UserLimits
from service.uploads.leases import Leases
from tests.support.database import query

LIMITS = UserLimits(max_records=1, max_bytes=1, max_uploads=1)
MAKE = """
    WITH owner AS (INSERT INTO users (username, token_sha256) VALUES ('ann', sha256('a')) RETURNING id),
    leases AS (
        INSERT INTO upload_leases (user_id, number, upload_id, expires_at)
        SELECT id, hours, gen_random_uuid(), now() - make_interval(hours => hours)
        FROM owner, unnest(%(hours)s) AS hours
    )
    INSERT INTO idempotency_keys (user_id, key, upload_id, fingerprint, expires_at)
    SELECT id, hours, gen_random_uuid(), '', now() - make_interval(hours => hours)
    FROM owner, unnest(%(hours)s) AS hours
    RETURNING key
"""


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, 2) as database:
        yield database


async def test_leases_and_keys_that_ran_out_are_removed_only_hours_later(database: Database, database_url: str) -> None:
    """In an outage those of running uploads run out too, and are renewed when it is over."""
    query(database_url, MAKE.replace("%(hours)s", "ARRAY[1, 5, 7]"))
    await delete_expired_leases(database)
    assert query(database_url, "SELECT number FROM upload_leases ORDER BY 1") == [(1,), (5,)]
    assert query(database_url, "SELECT key FROM idempotency_keys ORDER BY 1") == [("1",), ("5",)]


async def test_unexpected_exception_is_logged_and_leases_are_renewed_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = Leases(database, LIMITS, lease_seconds=0.03)
    execute, rounds, has_gone_on = database.execute, list[str](), asyncio.Event()

    async def fail_twice(query: object, parameters: object) -> None:
        rounds.append("")
        if len(rounds) <= 2:
            raise ZeroDivisionError("a bug")
        await execute(query, parameters)  # type: ignore[arg-type] # as it was called
        has_gone_on.set()

    monkeypatch.setattr(database, "execute", fail_twice)
    leases.hold(uuid4())
    with structlog.testing.capture_logs() as events:
        renewing = asyncio.create_task(leases.renew_for_ever())
        async with asyncio.timeout(5):
            await has_gone_on.wait()
        renewing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await renewing
    assert [event["event"] for event in events] == ["lease_renewal_failed"] * 2
