"""Refusals before the first byte of the body: each has its code, sends no "100 Continue", and leaves nothing behind."""

import asyncio
import contextlib
import gzip
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from service.web.app_keys import STORAGE
from tests.support import wavs
from tests.support.client import NOBODY, TRANSPORTS, Account, Service, StartService, Transport
from tests.support.database import query
from tests.support.half_upload import half_upload
from tests.support.invariants import GOOD_WAV, invariants_hold, logged_requests
from tests.support.procfs import children
from tests.support.raw import MULTIPART_TAIL, connect, framed, request_head
from tests.support.waiting import until

WAV = wavs.wav(wavs.chirp(44100 * 5, 44100, 2), sample_rate=44100, channels=2)


@dataclass(frozen=True)
class Refusal:
    """A reason to refuse an upload after its head. `settings` are the service's; `headers` are lines of the head."""

    status: int
    code: str
    settings: dict[str, int] = field(default_factory=dict)
    headers: tuple[str, ...] = ()
    account: Account | None = None  # None: the service's user
    records: int = 0  # records that the user already has
    running: int = 0  # uploads that the user runs at the same time
    transports: tuple[Transport, ...] = TRANSPORTS


REFUSALS = {
    "bad token": Refusal(401, "unknown_token", account=NOBODY),
    "no token": Refusal(401, "missing_token", account=Account(0, "")),
    "full queue": Refusal(503, "queue_full", {"max_encodings": 1, "max_waiting": 0}, running=1),
    "too large": Refusal(413, "too_large", {"max_upload_bytes": 500_000}, transports=("multipart", "raw")),
    "encoded": Refusal(415, "content_encoded", headers=("Content-Encoding: gzip",)),
    "user's uploads": Refusal(429, "too_many_uploads", {"max_uploads_per_user": 1}, running=1),
    "user's records": Refusal(403, "quota_exceeded", {"max_records_per_user": 1}, records=1),
    "user's bytes": Refusal(403, "quota_exceeded", {"max_bytes_per_user": 1}, records=1),
    "disk reserve": Refusal(507, "storage_full", {"min_free_bytes": 2**62}),
}


@pytest.mark.parametrize(
    ("reason", "transport"), [(reason, each) for reason, refusal in REFUSALS.items() for each in refusal.transports]
)
async def test_client_that_expects_100_is_refused_without_it(
    start_service: StartService, caplog: pytest.LogCaptureFixture, reason: str, transport: Transport
) -> None:
    refusal = REFUSALS[reason]
    service = await start_service(**refusal.settings)
    user = await service.create_user()
    head = request_head(refusal.account or user, transport, len(WAV), *refusal.headers, "Expect: 100-continue")
    async with invariants_hold(service, caplog), contextlib.AsyncExitStack() as uploads:
        for _ in range(refusal.records):
            assert (await service.upload(user, GOOD_WAV)).status == 201
        for _ in range(refusal.running):
            await uploads.enter_async_context(half_upload(service, user, WAV))
        await check_refused(service, head, refusal)
        (line,) = [line for line in logged_requests() if line["status"] == refusal.status]
        assert line["bytes_in"] == 0
        cast("Any", service.app[STORAGE])._drafts._min_free_bytes = 0  # noqa: SLF001 - there is room again


async def check_refused(service: Service, head: bytes, refusal: Refusal) -> None:
    """Send a head; the first answer must be the final one, and the service must not want the body."""
    async with connect(service) as client:
        await client.send(head)
        answer = await client.answer()
        assert (answer.status, answer.json["code"]) == (refusal.status, refusal.code)
        assert ("retry-after" in answer.headers) == (refusal.status in {429, 503})
        assert answer.headers["connection"] == "close"


