"""`?incomplete=keep`: what arrived of an upload whose end never comes is a record."""

import asyncio
import contextlib
import re
import socket

import pytest

from service.web.app_keys import ADMISSION, LIVE_UPLOADS
from tests.support import wavs
from tests.support.client import TRANSPORTS, Account, Answer, Service, StartService, Transport
from tests.support.invariants import invariants_hold
from tests.support.raw import connect, framed, request_head
from tests.support.resumable import begun
from tests.support.waiting import until

KEEP = {"incomplete": "keep"}
WAV = wavs.wav(wavs.chirp(44_100, 44_100, 2), sample_rate=44_100, channels=2)
STREAMED = wavs.wav(
    wavs.chirp(44_100, 44_100, 2), sample_rate=44_100, channels=2, data_size=0xFFFFFFFF, riff_size=0xFFFFFFFF
)
# Of these samples of four bytes the header takes 44 bytes.
SENT_BYTES = 44 + 4 * 22_050


async def only_record(service: Service, account: Account) -> dict[str, object]:
    """Return the user's record as soon as there is one."""

    async def records() -> list[dict[str, object]]:
        answer = await service.get("/records", headers=account.headers)
        found: list[dict[str, object]] = answer.json["records"]
        return found

    for _ in range(400):
        if found := await records():
            (record,) = found
            return record
        await asyncio.sleep(0.05)
    raise AssertionError("there is no record")


async def arrived(service: Service, account: Account, byte_count: int) -> None:
    """Wait until so many bytes of the user's only upload are taken."""
    live = service.app[LIVE_UPLOADS]

    def has_come() -> bool:
        return any(upload.progress.reader.byte_count >= byte_count for upload in live.of_user(account.id))

    await until(has_come)


@pytest.mark.parametrize("wav", [WAV, STREAMED], ids=["declared", "streamed"])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_recorder_that_dies_loses_nothing_that_had_arrived(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture, transport: Transport, wav: bytes
) -> None:
    async with invariants_hold(service, caplog):
        async with connect(service) as client:
            head = request_head(account, transport, len(wav), path="/records?incomplete=keep")
            whole = framed(wav, transport)
            cut = whole.index(wav[:44]) + SENT_BYTES if transport != "chunked" else len(whole) // 2
            await client.send(head + whole[:cut])
            await arrived(service, account, SENT_BYTES if transport != "chunked" else 20_000)
        record = await only_record(service, account)
        assert record["complete"] is False
        warnings = record["warnings"]
        assert isinstance(warnings, list)
        assert "interrupted" in [warning["code"] for warning in warnings]
        if transport != "chunked":
            assert (record["duration"], record["source_size"]) == (0.5, SENT_BYTES)


@pytest.mark.parametrize("transport", ["raw", "multipart"])
async def test_recorder_that_dies_at_once_loses_nothing_either(
    service: Service, account: Account, transport: Transport
) -> None:
    wav = wavs.wav(wavs.chirp(44_100 * 8, 44_100, 1), sample_rate=44_100, channels=1)
    head = request_head(account, transport, len(wav), path="/records?incomplete=keep")
    whole = framed(wav, transport)
    sent = whole.index(wav[:44]) + 300_000  # more than is taken at once
    with socket.create_connection((service.url.host, service.url.port)) as client:
        await asyncio.to_thread(client.sendall, head + whole[:sent])
    record = await only_record(service, account)
    assert (record["complete"], record["source_size"]) == (False, 300_000)


