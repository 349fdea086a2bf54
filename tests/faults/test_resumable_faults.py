"""What breaks between the requests of a resumable upload, or in one of them: it goes on, or ends and says so."""

import asyncio
import contextlib
import gc
import gzip
import os
import signal
from typing import Any, NoReturn
from uuid import UUID

import pytest

from service.errors import NotFound
from service.refusals import DATABASE_UNAVAILABLE
from service.uploads.admission import Admission
from service.uploads.resumable_body import Attachment
from service.web.app_keys import ADMISSION, LIVE_UPLOADS, RESUMPTION
from tests.support import procfs, wavs
from tests.support.client import Account, Service, StartService, in_pieces
from tests.support.invariants import invariants_hold
from tests.support.raw import connect
from tests.support.resumable import Resumable, begun
from tests.support.waiting import until

LANGUAGES = ["tus", "ietf"]
WAV = wavs.wav(wavs.chirp(44_100 * 5, 44_100, 2), sample_rate=44_100, channels=2)
PART_BYTES = 300_000
# An encoder that does not run leaves the rest with the service, which takes so much from the network.
MORE_THAN_THE_ENCODER_TAKES = 550_000
STALL_SECONDS = 4.0

in_each_language = pytest.mark.parametrize("language", LANGUAGES)


async def goes_on(upload: Resumable) -> None:
    """Send the rest from where the service says, and check that the record is whole."""
    offset = await upload.offset()
    answer = await upload.append(WAV[offset:], offset, is_last=True)
    assert answer.status in {201, 204}, answer
    record = (await upload.record()).json
    assert (record["duration"], record["complete"], record["source_size"]) == (5.0, True, len(WAV))


async def the_encoder() -> int:
    """Return the pid of the only ffmpeg, once it is there."""
    await until(lambda: procfs.encoders(os.getpid()))
    (pid,) = procfs.encoders(os.getpid())
    return pid


def is_free(admission: Admission) -> bool:
    return not admission.running and not admission.suspended


@in_each_language
@pytest.mark.parametrize("ending", ["FIN", "RST", "half-close"])
async def test_client_that_leaves_may_come_back(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture, ending: str, language: str
) -> None:
    async with invariants_hold(service, caplog):
        upload = await begun(service, account, language, len(WAV))
        offset = 0
        for byte_count in (0, 1, 20, PART_BYTES):
            async with connect(service) as client:
                await client.send(upload.append_head(offset, len(WAV) - offset) + WAV[offset : offset + byte_count])
                if ending == "RST":
                    client.reset()
                elif ending == "half-close":
                    client.writer.write_eof()
                    await client.is_closed_by_service()  # perhaps after an answer
            known = await upload.offset()
            assert offset <= known <= offset + byte_count
            offset = known
        await goes_on(upload)


@in_each_language
async def test_client_that_leaves_while_its_earlier_request_ends_may_come_back(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture, language: str
) -> None:
    """Its second request waits until the encoder has taken what the first has brought."""
    async with invariants_hold(service, caplog):
        upload = await begun(service, account, language, len(WAV))
        assert (await upload.append(WAV[:1000], 0)).status == 204
        pid = await the_encoder()
        os.kill(pid, signal.SIGSTOP)
        async with connect(service) as first, connect(service) as second:
            await first.send(upload.append_head(1000, len(WAV) - 1000) + WAV[1000:MORE_THAN_THE_ENCODER_TAKES])
            await asyncio.sleep(0.5)  # the service takes them all, and its encoder not
            head = upload.append_head(MORE_THAN_THE_ENCODER_TAKES, len(WAV) - MORE_THAN_THE_ENCODER_TAKES)
            await second.send(head.replace(b"Host:", b"Expect: 100-continue\r\nHost:"))
            assert await first.is_closed_by_service()
            second.reset()
            await asyncio.sleep(0.1)  # the service hears of it
        os.kill(pid, signal.SIGCONT)
        assert await upload.offset() == MORE_THAN_THE_ENCODER_TAKES
        await goes_on(upload)


@in_each_language
async def test_client_that_never_comes_back_leaves_nothing(
    start_service: StartService, caplog: pytest.LogCaptureFixture, language: str
) -> None:
    service = await start_service(stall_seconds=0.5, resume_seconds=0.8)
    account = await service.create_user()
    async with invariants_hold(service, caplog):
        upload = await begun(service, account, language, len(WAV))
        async with connect(service) as client:
            await client.send(upload.append_head(0, len(WAV)) + WAV[:PART_BYTES])
            client.reset()
        await until(lambda: is_free(service.app[ADMISSION]))
        assert (await upload.look()).json["code"] == "upload_expired"
        assert (await upload.head()).status == 404


