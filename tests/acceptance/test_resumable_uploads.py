"""Resumable uploads in both languages: what clients send one after another becomes one record."""

import hashlib
from typing import Any
from uuid import UUID, uuid4

import pytest

from service import metrics
from service.web.app_keys import ADMISSION, LIVE_UPLOADS
from tests.support import wavs
from tests.support.client import Account, Service, StartService
from tests.support.database import after_each_insert
from tests.support.invariants import invariants_hold
from tests.support.raw import connect
from tests.support.resumable import TUS, Resumable, begun, create
from tests.support.waiting import until

LANGUAGES = ["tus", "ietf"]
WAV = wavs.wav(wavs.chirp(44_100, 44_100, 2), sample_rate=44_100, channels=2)


@pytest.mark.parametrize("language", LANGUAGES)
async def test_upload_in_three_requests_becomes_the_record_of_an_uncut_one(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture, language: str
) -> None:
    plain = await service.upload(account, WAV)
    async with invariants_hold(service, caplog):
        upload = await begun(service, account, language, len(WAV))
        assert await upload.offset() == 0
        first = await upload.append(WAV[:50_000], 0)
        assert (first.status, first.headers["Upload-Offset"]) == (204, "50000")
        assert (await upload.append(WAV[50_000:70_000], 50_000)).status == 204
        looked = await upload.look()
        assert looked.json["state"] == "receiving"
        assert (looked.json["offset"], looked.json["length"]) == (70_000, len(WAV))
        assert looked.json["expected_duration"] == 1.0
        last = await upload.append(WAV[70_000:], 70_000, is_last=True)
        record = await upload.record()
        assert record.json["sha256"] == plain.json["sha256"]
        if language == "tus":
            assert (last.status, last.headers["Content-Location"]) == (204, f"/records/{upload.id}")
        else:
            assert (last.status, last.json) == (201, record.json)
            assert last.headers["Upload-Complete"] == "?1"
        ended = await upload.look()
        assert (ended.status, ended.headers["Location"]) == (303, f"{service.url}records/{upload.id}")


@pytest.mark.parametrize("language", LANGUAGES)
async def test_creation_may_bring_all_bytes(service: Service, account: Account, language: str) -> None:
    answer = await create(service, account, language, len(WAV), data=WAV, is_whole=True)
    assert answer.status == 201
    uploads = await service.get("/records", headers=account.headers)
    assert [record["duration"] for record in uploads.json["records"]] == [1.0]


@pytest.mark.parametrize("language", LANGUAGES)
async def test_wrong_offset_is_409_with_the_right_one(service: Service, account: Account, language: str) -> None:
    upload = await begun(service, account, language, len(WAV))
    await upload.append(WAV[:1000], 0)
    for wrong in (0, 999, 1001):
        answer = await upload.append(WAV[wrong:], wrong)
        assert (answer.status, answer.json["code"]) == (409, "mismatching_upload_offset")
        assert answer.headers["Upload-Offset"] == "1000"
    assert (await upload.append(WAV[1000:], 1000, is_last=True)).status in {201, 204}


@pytest.mark.parametrize("language", LANGUAGES)
async def test_new_request_wins_over_one_that_hangs(service: Service, account: Account, language: str) -> None:
    upload = await begun(service, account, language, len(WAV))
    async with connect(service) as hanging:
        await hanging.send(upload.append_head(0, len(WAV)) + WAV[:20_000])
        live = service.app[LIVE_UPLOADS].find(UUID(upload.id))
        await until(lambda: live is not None and live.progress.reader.byte_count == 20_000)
        assert await upload.offset() == 20_000
        assert (await upload.append(WAV[20_000:], 20_000, is_last=True)).status in {201, 204}
    assert (await upload.record()).json["duration"] == 1.0


@pytest.mark.parametrize("language", LANGUAGES)
async def test_cancelled_upload_leaves_nothing(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture, language: str
) -> None:
    async with invariants_hold(service, caplog):
        upload = await begun(service, account, language, len(WAV))
        await upload.append(WAV[:50_000], 0)
        assert (await upload.cancel()).status == 204
        assert [(await asked()).status for asked in (upload.look, upload.head, upload.record)] == [404] * 3
        assert (await upload.append(WAV[50_000:], 50_000)).status == 404


@pytest.mark.parametrize("language", LANGUAGES)
async def test_creation_that_contradicts_itself_leaves_nothing(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture, language: str
) -> None:
    """Its client hears nothing of an upload, and would wait for its slot and its lease."""
    async with invariants_hold(service, caplog):
        answer = await create(service, account, language, 500, data=WAV[:1000], is_whole=True)
        assert (answer.status, answer.json["code"]) == (400, "inconsistent_upload_length")
        assert (await service.get("/uploads", headers=account.headers)).json == {"uploads": []}


