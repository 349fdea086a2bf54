"""An upload lives in one process, and any other process passes the requests for it on."""

import asyncio
import contextlib
import tempfile
from pathlib import Path

import pytest

from service import metrics
from tests.support import wavs
from tests.support.client import Account, Service, StartService
from tests.support.database import query, statement_counts
from tests.support.raw import connect
from tests.support.resumable import TUS, Resumable, begun
from tests.support.waiting import until

LANGUAGES = ["tus", "ietf"]
WAV = wavs.wav(wavs.chirp(44_100, 44_100, 2), sample_rate=44_100, channels=2)


@pytest.fixture
async def one(start_service: StartService) -> Service:
    return await start_service()


@pytest.fixture
async def other(start_service: StartService) -> Service:
    return await start_service()


async def started(one: Service, other: Service, language: str = "tus") -> tuple[Resumable, Resumable]:
    """Begin an upload in one process, and return it as seen from there and from the other one."""
    account = await one.create_user()
    upload = await begun(one, account, language, len(WAV))
    return upload, Resumable(other, account, upload.path, language)


@pytest.mark.parametrize("language", LANGUAGES)
async def test_upload_goes_on_through_another_process(one: Service, other: Service, language: str) -> None:
    here, there = await started(one, other, language)
    assert (await here.append(WAV[:50_000], 0)).status == 204
    assert await there.offset() == 50_000
    middle = await there.append(WAV[50_000:100_000], 50_000)
    assert (middle.status, middle.headers["Upload-Offset"]) == (204, "100000")
    assert (await there.look()).json["offset"] == 100_000
    last = await there.append(WAV[100_000:], 100_000, is_last=True)
    record = await there.record()
    assert (last.status, record.json["duration"]) == (204 if language == "tus" else 201, 1.0)
    assert (await there.look()).status == 303
    if language == "ietf":
        assert last.json["url"] == f"{there.service.url}records/{here.id}.mp3"


async def test_relay_works_however_deep_the_temporary_directory_is(
    start_service: StartService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("deep" * 20)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    here, there = await started(await start_service(), await start_service())
    assert (await there.append(WAV, 0, is_last=True)).status == 204
    assert (await here.record()).json["duration"] == 1.0


async def test_refusals_come_back_as_they_are(one: Service, other: Service) -> None:
    _, there = await started(one, other)
    answer = await there.append(WAV, 17)
    assert (answer.status, answer.json["code"], answer.headers["Upload-Offset"]) == (
        409,
        "mismatching_upload_offset",
        "0",
    )
    assert (await there.cancel()).status == 204
    assert (await there.look()).status == 404


async def test_list_has_the_uploads_of_all_processes(one: Service, other: Service) -> None:
    here, there = await started(one, other)
    second = await begun(other, here.account, "ietf")
    for service in (one, other):
        answer = await service.get("/uploads", headers=here.account.headers)
        assert [upload["id"] for upload in answer.json["uploads"]] == [second.id, here.id]
        as_text = await service.get("/uploads", headers=here.account.headers | {"Accept": "text/plain"})
        listed = [line.partition(".mp3\t")[0].rpartition("/")[2] for line in as_text.body.decode().splitlines()]
        assert listed == [second.id, here.id]
    await there.cancel()
    await second.cancel()


async def test_others_do_not_reach_an_upload_through_another_process(one: Service, other: Service) -> None:
    _, there = await started(one, other)
    stranger = Resumable(other, await other.create_user("bob"), there.path, "tus")
    assert [(await asked()).status for asked in (stranger.look, stranger.head, stranger.cancel)] == [404] * 3
    nobody = Resumable(other, Account(0, "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"), there.path, "tus")
    assert (await nobody.look()).status == 401
    await there.cancel()


@pytest.mark.parametrize("relayed", [False, True])
async def test_token_is_looked_up_once_if_the_upload_is_not_under_way(
    one: Service, other: Service, *, relayed: bool
) -> None:
    here, there = await started(one, other)
    await here.append(WAV, 0)
    headers = here.account.headers | ({"Wavepress-Relayed": "1"} if relayed else {})
    before = statement_counts()
    assert (await other.get(there.path, headers=headers, allow_redirects=False)).status == 303
    assert (statement_counts() - before)["select_user_by_token"] == 1


async def test_upload_of_a_process_that_has_ended_is_lost(one: Service, other: Service, database_url: str) -> None:
    here, there = await started(one, other)
    for gone in ("unix:/nowhere/relay", "http://127.0.0.1:1"):
        query(database_url, f"UPDATE upload_leases SET holder = '{gone}'")  # noqa: S608 - our own text
        answer = await there.look()
        assert (answer.status, answer.json["code"]) == (404, "upload_lost")
        assert (await other.get("/uploads", headers=here.account.headers)).json == {"uploads": []}
    await here.cancel()


async def test_request_is_passed_on_only_once(one: Service, other: Service) -> None:
    here, there = await started(one, other)
    headers = {**TUS, **there.account.headers, "Wavepress-Relayed": "1"}
    assert (await other.get(there.path, headers=headers)).status == 404
    await here.cancel()


async def test_client_that_breaks_off_leaves_the_upload_to_go_on(one: Service, other: Service) -> None:
    here, there = await started(one, other)

    async def broken_off() -> None:
        yielded = asyncio.Event()

        async def pieces() -> object:
            yield WAV[:30_000]
            yielded.set()
            await asyncio.Event().wait()

        sending = asyncio.create_task(there.append(pieces(), 0))
        await yielded.wait()
        await asyncio.sleep(0.1)
        sending.cancel()
        await asyncio.wait({sending})

    await broken_off()
    offset = await there.offset()
    assert 0 <= offset <= 30_000
    assert (await here.append(WAV[offset:], offset)).status == 204


async def test_listener_that_goes_while_nothing_comes_is_noticed_through_another_process(
    one: Service, other: Service
) -> None:
    here, there = await started(one, other)
    assert (await here.append(WAV[:50_000], 0)).status == 204
    before = listener_count()
    async with connect(other) as listener:
        await listener.send(f"GET /records/{here.id}.mp3 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert b"200" in await listener.reader.readline()
        with contextlib.suppress(TimeoutError):  # until nothing more comes
            while True:
                await asyncio.wait_for(listener.reader.read(65_536), 2)
        assert listener_count() == before + 1
        listener.reset()
    await until(lambda: listener_count() == before, seconds=10)
    await there.cancel()


def listener_count() -> float:
    """Return how many listen, in all services of this process."""
    (family,) = metrics.LISTENERS.collect()
    return family.samples[0].value