@in_each_language
async def test_client_that_stalls_is_told_so_and_goes_on(
    start_service: StartService, caplog: pytest.LogCaptureFixture, language: str
) -> None:
    service = await start_service(stall_seconds=STALL_SECONDS)
    account = await service.create_user()
    async with invariants_hold(service, caplog):
        upload = await begun(service, account, language, len(WAV))
        async with connect(service) as client:
            await client.send(upload.append_head(0, len(WAV)) + WAV[:PART_BYTES])
            answer = await client.answer()
        assert (answer.status, answer.json["code"], answer.headers["upload-offset"]) == (
            408,
            "stalled_body",
            str(PART_BYTES),
        )
        await goes_on(upload)


@in_each_language
@pytest.mark.parametrize("suspended", [False, True])
async def test_upload_whose_encoder_dies_between_two_requests_begins_again(
    start_service: StartService, caplog: pytest.LogCaptureFixture, language: str, *, suspended: bool
) -> None:
    """Clients of both languages go back to the start at 404, and would try again and again at 503."""
    service = await start_service(stall_seconds=0.5 if suspended else 30)
    account = await service.create_user()
    async with invariants_hold(service, caplog, errors_logged=True):
        upload = await begun(service, account, language, len(WAV))
        assert (await upload.append(WAV[:PART_BYTES], 0)).status == 204
        if suspended:
            await until(lambda: service.app[ADMISSION].suspended)
        (pid,) = procfs.encoders(os.getpid())
        os.kill(pid, signal.SIGKILL)
        answer = await upload.append(WAV[PART_BYTES:], PART_BYTES, is_last=True)
        assert (answer.status, answer.json["code"]) == (503, "encoder_failed")
        assert [(await upload.head()).status, (await upload.append(b"", PART_BYTES)).status] == [404, 404]
        assert (await upload.look()).json["code"] == "encoder_failed"
        again = await begun(service, account, language, len(WAV))
        await goes_on(again)


@in_each_language
async def test_upload_that_fails_while_its_offset_is_asked_has_none(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture, language: str
) -> None:
    """The question waits until the encoder has taken what has arrived, and the encoder dies."""
    async with invariants_hold(service, caplog, errors_logged=True):
        upload = await begun(service, account, language, len(WAV))
        assert (await upload.append(WAV[:1000], 0)).status == 204
        pid = await the_encoder()
        os.kill(pid, signal.SIGSTOP)
        async with connect(service) as first:
            await first.send(upload.append_head(1000, len(WAV) - 1000) + WAV[1000:MORE_THAN_THE_ENCODER_TAKES])
            await asyncio.sleep(0.5)  # the service takes them all, and its encoder not
            asking = asyncio.create_task(upload.head())
            assert await first.is_closed_by_service()
            os.kill(pid, signal.SIGKILL)
            answer = await asking
        assert (answer.status, "Upload-Offset" in answer.headers) == (404, False)


@in_each_language
async def test_upload_that_a_shutdown_ends_begins_again_elsewhere(start_service: StartService, language: str) -> None:
    one, other = await start_service(stall_seconds=0.5), await start_service()
    account = await one.create_user()
    upload = await begun(one, account, language, len(WAV))
    await until(lambda: one.app[ADMISSION].suspended)
    one.app[ADMISSION].close()
    await until(lambda: is_free(one.app[ADMISSION]))
    there = Resumable(other, account, upload.path, language)
    await until_told_lost(there)
    assert (await there.append(WAV, 0)).status == 404


async def until_told_lost(upload: Resumable) -> None:
    async with asyncio.timeout(30):
        while (await upload.head()).status != 404:  # noqa: ASYNC110 - nothing tells when its lease is gone
            await asyncio.sleep(0.02)


@in_each_language
async def test_upload_whose_token_is_replaced_ends(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture, language: str
) -> None:
    async with invariants_hold(service, caplog):
        upload = await begun(service, account, language, len(WAV))
        await upload.append(WAV[:PART_BYTES], 0)
        new = Account(account.id, (await service.post("/users/me/token", headers=account.headers)).json["token"])
        assert (await service.get("/users/me", headers=new.headers)).status == 200  # from now on it is the only one
        assert (await upload.append(WAV[PART_BYTES:], PART_BYTES, is_last=True)).status == 401
        mine = Resumable(service, new, upload.path, language)
        answer = await mine.append(WAV[PART_BYTES:], PART_BYTES, is_last=True)
        assert (answer.status, answer.json["code"]) == (401, "unknown_token")
        assert (await service.get("/records", headers=new.headers)).json["records"] == []


