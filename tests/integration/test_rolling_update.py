"""Replicas of the first version run on beside the new ones: their own statements work on the new schema."""

from __future__ import annotations

import shutil
import threading
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from psycopg2.extras import register_uuid

from service.database.leases import UploadLease, insert_upload_lease
from service.database.migrations import MIGRATIONS, migrate
from service.database.pool import open_database
from service.database.records import find_record, insert_record
from service.database.users import find_user
from service.models import Record, RecordWarning, UserLimits
from tests.support.database import query, role_with_rights_on_rows, transaction, waiting_for_a_lock
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

register_uuid()

FIRST_VERSION = "0004_create_idempotency_keys"

# The first version's own statements, word for word.
INSERT_UPLOAD_SLOT = """
INSERT INTO upload_slots (user_id, number, upload_id, expires_at)
SELECT %(user_id)s, number, %(upload_id)s, now() + make_interval(secs => %(lease_seconds)s)
FROM generate_series(1, %(max_uploads)s) AS numbers (number)
WHERE NOT EXISTS (
    SELECT FROM upload_slots AS taken
    WHERE taken.user_id = %(user_id)s AND taken.number = numbers.number AND taken.expires_at > now()
)
ORDER BY random()
LIMIT 1
ON CONFLICT (user_id, number) DO UPDATE
SET upload_id = EXCLUDED.upload_id, expires_at = EXCLUDED.expires_at
WHERE upload_slots.expires_at <= now() OR upload_slots.upload_id = EXCLUDED.upload_id
RETURNING number
"""
UPDATE_LEASES = """
WITH slots AS (
    UPDATE upload_slots
    SET expires_at = now() + make_interval(secs => %(lease_seconds)s)
    WHERE upload_id = ANY(%(upload_ids)s::uuid[])
)
UPDATE idempotency_keys
SET expires_at = now() + make_interval(secs => %(lease_seconds)s)
WHERE upload_id = ANY(%(upload_ids)s::uuid[]) AND NOT is_done
"""
DELETE_LEASES = """
WITH slots AS (
    DELETE FROM upload_slots WHERE upload_id = ANY(%(upload_ids)s::uuid[])
)
DELETE FROM idempotency_keys WHERE upload_id = ANY(%(upload_ids)s::uuid[]) AND NOT is_done
"""
INSERT_RECORD = """
INSERT INTO records
    (id, user_id, filename, duration, sample_rate, channels, bit_rate, size, sha256, warnings, created_at)
SELECT
    %(id)s, %(user_id)s, %(filename)s, %(duration)s, %(sample_rate)s, %(channels)s, %(bit_rate)s, %(size)s,
    decode(%(sha256)s, 'hex'), %(warnings)s::text[], %(created_at)s
"""
SELECT_RECORD = """
SELECT id, user_id, filename, duration, sample_rate, channels, bit_rate, size, encode(sha256, 'hex'), warnings,
    created_at
FROM records
WHERE id = %(id)s
"""
DELETE_EXPIRED_LEASES = """
WITH slots AS (
    DELETE FROM upload_slots WHERE expires_at <= now()
)
DELETE FROM idempotency_keys WHERE expires_at <= now()
"""


def insert_user(url: str) -> int:
    statement = "INSERT INTO users (username, token_sha256) VALUES ('ann', sha256(gen_random_uuid()::text::bytea))"
    [[user_id]] = query(url, f"{statement} RETURNING id")
    return int(user_id)


def take_slot(url: str, user_id: int, upload_id: UUID, *, seconds: float = 60, max_uploads: int = 1) -> int | None:
    """Take a lease as the first version does; return its number."""
    parameters = {
        "user_id": user_id,
        "upload_id": upload_id,
        "lease_seconds": seconds,
        "max_uploads": max_uploads,
    }
    rows = query(url, INSERT_UPLOAD_SLOT, parameters)
    return rows[0][0] if rows else None


def leases(url: str) -> list[tuple[Any, ...]]:
    """Return who holds each lease, and whether it is valid."""
    return query(url, "SELECT user_id, number, upload_id, expires_at > now() FROM upload_leases ORDER BY number")


