"""A service that keeps its MP3s in an S3-compatible store: what clients see if the store fails."""

import hashlib
import itertools
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from aiohttp import ClientPayloadError

from service.database.pool import open_database
from service.storage import s3 as s3_module
from service.storage import s3_location
from service.uploads.sweep import SweepPolicy, sweep
from service.web.app_keys import STORAGE
from tests.support import s3, wavs
from tests.support.client import Account, Service, StartService
from tests.support.s3 import FaultyStore

# Its MP3 has three parts.
WAV = wavs.wav(wavs.chirp(150 * 44100, 44100, 1), sample_rate=44100, channels=1)
SHORT_WAV = wavs.wav(wavs.chirp(4410, 44100, 1), sample_rate=44100, channels=1)


@pytest.fixture(autouse=True)
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_location, "_REQUEST_SECONDS", 4)
    monkeypatch.setattr(s3_module, "_RETRY_PAUSES_SECONDS", (0.01,))


@pytest.fixture
async def store(s3_endpoint_url: str) -> AsyncIterator[FaultyStore]:
    async with s3.faulty_store(s3_endpoint_url) as store:
        yield store


@pytest.fixture
async def service(store: FaultyStore, start_service: StartService) -> Service:
    return await start_service(**s3.settings(store.url, uuid4().hex))


async def test_upload_is_in_the_store_and_not_on_this_machine(service: Service, account: Account) -> None:
    record = (await service.upload(account, SHORT_WAV)).json
    assert [str(entry.id) async for entry in service.app[STORAGE].entries()] == [record["id"]]
    assert [path for path in service.data_dir.rglob("*") if path.is_file()] == []


async def test_deleted_record_is_gone_from_the_store(service: Service, account: Account) -> None:
    record = (await service.upload(account, SHORT_WAV)).json
    path = f"/records/{record['id']}"
    assert (await service.request("DELETE", path, headers=account.headers)).status == 204
    assert (await service.get(f"{path}.mp3")).status == 404
    assert [entry async for entry in service.app[STORAGE].entries()] == []


async def test_object_that_is_lost_is_404(service: Service, account: Account) -> None:
    record = (await service.upload(account, SHORT_WAV)).json
    await service.app[STORAGE].delete(UUID(record["id"]))
    for method in ("GET", "HEAD"):
        assert (await service.request(method, f"/records/{record['id']}.mp3")).status == 404


async def test_store_that_does_not_take_the_mp3_is_503_and_leaves_nothing(
    service: Service, account: Account, store: FaultyStore
) -> None:
    store.faults = ["slow_down"] * 100
    answer = await service.upload(account, SHORT_WAV)
    assert (answer.status, answer.json["code"]) == (503, "storage_unavailable")
    assert "Retry-After" in answer.headers
    store.faults = []
    assert (await service.get("/records", headers=account.headers)).json["records"] == []
    assert [entry async for entry in service.app[STORAGE].entries()] == []
    assert (await service.upload(account, SHORT_WAV)).status == 201


async def test_store_that_does_not_give_the_mp3_is_503(service: Service, account: Account, store: FaultyStore) -> None:
    record = (await service.upload(account, SHORT_WAV)).json
    store.faults = ["slow_down"] * 100
    answer = await service.get(f"/records/{record['id']}.mp3")
    assert (answer.status, answer.json["code"]) == (503, "storage_unavailable")


async def test_download_that_the_store_breaks_off_never_looks_complete(
    service: Service, account: Account, store: FaultyStore
) -> None:
    record = (await service.upload(account, WAV)).json
    assert record["size"] > 2 * 2**20
    whole = (await service.get(f"/records/{record['id']}.mp3")).body
    assert len(whole) == record["size"]
    gets = iter(range(100))
    store.faults, store.is_hit = ["slow_down"] * 100, lambda request: request.method == "GET" and next(gets) > 0
    with pytest.raises(ClientPayloadError):
        await service.get(f"/records/{record['id']}.mp3")


@pytest.mark.parametrize("fault", ["slow_down", "cut_answer", "done_but_no_answer"])
@pytest.mark.parametrize("number", [0, 4], ids=["first request", "a long one"])
async def test_brief_fault_of_the_store_during_a_download_is_not_noticed(
    service: Service, account: Account, store: FaultyStore, fault: s3.Fault, number: int
) -> None:
    record = (await service.upload(account, WAV)).json
    gets = itertools.count()
    store.faults, store.is_hit = [fault], lambda _: next(gets) == number
    mp3 = (await service.get(f"/records/{record['id']}.mp3")).body
    assert store.faults == []
    assert hashlib.sha256(mp3).hexdigest() == record["sha256"]


async def test_service_starts_and_is_alive_without_the_store_and_ready_with_it(
    s3_endpoint_url: str, start_service: StartService
) -> None:
    down = await start_service(**s3.settings("http://127.0.0.1:9", "p"))
    assert (await down.get("/health/live")).status == 200
    ready = await down.get("/health/ready")
    assert (ready.status, ready.json["code"]) == (503, "not_ready")
    assert "storage" in ready.json["detail"]
    up = await start_service(**s3.settings(s3_endpoint_url, "p"))
    assert (await up.get("/health/ready")).status == 200


async def test_sweep_removes_objects_without_a_row(service: Service, account: Account) -> None:
    record = (await service.upload(account, SHORT_WAV)).json
    storage = service.app[STORAGE]
    orphan = uuid4()
    async with storage.draft(orphan) as draft:
        os.write(draft.fileno(), b"orphan")
        await draft.commit(lambda: None)
    async with open_database(service.database_url, max_connections=1) as database:
        policy = SweepPolicy(timedelta(0), max_share=1, dry_run=False, force=False)
        report = await sweep(storage, database, policy)
    assert (report.files, report.orphans, report.removed) == (2, 1, 1)
    assert [str(entry.id) async for entry in storage.entries()] == [record["id"]]
