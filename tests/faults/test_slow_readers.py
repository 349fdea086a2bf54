"""Clients that take an answer slowly, or keep their connection after it, hold next to nothing of ours."""

import asyncio
import contextlib
import os
import re
import socket
import struct
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from tests.support import s3, wavs
from tests.support.client import TRANSPORTS, Service, StartService
from tests.support.invariants import GOOD_WAV, invariants_hold
from tests.support.procfs import descriptors, forget_peak, peak_resident_bytes, resident_bytes
from tests.support.raw import RawClient, connect, connect_with_small_buffer, framed, request_head

KIBIBYTE = 1024
READERS = 200
# For each reader: Python's objects for both ends of its connection, and up to 64 KiB of its answer.
MOST_BYTES = 200 * KIBIBYTE
MOST_KERNEL_BYTES = 1024 * KIBIBYTE
# Python has no name for it. Its figures: received, 1, sent, 3, allocated ahead, queued to be sent, and others.
_SO_MEMINFO, _MEMORY = 55, struct.Struct("=9I")
ASSET = "/docs/swagger-ui-bundle.js"


@pytest.fixture(params=["disk", "s3"])
async def service(request: pytest.FixtureRequest, start_service: StartService) -> Service:
    if request.param == "disk":
        return await start_service()
    return await start_service(**s3.settings(request.getfixturevalue("s3_endpoint_url"), uuid4().hex))


async def keep_large_mp3(service: Service) -> str:
    """Keep an MP3 of 8 MB, and return its path."""
    account = await service.create_user()
    silence = wavs.wav(bytes(200 * 48_000), sample_rate=48_000, channels=1, sample_format=wavs.U8)
    answer = await service.upload(account, silence, params={"bit_rate": "320000"})
    assert (answer.status, answer.json["size"] > 7_900_000) == (201, True)
    return f"/records/{answer.json['id']}.mp3"


@contextlib.asynccontextmanager
async def readers_of(service: Service, path: str, taken_bytes: int) -> AsyncIterator[None]:
    """Have many clients ask for a file, take so much of it, and then nothing more."""
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect_with_small_buffer(service)) for _ in range(READERS)]
        await asyncio.gather(*(take(client, path, taken_bytes) for client in clients))
        yield


async def take(client: RawClient, path: str, byte_count: int) -> None:
    """Ask for a file, read so much of the answer and forget it."""
    await client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    while byte_count > 0:
        byte_count -= len(await client.reader.readexactly(min(byte_count, 4096)))


def kernel_bytes() -> int:
    """Return what the kernel keeps for this process's TCP connections, both ends of them."""
    byte_count = 0
    for number, target in descriptors():
        if target.startswith("socket:"):
            with socket.socket(fileno=os.dup(number)) as connection:
                if connection.family in {socket.AF_INET, socket.AF_INET6}:
                    figures = _MEMORY.unpack(connection.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMORY.size))
                    byte_count += figures[0] + figures[4] + figures[5]
    return byte_count


@pytest.mark.parametrize("taken_bytes", [1000, 256 * KIBIBYTE], ids=["at once", "after a while"])
async def test_readers_that_stop_hold_next_to_nothing(service: Service, taken_bytes: int) -> None:
    path = await keep_large_mp3(service)
    account = await service.create_user("another")
    before, kernel_before = resident_bytes(os.getpid()), kernel_bytes()
    forget_peak(os.getpid())
    async with readers_of(service, path, taken_bytes):
        for _ in range(5):  # others are served meanwhile
            assert (await service.get(path, headers={"Range": "bytes=0-99999"})).status == 206
            assert (await service.upload(account, GOOD_WAV)).status == 201
        assert peak_resident_bytes(os.getpid()) - before < READERS * MOST_BYTES
        assert kernel_bytes() - kernel_before < READERS * MOST_KERNEL_BYTES


async def test_connections_that_are_kept_after_an_answer_hold_nothing_of_it(
    start_service: StartService, caplog: pytest.LogCaptureFixture
) -> None:
    service = await start_service()
    async with invariants_hold(service, caplog), contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(service)) for _ in range(READERS)]
        before = resident_bytes(os.getpid())
        for client in clients:
            assert await length_of(client, ASSET) > 1_000_000
        assert resident_bytes(os.getpid()) - before < READERS * MOST_BYTES


def head_of(byte_count: int) -> bytes:
    """Return a request's head without its end, of headers that aiohttp takes each by itself."""
    line = b"X: " + b"y" * 4000 + b"\r\n"
    return b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n" + line * (byte_count // len(line))


async def test_head_that_is_long_but_usual_is_taken_and_a_longer_one_ends_the_connection(
    start_service: StartService, caplog: pytest.LogCaptureFixture
) -> None:
    service = await start_service()
    async with invariants_hold(service, caplog):
        async with connect(service) as client:
            for _ in range(3):  # each by itself
                await client.send(head_of(30 * KIBIBYTE) + b"\r\n")
                assert (await client.answer()).status == 200
        for end in (b"", b"\r\n"):
            async with connect(service) as client:
                await client.send(head_of(40 * KIBIBYTE) + end)
                assert await client.is_closed_by_service()


async def test_long_head_behind_a_download_that_stops_ends_the_connection(
    start_service: StartService, s3_endpoint_url: str
) -> None:
    """While sendfile sends a file from the disk, nothing is read at all."""
    service = await start_service(**s3.settings(s3_endpoint_url, uuid4().hex))
    path = await keep_large_mp3(service)
    async with connect_with_small_buffer(service) as client:
        await take(client, path, 1000)
        await client.send(head_of(40 * KIBIBYTE))
        with contextlib.suppress(ConnectionError):
            assert len(await client.reader.read()) < 7_900_000


async def test_body_that_comes_together_with_its_head_is_not_taken_for_one(service: Service) -> None:
    account = await service.create_user()
    wav = wavs.wav(bytes(100 * KIBIBYTE), sample_rate=44100, channels=1)
    async with connect(service) as client:
        for transport in TRANSPORTS * 2:
            await client.send(request_head(account, transport, len(wav)) + framed(wav, transport))
            assert (await client.answer()).status == 201


async def length_of(client: RawClient, path: str) -> int:
    """Ask for a file, read all of it, forget it and return its length."""
    await take(client, path, 0)
    head = (await client.reader.readuntil(b"\r\n\r\n")).decode().lower()
    found = re.search(r"content-length: (\d+)", head)
    assert found is not None
    left = int(found[1])
    while left > 0:
        left -= len(await client.reader.read(min(left, 64 * KIBIBYTE)))
    return int(found[1])
