"""An upload that stays under way for as long as a test needs it."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.client import Account, Service, Transport
from tests.support.procfs import encoders
from tests.support.raw import RawClient, connect, framed, request_head
from tests.support.waiting import until


@asynccontextmanager
async def half_upload(
    service: Service, account: Account, wav: bytes, transport: Transport = "raw", headers: tuple[str, ...] = ()
) -> AsyncIterator[tuple[RawClient, bytes]]:
    """Send half of an upload and wait until it is encoded, and so has its slot and its lease.

    Yields the client and the other half of the body.
    """
    body = framed(wav, transport)
    before = encoders(os.getpid())
    async with connect(service) as client:
        await client.send(request_head(account, transport, len(wav), *headers) + body[: len(body) // 2])
        await until(lambda: encoders(os.getpid()) - before)
        yield client, body[len(body) // 2 :]
