"""What an owner deletes or lets expire goes: for others at once, from the disk soon, whatever happens meanwhile."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from service.database.pool import open_database
from service.database.users import delete_removed_users, mark_deleted
from service.errors import Unavailable
from service.refusals import STORAGE_UNAVAILABLE
from service.storage.disk import DiskStorage
from service.uploads.removal import Removal
from service.web.app_keys import DATABASE
from tests.support.client import Account, Service, StartService
from tests.support.database import late_commit, query, until_a_statement_waits
from tests.support.invariants import GOOD_WAV, invariants_hold
from tests.support.waiting import until


async def keep(service: Service, account: Account, count: int, **params: str) -> list[dict[str, Any]]:
    return [(await service.upload(account, GOOD_WAV, params=params)).json for _ in range(count)]


def rows(service: Service) -> tuple[int, int]:
    """Return how many users and how many records there are."""
    [counts] = query(service.database_url, "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM records)")
    return counts[0], counts[1]


async def until_nothing_is_left(service: Service) -> None:
    await until(lambda: (rows(service), service.files()) == ((0, 0), []))


async def test_deleted_user_is_gone_at_once_however_long_the_removal_takes(service: Service, account: Account) -> None:
    [record] = await keep(service, account, 1)
    with late_commit(service.database_url, "SELECT FROM records FOR UPDATE"):
        assert (await service.request("DELETE", "/users/me", headers=account.headers)).status == 204
        assert (await service.get("/users/me", headers=account.headers)).status == 401
        assert (await service.get(f"/records/{record['id']}.mp3")).status == 404
        assert (await service.get(f"/audiotrack?id={record['id']}&user={account.id}")).status == 404
        assert rows(service) == (1, 1)
        # Replicas of the version before do not know that a user may be marked as deleted.
        digest = "SELECT FROM users WHERE token_sha256 = sha256(%s)"
        assert not query(service.database_url, digest, (account.token.encode(),))
    await until_nothing_is_left(service)


async def test_deletion_takes_one_statement_for_any_number_of_records(service: Service, account: Account) -> None:
    query(
        service.database_url,
        """
        INSERT INTO records (id, user_id, filename, duration, sample_rate, channels, bit_rate, size, sha256)
        SELECT gen_random_uuid(), id, 'a.wav', 1, 44100, 1, 128000, 1000, sha256('x')
        FROM users, generate_series(1, 2000)
        RETURNING id
        """,
    )
    query(service.database_url, "UPDATE users SET record_count = 2000, byte_count = 2000000 RETURNING id")
    assert (await service.request("DELETE", "/users/me", headers=account.headers)).status == 204
    await until_nothing_is_left(service)


async def test_removal_goes_on_after_a_restart(start_service: StartService) -> None:
    service = await start_service()
    account = await service.create_user()
    await keep(service, account, 2)
    await service.client.close()
    # Killed after the deletion was answered, and before the first file went.
    query(service.database_url, "UPDATE users SET deleted_at = now() RETURNING id")
    await until_nothing_is_left(await start_service())


async def test_replicas_remove_side_by_side(start_service: StartService, caplog: pytest.LogCaptureFixture) -> None:
    one, other = await start_service(), await start_service()
    accounts = [await one.create_user() for _ in range(4)]
    for account in accounts:
        await keep(one, account, 2)
    async with invariants_hold(one, caplog):
        for number, account in enumerate(accounts):
            service = (one, other)[number % 2]
            assert (await service.request("DELETE", "/users/me", headers=account.headers)).status == 204
        await until_nothing_is_left(one)


class StubbornStorage(DiskStorage):
    """A disk that does not let go of one file until it is told to."""

    stubborn: UUID | None = None

    async def delete(self, record_id: UUID) -> None:
        if record_id == self.stubborn:
            raise STORAGE_UNAVAILABLE()
        await super().delete(record_id)


async def test_row_stays_until_its_file_is_gone(service: Service, account: Account) -> None:
    first, *_ = await keep(service, account, 3)
    storage = StubbornStorage(service.data_dir / "records")
    storage.stubborn = UUID(first["id"])
    removal = Removal(service.app[DATABASE], storage)
    with late_commit(
        service.database_url, "INSERT INTO removal_turns VALUES ('removal', gen_random_uuid(), 'infinity')"
    ):
        pass  # the service's own removal leaves it to another process
    await mark_deleted(service.app[DATABASE], account.id)
    with pytest.raises(Unavailable):
        await removal.remove_due()
    assert rows(service) == (1, 1)
    storage.stubborn = None
    assert await removal.remove_due() == 1
    await until_nothing_is_left(service)
    query(service.database_url, "DELETE FROM removal_turns RETURNING name")


async def test_user_stays_while_a_replica_of_the_version_before_inserts_a_record(database_url: str) -> None:
    """Its statement knows nothing of deleted users; it counts the record in the same transaction."""
    query(
        database_url,
        "INSERT INTO users (username, token_sha256, deleted_at) VALUES ('ann', sha256('x'), now()) RETURNING id",
    )
    insert = """
        INSERT INTO records (id, user_id, filename, duration, sample_rate, channels, bit_rate, size, sha256)
        SELECT gen_random_uuid(), id, 'a.wav', 1, 44100, 1, 128000, 9, sha256('x') FROM users
    """
    count = "UPDATE users SET record_count = record_count + 1, byte_count = byte_count + 9"
    async with open_database(database_url, max_connections=1) as database:
        with late_commit(database_url, insert, count):
            removing = asyncio.create_task(delete_removed_users(database, limit=10))
            await until_a_statement_waits(database_url)
        assert await removing == []
    assert query(database_url, "SELECT record_count FROM users") == [(1,)]
    assert query(database_url, "SELECT size FROM records") == [(9,)]


async def test_record_with_a_lifetime_says_when_it_ends(service: Service, account: Account) -> None:
    before = datetime.now(UTC)
    [record] = await keep(service, account, 1, expires_in="3600")
    expires_at = datetime.fromisoformat(record["expires_at"])
    assert timedelta(seconds=3599) < expires_at - before < timedelta(seconds=3660)
    assert (await service.get(f"/records/{record['id']}", headers=account.headers)).json["expires_at"] == record[
        "expires_at"
    ]
    cached = re.fullmatch(
        r"private, max-age=(\d+), immutable",
        (await service.get(f"/records/{record['id']}.mp3")).headers["Cache-Control"],
    )
    assert cached is not None
    assert 3500 < int(cached[1]) <= 3600


async def test_record_without_a_lifetime_has_none(service: Service, account: Account) -> None:
    [record] = await keep(service, account, 1)
    assert record["expires_at"] is None
    assert "max-age=31536000" in (await service.get(f"/records/{record['id']}.mp3")).headers["Cache-Control"]


async def test_expired_record_is_gone_at_once_and_its_file_soon(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    async with invariants_hold(service, caplog):
        expired, kept = await keep(service, account, 2, expires_in="3600")
        query(
            service.database_url,
            "UPDATE records SET expires_at = now() WHERE id = %s RETURNING id",
            (expired["id"],),
        )
        assert (await service.get(f"/records/{expired['id']}.mp3")).status == 404
        assert (await service.get(f"/records/{expired['id']}", headers=account.headers)).status == 404
        listed = (await service.get("/records", headers=account.headers)).json["records"]
        assert [record["id"] for record in listed] == [kept["id"]]
        await until(lambda: rows(service) == (1, 1))
        assert [file.stem for file in service.files()] == [kept["id"]]
        assert (await service.get("/users/me", headers=account.headers)).json["records"] == 1


@pytest.mark.parametrize(("expires_in", "seconds"), [(None, 86_400), ("60", 60), ("999999", 86_400)])
async def test_retention_is_the_longest_lifetime(
    start_service: StartService, expires_in: str | None, seconds: int
) -> None:
    service = await start_service(retention_days=1)
    account = await service.create_user()
    [record] = await keep(service, account, 1, **({"expires_in": expires_in} if expires_in else {}))
    lifetime = datetime.fromisoformat(record["expires_at"]) - datetime.fromisoformat(record["created_at"])
    assert lifetime == timedelta(seconds=seconds)


@pytest.mark.parametrize("expires_in", ["", "0", "-1", "1.5", "x", "01", "99999999999", "3155760001", "٣"])
async def test_bad_lifetime_is_422(service: Service, account: Account, expires_in: str) -> None:
    answer = await service.upload(account, GOOD_WAV, params={"expires_in": expires_in})
    assert (answer.status, answer.json["code"]) == (422, "invalid_expires_in")


async def test_other_lifetime_under_the_same_key_is_another_upload(service: Service, account: Account) -> None:
    headers = account.headers | {"Idempotency-Key": "k"}
    for expires_in, status in (("60", 201), ("60", 200), ("61", 422)):
        path = f"/records/a.wav?expires_in={expires_in}"
        assert (await service.put(path, data=GOOD_WAV, headers=headers)).status == status
