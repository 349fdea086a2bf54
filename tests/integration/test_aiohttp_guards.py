"""What aiohttp does and we work around: a test that fails here says which work-around may be removed."""

import asyncio
import contextlib
import functools
import gc
import logging
import os
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.web_protocol import RequestHandler

from service.web.aiohttp_guards import UnsignedResponse, arrived, body_given_up
from service.web.connection import Connection
from service.web.connection_limit import ConnectionLimit
from service.web.pieces import PIECE_BYTES
from service.web.runner import Runner
from tests.support.waiting import until

CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
BROKEN_CHUNK = b"zz\r\n"
NOT_HTTP = b"GET / HTTP/1.1\r\nno colon\r\n\r\n"


class Body(bytearray):
    """A response's body to which a weak reference is possible."""


@contextlib.asynccontextmanager
async def connected(
    app: web.Application, runner: web.AppRunner | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Serve the application, by aiohttp alone if no runner is given, and connect to it."""
    runner = runner or web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        await runner.cleanup()


def app_of(method: str, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.Application:
    app = web.Application()
    app.router.add_route(method, "/", handler)
    return app


def our_runner(app: web.Application) -> web.AppRunner:
    return Runner(
        app, functools.partial(Connection, reader_stall_seconds=10, limit=ConnectionLimit(100)), shutdown_timeout=1
    )


async def answer(reader: asyncio.StreamReader) -> bytes:
    """Read the head of an answer, and as much body as its Content-Length says."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    return head + await reader.readexactly(int(length[0].partition(b":")[2]) if length else 0)


async def test_aiohttp_leaves_the_reader_of_broken_chunks_waiting() -> None:
    given_up: list[bool] = []

    async def read_on(request: web.Request) -> web.Response:
        assert await request.content.readany() == b"hello"
        reading.set()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await request.content.readany()
        assert isinstance(request.protocol, RequestHandler)
        given_up.append(body_given_up(request.protocol) is request.content)
        return web.Response()

    reading = asyncio.Event()
    async with connected(app_of("POST", read_on)) as (reader, writer):
        writer.write(CHUNKED)
        await reading.wait()
        writer.write(BROKEN_CHUNK)
        assert b"200 OK" in await answer(reader)
    assert given_up == [True]


async def test_body_that_arrives_slowly_is_not_given_up() -> None:
    async def look(request: web.Request) -> web.Response:
        assert isinstance(request.protocol, RequestHandler)
        assert body_given_up(request.protocol) is None
        return web.Response()

    async with connected(app_of("POST", look)) as (reader, writer):
        writer.write(CHUNKED)
        assert b"200 OK" in await answer(reader)


async def test_aiohttp_gives_nothing_that_arrived_before_the_connection_broke_and_we_do() -> None:
    loop = asyncio.get_running_loop()
    content = StreamReader(BaseProtocol(loop), 2**16, loop=loop)
    content.feed_data(b"hello")
    content.set_exception(ConnectionResetError())
    with pytest.raises(ConnectionResetError):
        content.read_nowait()
    assert arrived(content, 4) + arrived(content, -1) == b"hello"


async def test_aiohttp_takes_a_head_of_a_megabyte() -> None:
    heads: list[int] = []

    async def look(request: web.Request) -> web.Response:
        heads.append(sum(len(value) for value in request.headers.values()))
        return web.Response()

    async with connected(app_of("GET", look)) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n" + (b"X: " + b"y" * 8000 + b"\r\n") * 125 + b"\r\n")
        assert b"200 OK" in await answer(reader)
    assert heads == [1_000_001]


@pytest.mark.parametrize("is_ours", [False, True])
async def test_aiohttp_drops_the_answer_to_a_client_that_has_closed_its_side_and_we_do_not(*, is_ours: bool) -> None:
    async def handle(_request: web.Request) -> web.Response:
        await closed.wait()
        return web.Response()

    closed = asyncio.Event()
    app = app_of("GET", handle)
    async with connected(app, our_runner(app) if is_ours else None) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        writer.write_eof()
        if not is_ours:
            assert await reader.read() == b""
        closed.set()
        assert (b"200 OK" in await reader.read()) is is_ours


async def test_aiohttp_logs_a_traceback_for_what_is_not_http_and_signs_its_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with connected(web.Application()) as (reader, writer):
        with caplog.at_level(logging.ERROR, "aiohttp.server"):
            writer.write(NOT_HTTP)
            sent = await answer(reader)
    assert b"400 Bad Request" in sent
    assert b"Server: Python" in sent
    assert b"text/plain" in sent
    assert [record.exc_info is not None for record in caplog.records] == [True]


async def test_unsigned_response_has_no_server_header() -> None:
    async def handle(_request: web.Request) -> web.Response:
        return UnsignedResponse()

    async with connected(app_of("GET", handle)) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        sent = await answer(reader)
    assert b"200 OK" in sent
    assert b"Server:" not in sent


@pytest.mark.parametrize("is_ours", [False, True])
async def test_aiohttp_keeps_the_last_response_of_a_connection_and_we_do_not(*, is_ours: bool) -> None:
    bodies: list[weakref.ref[Body]] = []

    async def handle(_request: web.Request) -> web.Response:
        body = Body(b"x" * 1000)
        bodies.append(weakref.ref(body))
        return web.Response(body=body)

    app = app_of("GET", handle)
    async with connected(app, our_runner(app) if is_ours else None) as (reader, writer):
        for _ in range(2):  # what the first one leaves is settled when the second one is answered
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await answer(reader)
        gc.collect()
        assert [body() is None for body in bodies] == [True, is_ours]


@pytest.mark.parametrize("is_ours", [False, True])
async def test_aiohttp_copies_all_of_an_answer_that_nobody_reads_and_we_do_not(*, is_ours: bool) -> None:
    body = os.urandom(2**20) * 64  # more than the kernel takes
    transports: list[asyncio.Transport] = []

    async def handle(request: web.Request) -> web.Response:
        assert request.transport is not None
        transports.append(request.transport)
        return web.Response(body=body)

    app = app_of("GET", handle)
    async with connected(app, our_runner(app) if is_ours else None) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: transports and transports[0].get_write_buffer_size())
        assert (transports[0].get_write_buffer_size() <= PIECE_BYTES) is is_ours
        assert (await answer(reader)).endswith(b"\r\n\r\n" + body)


async def test_file_response_replaces_the_validators_that_it_is_given(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")

    async def handle(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(file, headers={"ETag": '"mine"', "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT"})

    async with connected(app_of("GET", handle)) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        sent = await answer(reader)
        writer.write(b'GET / HTTP/1.1\r\nHost: x\r\nIf-Match: "mine"\r\n\r\n')
        refused = await answer(reader)
    assert b'"mine"' not in sent
    assert b"1970" not in sent
    assert b"412 Precondition Failed" in refused


async def test_file_response_that_cannot_open_its_file_is_404_with_the_files_headers(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.symlink_to(file)

    async def handle(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(file, headers={"Cache-Control": "max-age=31536000"})

    async with connected(app_of("HEAD", handle)) as (reader, writer):
        writer.write(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        sent = await reader.readuntil(b"\r\n\r\n")
    assert b"404 Not Found" in sent
    assert b"max-age=31536000" in sent


async def test_file_response_fails_when_it_is_prepared_twice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")

    async def handle(request: web.Request) -> web.FileResponse:
        response = web.FileResponse(file)
        await response.prepare(request)
        return response

    async with connected(app_of("GET", handle)) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.read()
    assert "Unhandled exception" in caplog.text
