"""The first line of defence: what is refused, with which code, and before which byte."""

import asyncio

import pytest

from service.web.app_keys import ADMISSION
from tests.support import wavs
from tests.support.client import NOBODY, TRANSPORTS, Account, Service, StartService, Transport
from tests.support.database import query
from tests.support.half_upload import half_upload
from tests.support.raw import RawClient, connect, framed, request_head
from tests.support.waiting import until

WAV = wavs.wav(wavs.chirp(44100 * 5, 44100, 2), sample_rate=44100, channels=2)


async def until_nothing_runs(service: Service) -> None:
    await until(lambda: not service.app[ADMISSION].running, seconds=5)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("who", [None, NOBODY, Account(0, "no-uuid"), Account(0, "")])
async def test_upload_without_a_users_token_is_401_before_the_body(
    service: Service, who: Account | None, transport: Transport
) -> None:
    async with connect(service) as client:
        await client.send(request_head(who, transport, len(WAV)))
        answer = await client.answer()
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["connection"] == "close"


async def test_refused_client_that_goes_on_sending_is_cut_off_soon(service: Service) -> None:
    async with connect(service) as client:
        await client.send(request_head(NOBODY, "raw", len(WAV)) + WAV[:1000])
        assert (await client.answer()).status == 401
        async with asyncio.timeout(10):
            assert await client.is_closed_by_service()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_client_that_expects_100_is_refused_in_the_first_line(service: Service, transport: Transport) -> None:
    async with connect(service) as client:
        await client.send(request_head(NOBODY, transport, len(WAV), "Expect: 100-continue"))
        assert (await client.answer()).status == 401


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_client_that_expects_100_gets_it_once_it_may_send(
    service: Service, account: Account, transport: Transport
) -> None:
    async with connect(service) as client:
        await client.send(request_head(account, transport, len(WAV), "Expect: 100-continue"))
        assert (await client.answer()).status == 100
        await client.send(framed(WAV, transport))
        assert (await client.answer()).status == 201


async def test_other_expectations_are_417(service: Service, account: Account) -> None:
    async with connect(service) as client:
        await client.send(request_head(account, "raw", 10, "Expect: the-unexpected"))
        answer = await client.answer()
        assert (answer.status, answer.json["code"]) == (417, "expectation_failed")
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("line", "status"), [("PUT /nowhere", 404), ("PUT /users", 405), ("POST /health/live", 405)])
async def test_unknown_addresses_refuse_before_the_body_too(service: Service, line: str, status: int) -> None:
    async with connect(service) as client:
        await client.send(f"{line} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n".encode())
        answer = await client.answer()
        assert answer.status == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert ("allow" in answer.headers) == (status == 405)


async def test_refused_method_names_itself_and_those_that_the_address_takes(service: Service) -> None:
    answer = await service.request("DELETE", "/records")
    assert answer.headers["Allow"] == "GET, HEAD, POST, PUT"
    assert answer.json["detail"] == "This address does not take DELETE. It takes GET, HEAD, POST, PUT."