async def test_without_keep_nothing_is_kept(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    async with invariants_hold(service, caplog):
        async with connect(service) as client:
            head = request_head(account, "raw", len(WAV), path="/records")
            await client.send(head + WAV[:SENT_BYTES])
            await arrived(service, account, SENT_BYTES)
        await until(lambda: not service.app[ADMISSION].running)
        assert (await service.get("/records", headers=account.headers)).json["records"] == []


async def test_stalled_upload_that_is_kept_is_answered_with_its_record(start_service: StartService) -> None:
    service = await start_service(stall_seconds=1)
    account = await service.create_user()
    async with connect(service) as client:
        await client.send(request_head(account, "raw", len(WAV), path="/records?incomplete=keep") + WAV[:SENT_BYTES])
        answer = await client.answer()
    assert (answer.status, answer.json["complete"], answer.json["duration"]) == (201, False, 0.5)


@pytest.mark.parametrize("language", ["tus", "ietf"])
async def test_resumable_upload_that_nobody_resumes_is_kept(start_service: StartService, language: str) -> None:
    service = await start_service(stall_seconds=0.5, resume_seconds=1)
    account = await service.create_user()
    if language == "tus":
        upload = await begun(service, account, language, len(WAV), metadata=KEEP)
    else:
        upload = await begun(service, account, language, len(WAV), path="/uploads?incomplete=keep")
    await upload.append(WAV[:SENT_BYTES], 0)
    record = await only_record(service, account)
    assert (record["id"], record["complete"], record["duration"]) == (upload.id, False, 0.5)


async def test_cancelled_upload_is_not_kept(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    async with invariants_hold(service, caplog):
        upload = await begun(service, account, "tus", len(WAV), metadata=KEEP)
        await upload.append(WAV[:SENT_BYTES], 0)
        assert (await upload.cancel()).status == 204
        assert (await service.get("/records", headers=account.headers)).json["records"] == []


async def test_part_that_is_too_large_is_kept_up_to_the_limit(start_service: StartService) -> None:
    service = await start_service(max_upload_bytes=SENT_BYTES)
    account = await service.create_user()

    async def upload(params: dict[str, str]) -> Answer:
        return await service.upload(account, STREAMED, transport="chunked", params=params)

    assert (await upload({})).status == 413
    kept = await upload(KEEP)
    assert (kept.status, kept.json["complete"], kept.json["duration"]) == (201, False, 0.5)


@pytest.mark.parametrize(("option", "status"), [("", 413), ("?incomplete=keep", 201)])
async def test_form_that_is_much_too_large_is_no_other_case(
    start_service: StartService, option: str, status: int
) -> None:
    service = await start_service(max_upload_bytes=SENT_BYTES)
    account = await service.create_user()
    endless = STREAMED + bytes(3_000_000)
    head = request_head(account, "multipart", len(endless), path=f"/records{option}")
    head = re.sub(rb"Content-Length: \d+", b"Transfer-Encoding: chunked", head)
    form = framed(endless, "multipart")
    async with connect(service) as client:
        sending = asyncio.create_task(client.send(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(form), form)))
        answer = await client.answer()
        with contextlib.suppress(ConnectionError):
            await sending
    assert answer.status == status, answer.json
    if option:
        assert (answer.json["complete"], answer.json["source_size"]) == (False, SENT_BYTES)


@pytest.mark.parametrize("is_suspended", [False, True])
async def test_shutdown_keeps_what_has_arrived(start_service: StartService, *, is_suspended: bool) -> None:
    service = await start_service(stall_seconds=0.5 if is_suspended else 30)
    account = await service.create_user()
    admission = service.app[ADMISSION]
    if is_suspended:
        upload = await begun(service, account, "tus", len(WAV), metadata=KEEP)
        await upload.append(WAV[:SENT_BYTES], 0)
        await until(lambda: admission.suspended)
        admission.close()
        await admission.drain(5)
    else:
        async with connect(service) as client:
            head = request_head(account, "raw", len(WAV), path="/records?incomplete=keep")
            await client.send(head + WAV[:SENT_BYTES])
            await arrived(service, account, SENT_BYTES)
            admission.close()
            await admission.drain(0)
            answer = await client.answer()
        assert (answer.status, answer.json["complete"]) == (201, False)
    record = await only_record(service, account)
    assert (record["complete"], record["duration"]) == (False, 0.5)


async def test_key_of_a_part_makes_a_record_of_the_whole(service: Service, account: Account) -> None:
    async with connect(service) as client:
        head = request_head(account, "raw", len(WAV), "Idempotency-Key: k", path="/records?incomplete=keep")
        await client.send(head + WAV[:SENT_BYTES])
        await arrived(service, account, SENT_BYTES)
    part = await only_record(service, account)
    answer = await service.post(
        "/records?incomplete=keep",
        data=WAV,
        headers=account.headers | {"Idempotency-Key": "k", "Content-Type": "audio/wav"},
    )
    assert (answer.status, answer.json["complete"]) == (201, True)
    assert answer.json["id"] != part["id"]


@pytest.mark.parametrize("wav", [WAV, STREAMED], ids=["declared", "streamed"])
async def test_client_that_leaves_keeps_at_once_what_has_arrived(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture, wav: bytes
) -> None:
    async with invariants_hold(service, caplog):
        upload = await begun(service, account, "ietf", path="/uploads?incomplete=keep")
        await upload.append(wav[:SENT_BYTES], 0)
        assert (await upload.look()).json["keeps_incomplete"] is True
        answer = await service.request("DELETE", upload.path, headers=account.headers, params=KEEP)
        assert answer.status == 204
        record = (await upload.record()).json
        assert (record["duration"], record["complete"], record["source_size"]) == (0.5, False, SENT_BYTES)


async def test_client_that_leaves_can_keep_nothing_of_an_upload_that_did_not_begin_so(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    async with invariants_hold(service, caplog):
        upload = await begun(service, account, "ietf")
        await upload.append(WAV[:SENT_BYTES], 0)
        assert (await upload.look()).json["keeps_incomplete"] is False
        for value, code in (("maybe", "invalid_incomplete"), ("keep", "cannot_keep")):
            params = {"incomplete": value}
            answer = await service.request("DELETE", upload.path, headers=account.headers, params=params)
            assert (answer.status, answer.json["code"]) == (422, code)
        await upload.append(WAV[SENT_BYTES:], SENT_BYTES, is_last=True)
        assert (await upload.record()).json["complete"] is True