@pytest.mark.parametrize("language", LANGUAGES)
async def test_refused_upload_says_why_for_an_hour(service: Service, account: Account, language: str) -> None:
    upload = await begun(service, account, language, 5000)
    answer = await upload.append(b"not a WAV" * 100, 0)
    assert (answer.status, answer.json["code"]) == (415, "not_wav")
    later = await upload.look()
    assert (later.status, later.json["code"], later.json["detail"]) == (415, "not_wav", answer.json["detail"])


async def test_refusal_that_names_any_four_bytes_can_be_asked_for(service: Service, account: Account) -> None:
    odd = b"A\0B\n" + (1).to_bytes(4, "little") + b"x"  # without its pad byte
    upload = await begun(service, account, "tus", 5000)
    answer = await upload.append(WAV[:36] + odd + WAV[36:1000], 0)
    assert (answer.status, answer.json["code"]) == (422, "malformed_header")
    assert "The A?B chunk" in answer.json["detail"]
    assert (await upload.look()).json["detail"] == answer.json["detail"]


@pytest.mark.parametrize("language", LANGUAGES)
async def test_upload_without_a_request_is_suspended_and_goes_on(start_service: StartService, language: str) -> None:
    service = await start_service(stall_seconds=1.5, max_encodings=1)
    account = await service.create_user()
    upload = await begun(service, account, language, len(WAV))
    await upload.append(WAV[:50_000], 0)
    await until(lambda: service.app[ADMISSION].suspended)
    assert (await upload.look()).json["state"] == "suspended"
    assert (await service.upload(account, WAV)).status == 201  # the only slot is free
    assert (await upload.append(WAV[50_000:], 50_000, is_last=True)).status in {201, 204}
    assert (await upload.record()).json["duration"] == 1.0


async def test_suspended_upload_ends_after_its_time(
    start_service: StartService, caplog: pytest.LogCaptureFixture
) -> None:
    service = await start_service(stall_seconds=0.5, resume_seconds=0.8)
    account = await service.create_user()
    async with invariants_hold(service, caplog):
        upload = await begun(service, account, "tus", len(WAV))
        await until(lambda: service.app[ADMISSION].suspended)
        await until(lambda: not service.app[ADMISSION].suspended)
        assert (await upload.look()).json["code"] == "upload_expired"


async def test_uploads_of_others_are_not_there(service: Service, account: Account) -> None:
    upload = await begun(service, account, "tus", len(WAV))
    other = Resumable(service, await service.create_user("bob"), upload.path, "tus")
    answers = [await other.look(), await other.head(), await other.cancel(), await other.append(WAV, 0)]
    assert {answer.status for answer in answers} == {404}
    assert (await service.get("/uploads", headers=other.account.headers)).json == {"uploads": []}
    assert [one["id"] for one in (await service.get("/uploads", headers=account.headers)).json["uploads"]] == [
        upload.id
    ]
    unknown = Resumable(service, account, f"/uploads/{uuid4()}", "tus")
    assert (await unknown.look()).status == 404
    await upload.cancel()


async def test_digest_of_the_whole_is_checked_at_the_end(service: Service, account: Account) -> None:
    for digest, status in ((hashlib.sha256(WAV).hexdigest(), 204), ("0" * 64, 422)):
        upload = await begun(service, account, "tus", len(WAV), metadata={"sha256": digest})
        await upload.append(WAV[:1000], 0)
        assert (await upload.append(WAV[1000:], 1000)).status == status


async def test_creation_with_the_same_key_is_the_same_upload(service: Service, account: Account) -> None:
    key = {"Idempotency-Key": "k"}
    upload = await begun(service, account, "tus", len(WAV), **key)
    assert (await begun(service, account, "tus", len(WAV), **key)).id == upload.id
    await upload.append(WAV, 0)
    again = await begun(service, account, "tus", len(WAV), **key)
    assert again.id == upload.id
    assert (await again.head()).headers["Content-Location"] == f"/records/{upload.id}"


@pytest.mark.parametrize("language", LANGUAGES)
async def test_creation_whose_key_is_freed_just_then_may_be_repeated(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture, language: str
) -> None:
    """The other upload had the key when it was claimed, and has it no more when that upload is looked for."""
    key: dict[str, Any] = {"Idempotency-Key": "k"}
    async with invariants_hold(service, caplog):
        other = await begun(service, account, language, len(WAV), **key)
        with after_each_insert(service.database_url, "idempotency_keys", "DELETE FROM idempotency_keys"):
            answer = await create(service, account, language, len(WAV), **key)
        assert (answer.status, answer.json["code"]) == (409, "upload_running")
        assert int(answer.headers["Retry-After"]) > 0
        upload = await begun(service, account, language, len(WAV), **key)
        assert upload.id != other.id
        assert [(await one.cancel()).status for one in (upload, other)] == [204, 204]


