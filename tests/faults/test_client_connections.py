"""Clients that misuse their connection: they send half a request, never read, pipeline, or do not speak HTTP."""

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import Counter

from service import metrics
from service.web.app_keys import ADMISSION
from service.web.connection import Connection
from tests.support import wavs
from tests.support.client import NOBODY, TRANSPORTS, Account, Service, StartService, Transport
from tests.support.database import query
from tests.support.descriptors import allowed_descriptors
from tests.support.invariants import invariants_hold, logged_requests
from tests.support.procfs import descriptors
from tests.support.raw import RawClient, connect, connect_with_small_buffer, framed, request_head
from tests.support.waiting import until

KEEPALIVE_SECONDS = 8.0
STALL_SECONDS = 2.0
SMUGGLED = b"POST /users?username=smuggled HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
FOLLOWING = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def seconds_until_closed(service: Service, beginning: bytes, *, trickle: bool) -> float:
    """Connect, send at most half a request, and return after how many seconds the service closes the connection."""
    loop = asyncio.get_running_loop()
    async with connect(service) as client:
        started = loop.time()
        await client.send(beginning)
        closed = asyncio.create_task(client.is_closed_by_service())
        while not (await asyncio.wait({closed}, timeout=0.5 if trickle else None))[0]:
            with contextlib.suppress(ConnectionError):
                await client.send(b"x")
        return loop.time() - started


async def p99_of_others(service: Service) -> float:
    """Return the 99th of a hundred sorted answer times; some of the requests also need the database."""
    loop, times = asyncio.get_running_loop(), []
    for number in range(100):
        started = loop.time()
        answer = await (service.get("/health/live") if number % 2 else service.post("/users?username=ann"))
        assert answer.status in {200, 201}
        times.append(loop.time() - started)
    return sorted(times)[98]


@pytest.fixture
def room_for_connections() -> Iterator[None]:
    with allowed_descriptors(4000):
        yield


