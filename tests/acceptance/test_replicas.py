"""Two replicas share a database and a store: clients cannot tell which one answers."""

from uuid import uuid4

import pytest

from service.web.app_keys import ADMISSION
from tests.support import s3
from tests.support.client import Account, Service, StartService
from tests.support.database import query
from tests.support.invariants import GOOD_WAV
from tests.support.raw import connect, framed, request_head
from tests.support.waiting import until


@pytest.fixture
async def replicas(s3_endpoint_url: str, start_service: StartService) -> tuple[Service, Service]:
    settings = s3.settings(s3_endpoint_url, uuid4().hex) | {"max_uploads_per_user": 1, "max_records_per_user": 3}
    return await start_service(**settings), await start_service(**settings)


@pytest.fixture
async def account(replicas: tuple[Service, Service]) -> Account:
    return await replicas[0].create_user()


async def test_record_made_or_deleted_on_one_replica_is_so_on_the_other(
    replicas: tuple[Service, Service], account: Account
) -> None:
    one, other = replicas
    record = (await one.upload(account, GOOD_WAV)).json
    path = f"/records/{record['id']}"
    assert (await other.get(f"{path}.mp3")).body == (await one.get(f"{path}.mp3")).body
    assert (await other.get(path, headers=account.headers)).json["sha256"] == record["sha256"]
    assert (await other.request("DELETE", path, headers=account.headers)).status == 204
    assert (await one.get(f"{path}.mp3")).status == 404


async def test_new_token_is_the_only_valid_one_on_both(replicas: tuple[Service, Service], account: Account) -> None:
    one, other = replicas
    token = (await one.post("/users/me/token", headers=account.headers)).json["token"]
    assert (await other.get("/users/me", headers={"Authorization": f"Bearer {token}"})).status == 200
    assert (await one.get("/users/me", headers=account.headers)).status == 401


async def test_key_used_on_one_replica_is_known_on_the_other(
    replicas: tuple[Service, Service], account: Account
) -> None:
    one, other = replicas
    body = framed(GOOD_WAV, "raw")
    async with connect(one) as client:
        await client.send(request_head(account, "raw", len(GOOD_WAV), "Idempotency-Key: a") + body[:100])
        await until(lambda: one.app[ADMISSION].running)
        headers = account.headers | {"Idempotency-Key": "a"}
        running = await other.put("/records/", data=GOOD_WAV, headers=headers)
        assert (running.status, running.json["code"]) == (409, "upload_running")
        await client.send(body[100:])
        first = await client.answer()
    replay = await other.put("/records/", data=GOOD_WAV, headers=headers)
    assert (first.status, replay.status, replay.json["id"]) == (201, 200, first.json["id"])


async def test_limits_of_a_user_count_uploads_and_records_on_both(
    replicas: tuple[Service, Service], account: Account
) -> None:
    one, other = replicas
    body = framed(GOOD_WAV, "raw")
    async with connect(one) as client:
        await client.send(request_head(account, "raw", len(GOOD_WAV)) + body[:100])
        await until(lambda: query(one.database_url, "SELECT 1 FROM upload_leases WHERE expires_at > now()"))
        refused = await other.upload(account, GOOD_WAV)
        assert (refused.status, refused.json["code"]) == (429, "too_many_uploads")
        await client.send(body[100:])
        assert (await client.answer()).status == 201
    assert [(await replica.upload(account, GOOD_WAV)).status for replica in (other, one)] == [201, 201]
    full = await other.upload(account, GOOD_WAV)
    assert (full.status, full.json["code"]) == (403, "quota_exceeded")


async def test_reader_on_one_replica_sees_nothing_of_an_upload_on_the_other(
    replicas: tuple[Service, Service], account: Account
) -> None:
    one, other = replicas
    async with connect(one) as client:
        await client.send(request_head(account, "raw", len(GOOD_WAV)) + framed(GOOD_WAV, "raw")[:100])
        await until(lambda: one.app[ADMISSION].running)
        assert (await other.get("/records", headers=account.headers)).json["records"] == []
