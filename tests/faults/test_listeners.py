"""Listeners of an upload under way that hang up, stall, or come in crowds harm neither it nor each other."""

import asyncio
import os
from pathlib import Path
from uuid import UUID

import aiohttp
import numpy as np
import pytest

from service import metrics
from service.web.app_keys import LIVE_UPLOADS
from tests.support import wavs
from tests.support.client import Account, Service
from tests.support.invariants import invariants_hold
from tests.support.listening import begin, listening
from tests.support.raw import RawClient, connect
from tests.support.waiting import until

SECONDS, RATE = 20, 44_100
WAV = wavs.wav(np.random.default_rng(9).uniform(-0.5, 0.5, (SECONDS * RATE, 2)), sample_rate=RATE, channels=2)
HALF = len(WAV) // 2
HEARD = 100_000


def listeners() -> float:
    found = metrics.registry().get_sample_value("wavepress_listeners")
    return found or 0.0


async def ask(client: RawClient, path: str) -> None:
    await client.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_listener_that_hangs_up_is_gone_and_harms_nobody(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    async with invariants_hold(service, caplog):
        upload = await begin(service, account, WAV, until_byte=HALF)
        async with listening(service, upload.path) as other, connect(service) as client:
            await ask(client, upload.path)
            await client.reader.readexactly(HEARD)
            assert listeners() == 2
            client.reset() if how == "reset" else await client.close()
            upload.paced.release()
            assert (await upload.answer).status == 201
            assert await other.all() == (await service.get(upload.path)).body
        await until(lambda: listeners() == 0)


async def test_listener_that_reads_nothing_does_not_slow_the_upload_down(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    async with invariants_hold(service, caplog):
        upload = await begin(service, account, WAV, until_byte=HALF)
        async with connect(service) as idle:
            await ask(idle, upload.path)
            await idle.reader.readline()
            idle.reader._transport.pause_reading()  # type: ignore[attr-defined] # noqa: SLF001
            upload.paced.release()
            assert (await upload.answer).status == 201
            assert listeners() <= 1
            idle.reset()
        await until(lambda: listeners() == 0)


async def test_crowd_that_comes_and_goes_gets_the_same_bytes(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    async with invariants_hold(service, caplog):
        upload = await begin(service, account, WAV, until_byte=HALF)

        async def stay() -> bytes:
            async with service.client.get(upload.path) as response:
                return await response.read()

        async def leave(after: int) -> None:
            async with connect(service) as client:
                await ask(client, upload.path)
                await client.reader.readexactly(after)
                client.reset()

        staying = [asyncio.create_task(stay()) for _ in range(20)]
        await asyncio.gather(*(leave(1_000 + 1_000 * number) for number in range(60)))
        upload.paced.release()
        assert (await upload.answer).status == 201
        bodies = await asyncio.gather(*staying)
        assert set(bodies) == {(await service.get(upload.path)).body}
        await until(lambda: listeners() == 0)


async def test_draft_that_cannot_be_read_breaks_the_connection_and_harms_no_upload(
    service: Service, account: Account, tmp_path: Path
) -> None:
    upload = await begin(service, account, WAV, until_byte=HALF)
    async with listening(service, upload.path) as listener:
        await listener.hears(HEARD)
        live = service.app[LIVE_UPLOADS].find(UUID(upload.id))
        assert live is not None
        unreadable = os.open(tmp_path / "unreadable", os.O_WRONLY | os.O_CREAT)
        os.dup2(unreadable, live.broadcast._copy)  # noqa: SLF001 - no public call breaks a draft
        os.close(unreadable)
        upload.paced.release()
        with pytest.raises(aiohttp.ClientError):
            await listener.all()
    answer = await upload.answer
    assert answer.status == 201
    assert (await service.get(upload.path)).body.startswith(bytes(listener.heard))


@pytest.mark.parametrize("how_many", [12, pytest.param(100, marks=pytest.mark.long)])
@pytest.mark.timeout(200)
async def test_listeners_who_join_at_any_moment_know_the_duration_and_get_every_byte(
    service: Service, account: Account, how_many: int
) -> None:
    """The WAV comes at a steady pace, as a recording does. Each listener joins at a moment of its own."""
    upload = await begin(service, account, WAV, until_byte=len(WAV) // 20)
    steps = max(how_many, 40)
    listening_ = []

    async def listen() -> tuple[float, int, bytes]:
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        async with service.client.get(upload.path) as response:
            size, seconds = int(response.headers["Content-Length"]), loop.time() - asked_at
            return seconds, size, await response.read()

    for step in range(1, steps + 1):
        if step <= how_many:
            listening_.append(asyncio.create_task(listen()))
        upload.paced.release(len(WAV) // 20 + (len(WAV) * 19 // 20) * step // steps)
        await asyncio.sleep(0.03)
    upload.paced.release()
    assert (await upload.answer).status == 201
    kept = (await service.get(upload.path)).body
    for seconds, size, heard in await asyncio.gather(*listening_):
        assert (size, heard) == (len(kept), kept)
        assert seconds < 3