@pytest.mark.usefixtures("room_for_connections")
async def test_half_open_connections_are_closed_at_the_limit_and_harm_nobody(
    start_service: StartService, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.server._KEEPALIVE_SECONDS", KEEPALIVE_SECONDS)
    service = await start_service()
    async with invariants_hold(service, caplog):
        before = len(descriptors())
        silent: list[asyncio.Task[float]] = []
        for number in range(500):
            beginning = b"" if number % 2 else b"PUT /records/ HTTP/1.1\r\nHost: x\r\nX-Slow: "
            closing = seconds_until_closed(service, beginning, trickle=number % 20 == 0)
            silent.append(asyncio.create_task(closing))
            if number % 25 == 24:
                await asyncio.sleep(0.01)
        await until(lambda: len(descriptors()) >= before + 1000)
        assert await p99_of_others(service) < 1
        assert not any(task.done() for task in silent)
        for seconds in await asyncio.gather(*silent):
            assert 0.9 * KEEPALIVE_SECONDS < seconds < KEEPALIVE_SECONDS + 20


async def test_half_a_second_request_is_closed_at_the_limit_too(
    start_service: StartService, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.server._KEEPALIVE_SECONDS", 1.0)
    service = await start_service()
    async with invariants_hold(service, caplog), connect(service) as client:
        await client.send(FOLLOWING.replace(b"Connection: close\r\n", b"") + b"GET /health/live HTTP/1.1\r\nHo")
        assert (await client.answer()).status == 200
        async with asyncio.timeout(5):
            assert await client.is_closed_by_service()


@contextlib.asynccontextmanager
async def stopped_download(service: Service, path: str) -> AsyncIterator[RawClient]:
    """Ask for a file and read next to nothing of it."""
    async with connect_with_small_buffer(service) as client:
        await client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert b"200" in await client.reader.readline()
        yield client


async def keep_large_mp3(service: Service) -> str:
    """Keep an MP3 that no socket's buffers hold (8 MB), and return its path."""
    account = await service.create_user()
    silence = wavs.wav(bytes(200 * 48_000), sample_rate=48_000, channels=1, sample_format=wavs.U8)
    answer = await service.upload(account, silence, params={"bit_rate": "320000"})
    assert (answer.status, answer.json["size"] > 7_900_000) == (201, True)
    return f"/records/{answer.json['id']}.mp3"


async def test_readers_that_stop_hold_no_database_connection(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    path = await keep_large_mp3(service)
    async with invariants_hold(service, caplog), contextlib.AsyncExitStack() as readers:
        for _ in range(12):  # the database has ten connections
            await readers.enter_async_context(stopped_download(service, path))
        await asyncio.sleep(0.2)
        async with asyncio.timeout(20):  # a statement that waits for a connection is refused after five seconds
            await service.create_user()
            assert (await service.get(path, headers={"Range": "bytes=0-9"})).status == 206


async def test_reader_that_stops_is_cut_off_at_the_stall_limit(
    start_service: StartService, caplog: pytest.LogCaptureFixture
) -> None:
    service = await start_service(download_stall_seconds=STALL_SECONDS)
    path = await keep_large_mp3(service)
    async with invariants_hold(service, caplog):
        await asyncio.sleep(0.2)  # wait until both ends of the upload's connection are closed
        before = len(descriptors())
        async with stopped_download(service, path) as client:
            assert len(descriptors()) > before + 1
            # The client's own end is left.
            await until(lambda: len(descriptors()) <= before + 1, seconds=4 * STALL_SECONDS)
            with contextlib.suppress(ConnectionError):
                assert len(await client.reader.read()) < 7_900_000


async def test_download_that_breaks_off_is_counted_as_such_and_not_as_sent(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    path = await keep_large_mp3(service)
    async with invariants_hold(service, caplog):
        sent, broken = metrics.SENT_BYTES, metrics.DOWNLOADS.labels(499)
        sent_before, broken_before = value_of(sent), value_of(broken)
        async with stopped_download(service, path) as client:
            client.reset()
        await until(lambda: value_of(broken) == broken_before + 1)
        assert value_of(sent) == sent_before


# What the kernel reports when it has tried for long enough: the last ICMP message, if there was one.
LOST_NETWORKS = [errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN]


@pytest.mark.parametrize("number", LOST_NETWORKS)
async def test_lost_network_of_a_reader_is_not_a_fault_of_the_disk(
    service: Service, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = await keep_large_mp3(service)
    sendfile = os.sendfile

    def send(out: int, into: int, offset: int, count: int) -> int:
        if offset > 0:
            raise OSError(number, os.strerror(number))
        return sendfile(out, into, offset, count)

    monkeypatch.setattr(os, "sendfile", send)
    async with invariants_hold(service, caplog):
        async with connect(service) as client:
            await client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            with contextlib.suppress(ConnectionError):
                await client.reader.read()
            await until(logged_requests)
        assert logged_requests()[0]["outcome"] == "client_gone"


@pytest.mark.parametrize("number", LOST_NETWORKS)
async def test_lost_network_of_a_sender_is_its_end_and_no_bug(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    transports = list[Any]()
    connection_made = Connection.connection_made

    def note(connection: Connection, transport: asyncio.BaseTransport) -> None:
        transports.append(transport)
        connection_made(connection, transport)

    monkeypatch.setattr(Connection, "connection_made", note)
    wav = wavs.wav(wavs.chirp(44100, 44100, 1), sample_rate=44100, channels=1)
    async with invariants_hold(service, caplog):
        async with connect(service) as client:
            await client.send(request_head(account, "raw", len(wav)) + wav[:50_000])
            await until(lambda: service.app[ADMISSION].running)
            failure = OSError(number, os.strerror(number))
            transports[-1]._fatal_error(failure)  # noqa: SLF001 - as asyncio does at an error of recv
            await until(logged_requests)
        assert logged_requests()[0]["outcome"] == "client_gone"


def value_of(counter: Counter) -> float:
    (family,) = counter.collect()
    return next(sample.value for sample in family.samples if sample.name.endswith("_total"))


async def test_slow_but_steady_reader_gets_the_whole_file(
    start_service: StartService, caplog: pytest.LogCaptureFixture
) -> None:
    service = await start_service(download_stall_seconds=1)
    path = await keep_large_mp3(service)
    whole = (await service.get(path)).body
    async with invariants_hold(service, caplog), stopped_download(service, path) as client:
        while (await client.reader.readline()).strip():
            pass
        received = b""
        while len(received) < len(whole):
            received += await client.reader.readexactly(min(200_000, len(whole) - len(received)))
            await asyncio.sleep(0.1)
        assert received == whole


async def answers_to(service: Service, content: bytes) -> list[int]:
    """Send everything at once, and return the statuses of all answers until the service closes the connection."""
    statuses = []
    async with connect(service) as client, asyncio.timeout(10):
        await client.send(content)
        with contextlib.suppress(ConnectionError):
            while True:
                statuses.append((await client.answer()).status)
    return statuses


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_body_of_a_refused_request_is_never_taken_for_a_request(
    service: Service, caplog: pytest.LogCaptureFixture, transport: Transport
) -> None:
    async with invariants_hold(service, caplog):
        head, body = request_head(NOBODY, transport, len(SMUGGLED)), framed(SMUGGLED, transport)
        assert await answers_to(service, head + body + FOLLOWING) in ([401], [401, 200])
        async with connect(service) as client:
            await client.send(head)
            assert (await client.answer()).status == 401
            with contextlib.suppress(ConnectionError):
                await client.send(body + FOLLOWING)
            assert await client.is_closed_by_service()
        assert query(service.database_url, "SELECT * FROM users WHERE username = 'smuggled'") == []


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_body_past_the_limit_is_never_taken_for_a_request(
    start_service: StartService, caplog: pytest.LogCaptureFixture, transport: Transport
) -> None:
    service = await start_service(max_upload_bytes=20_000)
    account = await service.create_user()
    content = wavs.header(0, sample_rate=8000, channels=1, data_size=0xFFFFFFFF) + SMUGGLED * 5000
    async with invariants_hold(service, caplog):
        sent = request_head(account, transport, len(content)) + framed(content, transport) + FOLLOWING
        assert await answers_to(service, sent) in ([413], [413, 200])
        assert query(service.database_url, "SELECT * FROM users WHERE username = 'smuggled'") == []


async def test_pipelined_requests_are_answered_in_order(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    account = await service.create_user()
    wav = wavs.wav(wavs.chirp(4410, 44100, 1), sample_rate=44100, channels=1)
    async with invariants_hold(service, caplog):
        uploads = [request_head(account, each, len(wav)) + framed(wav, each) for each in TRANSPORTS]
        bad = request_head(NOBODY, "raw", 5) + b"12345"
        statuses = await answers_to(service, uploads[0] + uploads[1] + bad + uploads[2] + FOLLOWING)
        # The refusal ends the connection, or the service discards the body; no answer is out of order.
        assert statuses in ([201, 201, 401], [201, 201, 401, 201, 200])


@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 6",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length : 5",
        "Content-Length:\r\n 5",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:\x0bchunked",
        "X: y\nTransfer-Encoding: chunked",
    ],
)
async def test_ambiguous_framing_is_400_and_ends_the_connection(
    service: Service, caplog: pytest.LogCaptureFixture, framing: str
) -> None:
    account = await service.create_user()
    head = f"PUT /records/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {account.token}\r\n{framing}\r\n\r\n"
    async with invariants_hold(service, caplog):
        assert await answers_to(service, head.encode() + b"0\r\n\r\n" + SMUGGLED) == [400]
        assert query(service.database_url, "SELECT * FROM users WHERE username = 'smuggled'") == []


@pytest.mark.parametrize(
    "content",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"GET /health/live HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET  HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 10_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X%d: y\r\n" % number for number in range(129)) + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nno colon in this line\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_bytes_that_are_not_http_are_400_and_not_our_error(
    service: Service, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    async with invariants_hold(service, caplog):
        assert await answers_to(service, content) == [400]


async def test_bytes_that_are_not_http_get_a_problem_like_every_other_error(service: Service) -> None:
    async with connect(service) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost\r\n\r\n")
        answer = await client.answer()
    assert (answer.status, answer.json["code"]) == (400, "bad_request")
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.headers["x-request-id"]) == 32
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers


@pytest.mark.parametrize("chunk", [b"zz\r\n", b"-5\r\nhello\r\n", b"5\r\nhello!!\r\n", b"f" * 20 + b"\r\n", b"5;\n"])
async def test_broken_chunks_are_400_and_leave_nothing(
    start_service: StartService, caplog: pytest.LogCaptureFixture, chunk: bytes
) -> None:
    service = await start_service(stall_seconds=STALL_SECONDS)
    account = await service.create_user()
    wav = wavs.wav(wavs.chirp(44100, 44100, 1), sample_rate=44100, channels=1)
    begun = request_head(account, "chunked", 0) + framed(wav, "chunked").removesuffix(b"0\r\n\r\n")
    async with invariants_hold(service, caplog):
        assert await answers_to(service, request_head(account, "chunked", 0) + chunk + SMUGGLED) == [400]
        async with connect(service) as client:
            await client.send(begun)
            await until(lambda: service.app[ADMISSION].running)
            await client.send(chunk + SMUGGLED)
            answer = await client.answer()
            assert (answer.status, answer.json["code"]) == (400, "malformed_body")
            assert await client.is_closed_by_service()
        assert not service.files()
        assert query(service.database_url, "SELECT * FROM users WHERE username = 'smuggled'") == []


async def test_client_that_closes_its_side_right_behind_an_answer_holds_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Just then aiohttp is not idle yet: its task for the request has ended, and the connection's has not gone on."""
    kept_open = list[bool]()
    finish_response = Connection.finish_response

    async def finish(connection: Connection, *arguments: Any) -> tuple[web.StreamResponse, bool]:
        result = await finish_response(connection, *arguments)
        kept_open.append(connection.eof_received())
        return result

    monkeypatch.setattr(Connection, "finish_response", finish)
    assert (await service.get("/health/live")).status == 200
    assert kept_open == [False]