@pytest.fixture
def first_version_url(empty_database_url: str, tmp_path: Path) -> str:
    """A database that the first version has migrated."""
    directory = tmp_path / "migrations"
    directory.mkdir()
    for path in MIGRATIONS.glob("*.sql"):
        if path.name.split(".")[0] <= FIRST_VERSION:
            shutil.copy(path, directory)
    assert migrate(empty_database_url, directory=directory)[-1] == FIRST_VERSION
    return empty_database_url


def test_lease_is_taken_under_its_old_name(database_url: str) -> None:
    user_id, upload_id = insert_user(database_url), uuid4()
    assert take_slot(database_url, user_id, upload_id) == 1
    assert leases(database_url) == [(user_id, 1, upload_id, True)]


def test_lease_that_another_upload_holds_is_not_taken_under_its_old_name(database_url: str) -> None:
    user_id, first, second = insert_user(database_url), uuid4(), uuid4()
    take_slot(database_url, user_id, first)
    assert take_slot(database_url, user_id, second) is None
    assert take_slot(database_url, user_id, second, max_uploads=2) == 2
    assert leases(database_url) == [(user_id, 1, first, True), (user_id, 2, second, True)]


def test_lease_that_has_run_out_is_taken_over_under_its_old_name(database_url: str) -> None:
    user_id, first, second = insert_user(database_url), uuid4(), uuid4()
    take_slot(database_url, user_id, first, seconds=-1)
    assert take_slot(database_url, user_id, second) == 1
    assert leases(database_url) == [(user_id, 1, second, True)]


def test_lease_is_not_taken_under_its_old_name_while_another_transaction_takes_it(database_url: str) -> None:
    """The upload that waits for the other one's row must find it taken: ON CONFLICT ... WHERE, on the view."""
    user_id, first, second = insert_user(database_url), uuid4(), uuid4()
    answers = list[int | None]()
    with transaction(database_url) as cursor:
        parameters = {"user_id": user_id, "upload_id": first, "lease_seconds": 60, "max_uploads": 1}
        cursor.execute(INSERT_UPLOAD_SLOT, parameters)
        other = threading.Thread(target=lambda: answers.append(take_slot(database_url, user_id, second)))
        other.start()
        wait_until(lambda: waiting_for_a_lock(database_url))
        cursor.connection.commit()
        other.join()
    assert answers == [None]
    assert leases(database_url) == [(user_id, 1, first, True)]


def test_leases_are_renewed_under_their_old_name(database_url: str) -> None:
    user_id, upload_id = insert_user(database_url), uuid4()
    take_slot(database_url, user_id, upload_id, seconds=-1)
    query(database_url, UPDATE_LEASES, {"upload_ids": [upload_id], "lease_seconds": 60})
    assert leases(database_url) == [(user_id, 1, upload_id, True)]


def test_leases_are_given_back_under_their_old_name(database_url: str) -> None:
    user_id, first, second = insert_user(database_url), uuid4(), uuid4()
    for upload_id in (first, second):
        take_slot(database_url, user_id, upload_id, max_uploads=2)
    query(database_url, DELETE_LEASES, {"upload_ids": [first]})
    assert [upload_id for _, _, upload_id, _ in leases(database_url)] == [second]


def test_leases_that_have_run_out_are_removed_under_their_old_name(database_url: str) -> None:
    user_id, first, second = insert_user(database_url), uuid4(), uuid4()
    take_slot(database_url, user_id, first, seconds=-1, max_uploads=2)
    take_slot(database_url, user_id, second, max_uploads=2)
    query(database_url, DELETE_EXPIRED_LEASES)
    assert [upload_id for _, _, upload_id, _ in leases(database_url)] == [second]


async def test_both_versions_count_the_same_leases(database_url: str) -> None:
    user_id = insert_user(database_url)
    async with open_database(database_url, 1) as database:

        async def take() -> bool:
            lease = UploadLease(user_id, uuid4(), holder=None)
            is_taken, _ = await insert_upload_lease(database, lease, max_uploads=2, lease_seconds=60)
            return is_taken

        assert take_slot(database_url, user_id, uuid4(), max_uploads=2) is not None
        assert await take()
        assert take_slot(database_url, user_id, uuid4(), max_uploads=2) is None
        assert not await take()


def record(user_id: int, *warnings: RecordWarning) -> Record:
    return Record(
        id=uuid4(),
        user_id=user_id,
        filename="talk.wav",
        duration=1.5,
        sample_rate=44_100,
        channels=2,
        bit_rate=128_000,
        size=4711,
        sha256="0f" * 32,
        warnings=warnings,
        created_at=datetime(2026, 11, 21, tzinfo=UTC),
        expires_at=None,
    )