async def test_wrong_type_is_refused_without_100(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    account = await service.create_user()
    async with invariants_hold(service, caplog):
        for transport in ("raw", "chunked"):
            head = request_head(account, transport, 1000, "Content-Type: audio/mpeg", "Expect: 100-continue")
            post = head.replace(b"PUT /records/", b"POST /records")
            await check_refused(service, post, Refusal(415, "unsupported_type"))


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_compressed_body_is_refused_and_never_inflated(
    service: Service, caplog: pytest.LogCaptureFixture, transport: Transport
) -> None:
    account = await service.create_user()
    bomb = gzip.compress(bytes(50_000_000))
    async with invariants_hold(service, caplog):
        for encoding in ("gzip", "deflate", "br", "GZIP", "identity, gzip"):
            head = request_head(account, transport, len(bomb), f"Content-Encoding: {encoding}")
            async with connect(service) as client:
                await client.send(head + framed(bomb, transport))
                answer = await client.answer()
                assert (answer.status, answer.json["code"]) == (415, "content_encoded"), encoding
        assert all(line["bytes_in"] <= len(bomb) + 1000 for line in logged_requests())


@pytest.mark.parametrize("transport", ["multipart", "chunked"])
async def test_counted_size_past_the_limit_ends_the_encoder_at_that_byte(
    start_service: StartService, caplog: pytest.LogCaptureFixture, transport: Transport
) -> None:
    service = await start_service(max_upload_bytes=500_000)
    account = await service.create_user()
    endless = wavs.header(0, sample_rate=8000, channels=1, data_size=0xFFFFFFFF) + bytes(499_957)
    head = request_head(account, transport, len(endless))
    body = framed(endless, transport).removesuffix(MULTIPART_TAIL).removesuffix(b"\r\n0\r\n\r\n")
    before = children()
    async with invariants_hold(service, caplog), connect(service) as client:
        await client.send(head + body[:-1])  # as much as the service takes
        await until(lambda: children() > before)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.reader.read(1), timeout=0.3)
        await client.send(body[-1:] + (MULTIPART_TAIL if transport == "multipart" else b""))
        answer = await client.answer()
        assert (answer.status, answer.json["code"], answer.json["offset"]) == (413, "too_large", 500_000)
        await until(lambda: children() == before)
        assert not service.files()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_user_at_the_limit_of_uploads_is_refused_and_others_are_not(
    start_service: StartService, caplog: pytest.LogCaptureFixture, transport: Transport
) -> None:
    service = await start_service(max_uploads_per_user=1)
    ann, bob = await service.create_user("ann"), await service.create_user("bob")
    async with invariants_hold(service, caplog):
        async with half_upload(service, ann, WAV) as (first, rest):
            refused = await service.upload(ann, GOOD_WAV, transport=transport)
            assert (refused.status, refused.json["code"]) == (429, "too_many_uploads")
            assert int(refused.headers["Retry-After"]) > 0
            assert (await service.upload(bob, GOOD_WAV, transport=transport)).status == 201
            await first.send(rest)
            assert (await first.answer()).status == 201
        assert (await service.upload(ann, GOOD_WAV, transport=transport)).status == 201
        async with half_upload(service, ann, WAV) as (another, _):
            another.reset()
        await until(lambda: not query(service.database_url, "SELECT upload_id FROM upload_leases"))
        assert (await service.upload(ann, GOOD_WAV, transport=transport)).status == 201


async def test_user_never_runs_more_uploads_at_once_than_allowed(
    start_service: StartService, caplog: pytest.LogCaptureFixture
) -> None:
    service = await start_service(max_uploads_per_user=3)
    account = await service.create_user()
    async with invariants_hold(service, caplog):
        answers = await asyncio.gather(*(service.upload(account, WAV) for _ in range(8)))
        statuses = sorted(answer.status for answer in answers)
        assert statuses.count(201) >= 3
        assert set(statuses) == {201, 429}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("limit", ["max_records_per_user", "max_bytes_per_user"])
async def test_user_at_the_quota_is_refused_and_others_are_not(
    start_service: StartService, caplog: pytest.LogCaptureFixture, limit: str, transport: Transport
) -> None:
    service = await start_service(**{limit: 1})
    ann, bob = await service.create_user("ann"), await service.create_user("bob")
    async with invariants_hold(service, caplog):
        assert (await service.upload(ann, GOOD_WAV, transport=transport)).status == 201
        refused = await service.upload(ann, GOOD_WAV, transport=transport)
        assert (refused.status, refused.json["code"]) == (403, "quota_exceeded")
        assert (await service.upload(bob, GOOD_WAV, transport=transport)).status == 201


async def test_simultaneous_uploads_keep_no_more_records_than_allowed(
    start_service: StartService, caplog: pytest.LogCaptureFixture
) -> None:
    service = await start_service(max_records_per_user=2)
    account = await service.create_user()
    async with invariants_hold(service, caplog):
        answers = await asyncio.gather(*(service.upload(account, GOOD_WAV) for _ in range(6)))
        assert sorted(answer.status for answer in answers) == [201, 201, 403, 403, 403, 403]