async def test_target_that_is_not_a_path_is_404(service: Service) -> None:
    async with connect(service) as client:
        await client.send(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await client.answer()
        assert (answer.status, answer.json["code"]) == (404, "not_found")


@pytest.mark.parametrize("expect", [(), ("Expect: 100-continue",)])
@pytest.mark.parametrize("transport", ["raw", "multipart"])
async def test_declared_size_past_the_limit_is_413_before_the_body(
    start_service: StartService, transport: Transport, expect: tuple[str, ...]
) -> None:
    service = await start_service(max_upload_bytes=1_000_000)
    account = await service.create_user()
    async with connect(service) as client:
        await client.send(request_head(account, transport, 1_100_000, *expect))
        answer = await client.answer()
        assert (answer.status, answer.json["code"]) == (413, "too_large")


async def test_size_declared_by_the_wav_is_413_at_its_header(start_service: StartService) -> None:
    service = await start_service(max_upload_bytes=1_000_000)
    account = await service.create_user()
    async with connect(service) as client:
        head = wavs.header(1_000_000, sample_rate=44100, channels=2)
        await client.send(request_head(account, "chunked", 0) + b"%x\r\n%s\r\n" % (len(head), head))
        answer = await client.answer()
        assert (answer.status, answer.json["code"]) == (413, "too_large")


@pytest.mark.parametrize("transport", ["chunked", "multipart"])
async def test_counted_size_past_the_limit_is_413_at_that_byte(
    start_service: StartService, transport: Transport
) -> None:
    service = await start_service(max_upload_bytes=50_000)
    account = await service.create_user()
    endless = wavs.header(0, sample_rate=8000, channels=1, data_size=0xFFFFFFFF) + bytes(60_000)
    answer = await service.upload(account, endless, transport=transport)
    assert (answer.status, answer.json["code"], answer.json["offset"]) == (413, "too_large", 50_000)
    assert not service.files()


@pytest.mark.parametrize("data_size", [None, 0xFFFFFFFF])
async def test_recording_longer_than_the_limit_is_413(start_service: StartService, data_size: int | None) -> None:
    service = await start_service(max_duration_seconds=4)
    account = await service.create_user()
    layout: wavs.Layout = {"sample_rate": 44100, "channels": 2}
    if data_size is not None:
        layout["data_size"] = data_size
    wav = wavs.wav(wavs.chirp(44100 * 4 + 1, 44100, 2), **layout)
    answer = await service.upload(account, wav)
    assert (answer.status, answer.json["code"]) == (413, "too_long")
    exact = wavs.wav(wavs.chirp(44100 * 4, 44100, 2), **layout)
    assert (await service.upload(account, exact)).status == 201


async def test_encoded_body_is_415_before_it_is_read(service: Service, account: Account) -> None:
    async with connect(service) as client:
        await client.send(request_head(account, "raw", 1000, "Content-Encoding: gzip"))
        answer = await client.answer()
        assert (answer.status, answer.json["code"]) == (415, "content_encoded")


@pytest.mark.parametrize("content_type", ["text/html", "audio/mpeg", "application/json", "video/webm"])
async def test_post_of_another_type_is_415_before_it_is_read(
    service: Service, account: Account, content_type: str
) -> None:
    head = request_head(account, "raw", 1000, f"Content-Type: {content_type}").replace(
        b"PUT /records/", b"POST /records"
    )
    async with connect(service) as client:
        await client.send(head)
        answer = await client.answer()
        assert (answer.status, answer.json["code"]) == (415, "unsupported_type")


async def test_upload_past_a_full_queue_is_503_at_once_with_retry_after(start_service: StartService) -> None:
    service = await start_service(max_encodings=1, max_waiting=0)
    account = await service.create_user()
    async with half_upload(service, account, WAV), connect(service) as client:
        await client.send(request_head(account, "raw", len(WAV), "Expect: 100-continue"))
        answer = await client.answer()
        assert (answer.status, answer.json["code"]) == (503, "queue_full")
        assert int(answer.headers["retry-after"]) > 0
    await until_nothing_runs(service)
    assert (await service.upload(account, WAV)).status == 201


async def test_full_queue_refuses_without_asking_the_database_who_it_is(start_service: StartService) -> None:
    service = await start_service(max_encodings=1, max_waiting=0)
    account = await service.create_user()
    async with half_upload(service, account, WAV), connect(service) as stranger:
        await stranger.send(request_head(NOBODY, "raw", len(WAV), "Expect: 100-continue"))
        answer = await stranger.answer()
        assert (answer.status, answer.json["code"]) == (503, "queue_full")


async def test_retry_of_a_kept_upload_is_answered_even_if_the_queue_is_full(start_service: StartService) -> None:
    service = await start_service(max_encodings=1, max_waiting=0)
    account = await service.create_user()
    head = request_head(account, "raw", len(WAV), "Idempotency-Key: once")
    async with connect(service) as client:
        await client.send(head + WAV)
        first = await client.answer()
    await until_nothing_runs(service)
    async with half_upload(service, account, WAV), connect(service) as client:
        await client.send(head + WAV)
        again = await client.answer()
    assert (first.status, again.status, again.json) == (201, 200, first.json)


async def test_new_key_does_not_bypass_a_full_queue(start_service: StartService) -> None:
    service = await start_service(max_encodings=1, max_waiting=0)
    account = await service.create_user()
    async with half_upload(service, account, WAV), connect(service) as client:
        await client.send(request_head(account, "raw", len(WAV), "Idempotency-Key: new", "Expect: 100-continue"))
        answer = await client.answer()
    assert (answer.status, answer.json["code"]) == (503, "queue_full")
    # It was refused before anything was written.
    assert query(service.database_url, "SELECT count(*) FROM idempotency_keys") == [(0,)]


async def test_upload_in_the_queue_goes_on_when_a_slot_is_free(start_service: StartService) -> None:
    service = await start_service(max_encodings=1, max_waiting=1)
    account = await service.create_user()
    async with half_upload(service, account, WAV) as (first, rest):
        waiting = asyncio.create_task(service.upload(account, WAV))
        await until(lambda: service.app[ADMISSION].waiting)
        await first.send(rest)
        assert (await first.answer()).status == 201
        assert (await waiting).status == 201


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_stalled_body_is_408(start_service: StartService, transport: Transport) -> None:
    service = await start_service(stall_seconds=1)
    account = await service.create_user()
    loop = asyncio.get_running_loop()
    async with connect(service) as client:
        # All of it fits into the pipe to ffmpeg, so that a slow start of ffmpeg does not count as a stall of its own.
        await client.send(request_head(account, transport, len(WAV)) + framed(WAV, transport)[:40_000])
        started = loop.time()
        answer = await client.answer()
        assert 0.9 < loop.time() - started < 4
        assert (answer.status, answer.json["code"], answer.headers["connection"]) == (408, "stalled_body", "close")
    assert not service.files()


async def test_trickling_body_is_408_even_though_it_never_stalls(start_service: StartService) -> None:
    service = await start_service(stall_seconds=1, min_bytes_per_second=10_000)
    account = await service.create_user()
    async with connect(service) as client:
        await client.send(request_head(account, "raw", len(WAV)) + WAV[:1000])
        trickle = asyncio.create_task(send_slowly(client, WAV[1000:], size=10, seconds=0.05))
        answer = await client.answer()
        trickle.cancel()
        assert (answer.status, answer.json["code"]) == (408, "slow_body")


async def send_slowly(client: RawClient, content: bytes, size: int, seconds: float) -> None:
    for start in range(0, len(content), size):
        await client.send(content[start : start + size])
        await asyncio.sleep(seconds)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("wav", "status", "code"),
    [
        (b"", 422, "empty"),
        (b"<!doctype html><p>hello", 415, "not_wav"),
        (WAV[:30], 422, "truncated"),
        (WAV[:44], 422, "truncated"),
        (WAV[:-1], 422, "truncated"),
        (WAV[: len(WAV) // 2], 422, "truncated"),
        (wavs.wav(b"", sample_rate=44100, channels=2), 422, "empty"),
        (wavs.wav(b"", sample_rate=44100, channels=2, after=[wavs.chunk(b"LIST", bytes(500))]), 422, "empty"),
        (wavs.wav(b"", sample_rate=44100, channels=2, data_size=0xFFFFFFFF), 422, "empty"),
        (wavs.wav(bytes(90), sample_rate=44100, channels=33), 422, "unsupported_channels"),
        (wavs.wav(bytes(90), sample_rate=1, channels=1), 422, "unsupported_sample_rate"),
        (wavs.wav(bytes(90), sample_rate=44100, channels=1, format_tag=0x55), 422, "unsupported_codec"),
        (wavs.wav(bytes(90), sample_rate=44100, channels=1, bits=24, block_align=4), 422, "malformed_header"),
    ],
)
async def test_bad_wav_gets_its_code_and_leaves_nothing_behind(
    service: Service, account: Account, wav: bytes, status: int, code: str, transport: Transport
) -> None:
    answer = await service.upload(account, wav, transport=transport)
    assert (answer.status, answer.json["code"]) == (status, code)
    assert answer.json["status"] == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert not service.files()


async def test_sample_that_is_not_a_number_is_422_and_not_our_fault(service: Service, account: Account) -> None:
    source = wavs.chirp(44100, 44100, 1)
    source[20_000] = float("nan")
    answer = await service.upload(account, wavs.wav(source, sample_rate=44100, channels=1, sample_format=wavs.F32))
    assert (answer.status, answer.json["code"]) == (422, "unencodable_audio")
    assert not service.files()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed_multipart"),
        (b"garbage", "malformed_multipart"),
        (b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.wav"\r\n\r\n' + WAV, "malformed_multipart"),
        (framed(WAV, "multipart")[:-7] + framed(WAV, "multipart"), "second_file"),
        (b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n' * 2000 + b"--b--\r\n", "too_many_fields"),
        (
            b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n' + bytes(20_000) + b"\r\n--b--\r\n",
            "field_too_long",
        ),
        (b"\r\n" * 100_000, "malformed_multipart"),
        (b"--b\r\n" + b"X: y\r\n" * 200 + b"\r\n\r\n--b--\r\n", "malformed_multipart"),
        (
            b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\n\r\n--c--\r\n--b--\r\n",
            "nested_multipart",
        ),
        (
            (
                b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.wav"\r\n'
                b"Content-Transfer-Encoding: base64\r\n\r\nUklGRg==\r\n--b--\r\n"
            ),
            "transfer_encoded",
        ),
    ],
)
async def test_broken_multipart_is_400(service: Service, account: Account, body: bytes, code: str) -> None:
    async with connect(service) as client:
        head = (
            f"POST /records HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {account.token}\r\n"
            f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        await client.send(head.encode() + body)
        answer = await client.answer()
        assert (answer.status, answer.json["code"]) == (400, code)
    assert not service.files()


@pytest.mark.parametrize(
    ("parameter", "code"),
    [
        *(("", "missing_boundary"), ("; charset=utf-8", "missing_boundary"), ("; boundary=", "missing_boundary")),
        (f"; boundary={'x' * 71}", "malformed_multipart"),
    ],
)
async def test_missing_or_overlong_boundary_is_400(
    service: Service, account: Account, parameter: str, code: str
) -> None:
    headers = account.headers | {"Content-Type": f"multipart/form-data{parameter}"}
    for method in ("POST", "PUT"):
        answer = await service.request(method, "/records", data=b"--x", headers=headers)
        assert (answer.status, answer.json["code"]) == (400, code)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("ending", ["FIN", "RST"])
async def test_hung_up_upload_leaves_nothing_behind(
    service: Service, account: Account, transport: Transport, ending: str
) -> None:
    async with connect(service) as client:
        await client.send(request_head(account, transport, len(WAV)) + framed(WAV, transport)[:500_000])
        await until(lambda: service.app[ADMISSION].running)
        if ending == "RST":
            client.reset()
    await until_nothing_runs(service)
    assert not service.files()
    assert (await service.upload(account, WAV)).status == 201


LONG_WAV = wavs.wav(wavs.chirp(44100 * 20, 44100, 2), sample_rate=44100, channels=2)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("share", "is_reset"), [(0, False), (0.01, False), (0.1, False), (0.01, True), (0.99, True)])
async def test_client_that_goes_away_leaves_the_queue_at_once(
    start_service: StartService, transport: Transport, share: float, *, is_reset: bool
) -> None:
    service = await start_service(max_encodings=1, max_waiting=1)
    account = await service.create_user()
    body = framed(LONG_WAV, transport)
    async with half_upload(service, account, WAV):
        async with connect(service) as client:
            client.writer.write(request_head(account, transport, len(LONG_WAV)) + body[: int(len(body) * share)])
            await until(lambda: service.app[ADMISSION].waiting)
            if is_reset:
                client.reset()
        await until(lambda: not service.app[ADMISSION].waiting, seconds=3)
    await until_nothing_runs(service)