async def test_record_of_the_first_version_has_its_warnings_under_the_code_other(database_url: str) -> None:
    warnings = ("It is odd.", "It is long.")
    kept = record(insert_user(database_url), *(RecordWarning("other", detail) for detail in warnings))
    query(database_url, INSERT_RECORD, asdict(kept) | {"warnings": list(warnings)})
    async with open_database(database_url, 1) as database:
        assert await find_record(database, kept.id) == kept


async def test_first_version_reads_a_new_records_warnings_as_sentences(database_url: str) -> None:
    warnings = (RecordWarning("partial_sample", "It ends early."), RecordWarning("trailing_bytes", "It is long."))
    kept = record(insert_user(database_url), *warnings)
    async with open_database(database_url, 1) as database:
        user = await find_user(database, kept.user_id)
        assert user is not None
        limits = UserLimits(max_records=1, max_bytes=1, max_uploads=1)
        await insert_record(database, kept, user.token_sha256, None, limits)
        assert await find_record(database, kept.id) == kept
    [row] = query(database_url, SELECT_RECORD, {"id": kept.id})
    assert row[9] == ["It ends early.", "It is long."]


def test_lease_of_the_first_version_outlives_the_migration_and_its_rollback(first_version_url: str) -> None:
    user_id, upload_id = insert_user(first_version_url), uuid4()
    take_slot(first_version_url, user_id, upload_id)
    migrate(first_version_url)
    assert leases(first_version_url) == [(user_id, 1, upload_id, True)]
    assert take_slot(first_version_url, user_id, uuid4()) is None
    for _ in range(2):
        query(first_version_url, (MIGRATIONS / "0005_rename_upload_slots.rollback.sql").read_text())
        assert take_slot(first_version_url, user_id, uuid4()) is None
        assert query(first_version_url, "SELECT upload_id FROM upload_slots") == [(upload_id,)]


def test_statement_that_waits_for_the_migration_finds_the_new_schema(first_version_url: str) -> None:
    user_id, upload_id = insert_user(first_version_url), uuid4()
    answers = list[int | None]()
    with transaction(first_version_url) as cursor:
        cursor.execute((MIGRATIONS / "0005_rename_upload_slots.sql").read_text())
        other = threading.Thread(target=lambda: answers.append(take_slot(first_version_url, user_id, upload_id)))
        other.start()
        wait_until(lambda: waiting_for_a_lock(first_version_url))
        cursor.connection.commit()
        other.join()
    assert answers == [1]
    assert leases(first_version_url) == [(user_id, 1, upload_id, True)]


def test_role_that_had_rights_on_the_table_has_them_under_both_names(first_version_url: str) -> None:
    user_id, upload_id = insert_user(first_version_url), uuid4()
    with role_with_rights_on_rows(first_version_url, "rows_alone_before") as url:
        migrate(first_version_url)
        assert take_slot(url, user_id, upload_id) == 1
        query(url, UPDATE_LEASES, {"upload_ids": [upload_id], "lease_seconds": 60})
        assert leases(url) == [(user_id, 1, upload_id, True)]
        query(url, DELETE_LEASES, {"upload_ids": [upload_id]})
        assert leases(url) == []


def schema(url: str) -> list[tuple[Any, ...]]:
    return query(
        url,
        "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns "
        "WHERE table_schema = 'public' ORDER BY table_name, ordinal_position",
    )


@pytest.mark.parametrize("direction", ["", ".rollback"], ids=["up", "down"])
def test_every_migration_may_run_twice(empty_database_url: str, direction: str) -> None:
    """yoyo marks a migration in a second transaction: if the process dies before that, the next one repeats it."""
    ups = sorted(path for path in MIGRATIONS.glob("*.sql") if ".rollback" not in path.name)
    downs = [path.with_suffix(".rollback.sql") for path in reversed(ups)]
    if direction:
        for path in ups:
            query(empty_database_url, path.read_text())
    for path in downs if direction else ups:
        query(empty_database_url, path.read_text())
        once = schema(empty_database_url)
        query(empty_database_url, path.read_text())
        assert schema(empty_database_url) == once, path.name