@in_each_language
async def test_last_request_may_be_repeated_when_its_answer_was_lost(
    service: Service, account: Account, language: str
) -> None:
    upload = await begun(service, account, language, len(WAV))
    first = await upload.append(WAV, 0, is_last=True)
    for nothing in (b"", in_pieces(b"")):  # curl -T - sends nothing in chunks, and waits for "100 Continue" before it
        again = await upload.append(nothing, len(WAV), is_last=True, expect100=nothing != b"")
        if language == "tus":
            assert (again.status, again.headers["Content-Location"]) == (204, first.headers["Content-Location"])
        else:
            assert (again.status, again.json) == (200, first.json)
    for data, offset in ((b"x", len(WAV)), (in_pieces(b"x"), len(WAV)), (WAV, 0)):
        answer = await upload.append(data, offset, is_last=True)
        assert (answer.status, answer.json["code"]) == (400, "completed_upload")
    assert len((await service.get("/records", headers=account.headers)).json["records"]) == 1


async def test_upload_that_ends_while_its_creation_is_answered_is_not_found(service: Service, account: Account) -> None:
    """The interim answer waits for a client that reads slowly, and meanwhile the owner ends the upload."""
    upload = await begun(service, account, "ietf", len(WAV))
    live = service.app[LIVE_UPLOADS].find(UUID(upload.id))
    assert live is not None
    assert (await upload.cancel()).status == 204
    await service.app[RESUMPTION].wait_ended()
    await asyncio.sleep(0)  # its task is forgotten in the loop's next turn
    part = Attachment(in_pieces(b""), is_last=True, cut=lambda: None, is_abandoned=lambda: False)
    with pytest.raises(NotFound):
        await service.app[RESUMPTION].append_first(live, part, 0)


class _Unlucky:
    """An upload that is cancelled while the database looks for its user, and just then the database fails."""

    may_be_retry = False

    def __init__(self) -> None:
        self.admitted = asyncio.get_running_loop().create_future()
        self.asks = asyncio.Event()
        self.has_failed = False

    async def identify(self) -> NoReturn:
        self.asks.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.sleep(0.1)
        self.has_failed = True
        raise DATABASE_UNAVAILABLE()


async def test_creation_that_is_cancelled_ends_before_its_request(service: Service) -> None:
    """aiohttp cancels requests at a shutdown. Nobody would ask for the error, and asyncio would log it as a bug."""
    complaints = list[dict[str, Any]]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    offered: Any = _Unlucky()
    request = asyncio.create_task(service.app[RESUMPTION].begin(offered))
    await offered.asks.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert offered.has_failed
    gc.collect()
    assert complaints == []


@in_each_language
async def test_part_that_is_encoded_is_refused(service: Service, account: Account, language: str) -> None:
    """What is counted are the bytes of the WAV, and a kilobyte of gzip may be a megabyte of zeros."""
    upload = await begun(service, account, language, len(WAV))
    headers = {"Content-Encoding": "gzip"} | upload.append_headers(0, is_last=True)
    answer = await service.request("PATCH", upload.path, data=gzip.compress(WAV), headers=headers)
    assert (answer.status, answer.json["code"]) == (415, "content_encoded")
    assert await upload.offset() == 0
    await goes_on(upload)


async def test_wrong_offset_is_told_as_the_draft_says(service: Service, account: Account) -> None:
    upload = await begun(service, account, "ietf", len(WAV))
    await upload.append(WAV[:1000], 0)
    problem = (await upload.append(WAV, 17)).json
    assert problem["type"] == "https://iana.org/assignments/http-problem-types#mismatching-upload-offset"
    assert (problem["expected-offset"], problem["provided-offset"]) == (1000, 17)
    await upload.cancel()


async def test_client_of_http_1_0_gets_no_interim_answer(service: Service, account: Account) -> None:
    """RFC 9110 15.2: it would take it for the answer."""
    head = [
        "POST /records HTTP/1.0",
        f"Authorization: Bearer {account.token}",
        "Host: x",
        "Content-Type: audio/wav",
        "Upload-Complete: ?1",
        f"Content-Length: {len(WAV)}",
    ]
    async with connect(service) as client:
        await client.send("\r\n".join([*head, "", ""]).encode() + WAV)
        assert (await client.reader.readline()).split()[1] == b"201"
