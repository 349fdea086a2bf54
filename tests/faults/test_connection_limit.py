"""However many connections there are, a client that uses its connection gets in, and keeps it."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from io import BytesIO

import pytest

from service.web import connection_limit
from tests.support import wavs
from tests.support.client import Service, StartService
from tests.support.half_upload import half_upload
from tests.support.invariants import GOOD_WAV
from tests.support.raw import RawClient, connect, connect_with_small_buffer
from tests.support.resumable import begun

LIMIT = 20
# Its MP3 is larger than what the buffers between two sockets hold.
LONG_WAV = wavs.wav(bytes(200 * 48_000), sample_rate=48_000, channels=1, sample_format=wavs.U8)
GET_LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
async def limited(start_service: StartService, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setattr(connection_limit, "_LOOK_SECONDS", 0)
    return await start_service(max_connections=LIMIT)


@contextlib.asynccontextmanager
async def crowd(service: Service, count: int, request: bytes = b"") -> AsyncIterator[list[RawClient]]:
    """Open connections, send the same on each, and keep them."""
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for _ in range(count):
            client = await stack.enter_async_context(connect(service))
            await client.send(request)
            if request:
                await client.answer()
            clients.append(client)
        yield clients


@pytest.mark.parametrize("request_bytes", [b"", GET_LIVE], ids=["silent", "idle after an answer"])
async def test_unused_connections_make_room_for_one_that_is_used(limited: Service, request_bytes: bytes) -> None:
    account = await limited.create_user()
    async with crowd(limited, 3 * LIMIT, request_bytes):
        answer = await limited.upload(account, GOOD_WAV)
        assert answer.status == 201
        assert (await limited.get(answer.json["url"])).status == 200


async def test_upload_under_way_is_not_closed_for_newcomers(limited: Service) -> None:
    account = await limited.create_user()
    async with half_upload(limited, account, LONG_WAV) as (client, rest), crowd(limited, 3 * LIMIT, GET_LIVE):
        await client.send(rest)
        assert (await client.answer()).status == 201


async def test_download_that_is_read_outlives_those_that_are_not(limited: Service) -> None:
    account = await limited.create_user()
    mp3 = (await limited.upload(account, LONG_WAV, params={"bit_rate": "320000"})).json
    head = f"GET /records/{mp3['id']}.mp3 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(LIMIT - 2):
            unread = await stack.enter_async_context(connect_with_small_buffer(limited))
            await unread.send(head)
        reader = await stack.enter_async_context(connect(limited))
        await reader.send(head)
        reading = asyncio.create_task(read_slowly(reader, mp3["size"]))
        async with crowd(limited, LIMIT // 2, GET_LIVE):
            assert not reading.done()
            await asyncio.wait_for(reading, 30)


async def read_slowly(client: RawClient, byte_count: int) -> None:
    """Read at least so many bytes, piece by piece. Raises ConnectionError if the connection ends before."""
    while byte_count > 0:
        piece = await client.reader.read(65_536)
        if not piece:
            raise ConnectionError
        byte_count -= len(piece)
        await asyncio.sleep(0.005)


async def test_listener_through_another_process_outlives_the_unused(
    limited: Service, start_service: StartService
) -> None:
    """The holder of the upload cannot see what the listener takes; the other process counts its connection."""
    other = await start_service()
    upload = await begun(limited, await limited.create_user(), "tus", len(LONG_WAV))
    assert (await upload.append(BytesIO(LONG_WAV[:1_000_000]), 0)).status == 204
    async with other.client.get(f"/records/{upload.id}.mp3") as listening:
        assert listening.status == 200
        async with crowd(limited, 3 * LIMIT, GET_LIVE):
            assert (await upload.append(BytesIO(LONG_WAV[1_000_000:]), 1_000_000)).status == 204
            heard = await listening.read()
    assert hashlib.sha256(heard).hexdigest() == (await upload.record()).json["sha256"]


async def test_bodies_that_never_come_make_room_too(limited: Service) -> None:
    head = b"POST /users HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n{"
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3 * LIMIT):
            client = await stack.enter_async_context(connect(limited))
            await client.send(head)
        assert (await limited.get("/health/live")).status == 200


async def test_limit_is_seen_in_the_metrics(limited: Service) -> None:
    async with crowd(limited, 2 * LIMIT):
        text = (await limited.get("/metrics")).body.decode()
    assert f"wavepress_connections {float(LIMIT)}" in text or "wavepress_connections " in text
    assert "wavepress_connections_closed_total" in text
