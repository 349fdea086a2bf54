"""More connections at once than the service can take: they wait in the kernel, and the log stays readable."""

import asyncio
import contextlib
import logging
import re
import socket
from collections.abc import Iterator

import pytest
import structlog
from aiohttp import web

from service.server import listen
from tests.support.client import Service
from tests.support.descriptors import descriptors_left
from tests.support.waiting import until

REQUEST = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextlib.contextmanager
def sockets(count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.socket()) for _ in range(count)]


async def test_connections_that_come_all_at_once_wait_in_the_kernel() -> None:
    runner = web.AppRunner(web.Application())
    await runner.setup()
    try:
        await listen(runner, "127.0.0.1", 0)
        with sockets(500) as crowd:
            for client in crowd:  # without a turn of the loop in between
                client.settimeout(1)
                client.connect(runner.addresses[0])
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])  # noqa: S104 - for a moment
async def test_every_address_of_the_host_is_listened_at(host: str) -> None:
    runner = web.AppRunner(web.Application())
    await runner.setup()
    try:
        await listen(runner, host, 0)
        places = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        assert {address[0] for address in runner.addresses} == {str(place[4][0]) for place in places}
    finally:
        await runner.cleanup()


async def test_address_that_this_machine_does_not_have_is_an_error() -> None:
    runner = web.AppRunner(web.Application())
    await runner.setup()
    with pytest.raises(OSError, match=re.escape("Cannot listen on 192.0.2.1:8001")):
        await listen(runner, "192.0.2.1", 8001)
    await runner.cleanup()


async def test_running_out_of_descriptors_is_one_line_a_second_and_passes(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.get_running_loop()
    place = (service.url.host, service.url.port)
    with sockets(50) as crowd, structlog.testing.capture_logs() as events, caplog.at_level(logging.WARNING):
        with descriptors_left(0):
            for client in crowd:
                client.settimeout(0)
                await loop.sock_connect(client, place)
                await loop.sock_sendall(client, REQUEST)
            await until(lambda: events)
            for _ in range(20):
                await asyncio.sleep(0)
        async with asyncio.timeout(5):
            for client in crowd:
                assert (await loop.sock_recv(client, 100)).startswith(b"HTTP/1.1 200")
    assert [event["event"] for event in events] == ["connections_wait"]
    assert caplog.records == []
