"""What a process that others replace does for the connections that it has."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from service.app import create_app
from service.server import make_runner
from service.settings import Settings
from service.web.app_keys import ENDS
from tests.support.invariants import GOOD_WAV
from tests.support.waiting import until


@pytest.fixture
async def runner(database_url: str, tmp_path: Path) -> AsyncIterator[web.AppRunner]:
    """A service that listens, as a worker does."""
    settings = Settings.model_validate({"data_dir": tmp_path / "data"})
    runner = make_runner(create_app(settings, database_url), can_restart=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner
    await runner.cleanup()


async def test_upload_is_taken_on_a_connection_that_is_older_than_the_restart(runner: web.AppRunner) -> None:
    host, port = runner.addresses[0][:2]
    url = f"http://{host}:{port}"
    async with ClientSession(url) as session, session.post("/users", json={"username": "ann"}) as user:
        token = (await user.json())["token"]
    reader, writer = await asyncio.open_connection(host, port)
    ended = asyncio.create_task(runner.cleanup())
    await until(runner.app[ENDS].is_set)
    head = f"PUT /records/talk.wav HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
    writer.write(f"{head}Content-Length: {len(GOOD_WAV)}\r\n\r\n".encode() + GOOD_WAV)
    answer = await reader.read()  # to the end of the connection
    assert answer.startswith(b"HTTP/1.1 201 "), answer
    assert b"\r\nConnection: close\r\n" in answer
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    await ended


async def test_idle_connections_end_with_the_restart(runner: web.AppRunner) -> None:
    reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
    await reader.readuntil(b"}\n")
    ended = asyncio.create_task(runner.cleanup())
    assert await reader.read() == b""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    await ended
