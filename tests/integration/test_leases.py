"""Leases: a user has as many as may be, by one statement each, and what runs out is left alone for hours."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from service.database.leases import delete_expired_leases
from service.database.pool import Database, open_database
from service.database.users import find_user
from service.errors import TooManyRequests
from service.models import UserLimits
from service.uploads.leases import Leases
from tests.support.database import late_commit, query, statement_counts, transaction, until_a_statement_waits

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


@pytest.fixture
def user_id(database_url: str) -> int:
    statement = "INSERT INTO users (username, token_sha256) VALUES ('ann', sha256('a')) RETURNING id"
    return int(query(database_url, statement)[0][0])


async def take(database: Database, user_id: int, max_uploads: int, upload_id: UUID | None = None) -> bool:
    """Take a lease, and return whether there was one."""
    user = await find_user(database, user_id)
    assert user is not None
    leases = Leases(database, replace(LIMITS, max_uploads=max_uploads))
    try:
        await leases.take(user, upload_id or uuid4())
    except TooManyRequests:
        return False
    return True


def numbers(url: str) -> list[int]:
    return [number for (number,) in query(url, "SELECT number FROM upload_leases ORDER BY 1")]


async def test_lease_takes_one_statement_and_so_does_a_refusal(
    database: Database, database_url: str, user_id: int
) -> None:
    for number in (1, 2):
        before = statement_counts()["insert_upload_lease"]
        assert await take(database, user_id, 2)
        assert (statement_counts()["insert_upload_lease"] - before, len(numbers(database_url))) == (1, number)
    before = statement_counts()["insert_upload_lease"]
    assert not await take(database, user_id, 2)
    assert statement_counts()["insert_upload_lease"] - before == 1


LEASE = "INSERT INTO upload_leases VALUES ({user_id}, {number}, gen_random_uuid(), now() + interval '1 minute')"


async def test_lease_that_another_upload_takes_at_this_moment_is_not_taken_twice(
    database: Database, database_url: str, user_id: int
) -> None:
    before = statement_counts()["insert_upload_lease"]
    with late_commit(database_url, LEASE.format(user_id=user_id, number=1)):
        taking = asyncio.create_task(take(database, user_id, 1))
        await until_a_statement_waits(database_url)
    assert not await taking
    assert statement_counts()["insert_upload_lease"] - before == 2  # only the second one knows that all are taken
    assert numbers(database_url) == [1]


async def test_upload_that_loses_a_lease_at_this_moment_takes_another(
    database: Database, database_url: str, user_id: int
) -> None:
    """The upload waits for one of two leases; whichever it is, one of them is free in the end."""
    with transaction(database_url) as cursor:
        cursor.execute(LEASE.format(user_id=user_id, number=2))
        with late_commit(database_url, LEASE.format(user_id=user_id, number=1)):
            taking = asyncio.create_task(take(database, user_id, 2))
            await until_a_statement_waits(database_url)
        cursor.connection.rollback()
        assert await taking
    assert numbers(database_url) == [1, 2]


async def test_of_many_uploads_at_once_as_many_have_a_lease_as_may(
    database: Database, database_url: str, user_id: int
) -> None:
    async with open_database(database_url, 5) as other:
        taken = await asyncio.gather(*(take(one, user_id, 8) for one in [database, other] * 15))
    assert taken.count(True) == 8
    assert numbers(database_url) == list(range(1, 9))


@pytest.mark.parametrize("max_uploads", [1, 8])
async def test_statement_that_runs_twice_takes_one_lease(
    database: Database, database_url: str, user_id: int, max_uploads: int
) -> None:
    """It does if its connection breaks before the answer."""
    upload_id = uuid4()
    assert [await take(database, user_id, max_uploads, upload_id) for _ in range(2)] == [True, True]
    assert len(numbers(database_url)) == 1