async def test_tus_tells_what_it_can(service: Service) -> None:
    answer = await service.request("OPTIONS", "/uploads")
    assert (answer.status, answer.headers["Tus-Version"]) == (204, "1.0.0")
    assert "max-age=900" in answer.headers["Upload-Limit"]


async def test_other_version_of_tus_is_412(service: Service, account: Account) -> None:
    headers = TUS | {"Tus-Resumable": "0.2.2", "Upload-Length": "1"} | account.headers
    answer = await service.post("/uploads", headers=headers)
    assert (answer.status, answer.headers["Tus-Version"]) == (412, "1.0.0")


@pytest.mark.parametrize(("version", "is_sent"), [(None, True), ("8", True), ("6", True), ("2", False), ("99", False)])
async def test_interim_answer_tells_the_address_before_the_end(
    service: Service, account: Account, version: str | None, *, is_sent: bool
) -> None:
    named = [] if version is None else [f"Upload-Draft-Interop-Version: {version}"]
    head = [
        "POST /records HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {account.token}",
        "Content-Type: audio/wav",
        "Upload-Complete: ?1",
        f"Content-Length: {len(WAV)}",
        *named,
    ]
    async with connect(service) as client:
        await client.send("\r\n".join(head).encode() + b"\r\n\r\n" + WAV[:1000])
        if is_sent:
            interim = await client.reader.readuntil(b"\r\n\r\n")
            assert interim.startswith(b"HTTP/1.1 104 Upload Resumption Supported\r\n")
            assert b"Location: http://localhost/uploads/" in interim
            assert (b"Upload-Draft-Interop-Version: " in interim) == (version is not None)
        await client.send(WAV[1000:])
        answer = await client.answer()
    assert (answer.status, answer.headers["upload-complete"]) == (201, "?1")


async def test_old_ios_says_upload_incomplete(service: Service, account: Account) -> None:
    headers = {"Upload-Draft-Interop-Version": "3", **account.headers}
    answer = await service.post("/uploads", headers={**headers, "Upload-Incomplete": "?1"})
    assert (answer.status, answer.headers["Upload-Incomplete"]) == (201, "?1")
    path = answer.headers["Location"].removeprefix(str(service.url).rstrip("/"))
    last = await service.request(
        "PATCH", path, data=WAV, headers={**headers, "Upload-Offset": "0", "Upload-Incomplete": "?0"}
    )
    assert (last.status, last.json["duration"], last.headers["Upload-Incomplete"]) == (201, 1.0, "?0")


async def test_methods_that_a_client_cannot_send_come_as_post(service: Service, account: Account) -> None:
    upload = await begun(service, account, "tus", len(WAV))
    headers = {**TUS, **account.headers, "X-HTTP-Method-Override": "PATCH", "Upload-Offset": "0"}
    headers["Content-Type"] = "application/offset+octet-stream"
    assert (await service.post(upload.path, data=WAV, headers=headers)).status == 204
    assert (await upload.record()).status == 200


async def test_length_may_be_told_later_and_is_kept_to(service: Service, account: Account) -> None:
    upload = await begun(service, account, "tus")
    wrong = await upload.append(WAV, 0, length=len(WAV) - 1)
    assert (wrong.status, wrong.json["code"]) == (400, "inconsistent_upload_length")
    other = await begun(service, account, "tus")
    assert (await other.append(WAV[:1000], 0)).status == 204
    assert (await other.append(WAV[1000:], 1000, length=len(WAV))).status == 204
    assert (await other.record()).json["duration"] == 1.0
    await upload.cancel()


async def test_suspended_uploads_are_bounded_and_half_of_them_are_one_users(start_service: StartService) -> None:
    service = await start_service(stall_seconds=0.5, max_suspended=2)
    ann, bob = await service.create_user("ann"), await service.create_user("bob")
    uploads = [await begun(service, who, "tus", len(WAV)) for who in (ann, ann, bob)]
    await until(lambda: not service.app[ADMISSION].running)
    codes = [(await upload.look()).json.get("code") for upload in uploads]
    assert len(service.app[ADMISSION].suspended) == 2
    assert sorted(codes[:2], key=str) == [None, "too_many_suspended"]
    assert codes[2] is None


async def test_upload_is_counted_once_by_the_request_that_ends_it(service: Service, account: Account) -> None:
    def counts() -> dict[str, float]:
        samples = next(iter(metrics.UPLOADS.collect())).samples
        return {
            str(sample.labels["outcome"]): sample.value
            for sample in samples
            if sample.name.endswith("_total") and sample.labels["transport"] == "tus"
        }

    before = counts()
    upload = await begun(service, account, "tus", len(WAV))
    await upload.append(WAV[:1000], 0)
    assert counts() == before
    await upload.append(WAV[1000:], 1000)
    other = await begun(service, account, "tus", len(WAV))
    await other.append(b"x" * 1000, 0)
    after = counts()
    assert {name: after[name] - before.get(name, 0) for name in ("created", "not_wav")} == {"created": 1, "not_wav": 1}
