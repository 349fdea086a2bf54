"""Leases: what runs out is left alone for hours."""

from collections.abc import AsyncIterator

import pytest

from service.database.leases import delete_expired_leases
from service.database.pool import Database, open_database
from service.models import UserLimits
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
