"""Listeners of uploads that are under way."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.support.client import Account, Service
from tests.support.waiting import until


class Paced:
    """A WAV that is sent only as far as a test has released it."""

    def __init__(self, wav: bytes) -> None:
        self.wav = wav
        self._released = 0
        self._news = asyncio.Event()

    def release(self, byte_count: int | None = None) -> None:
        """Let bytes up to this place go; without it, the rest."""
        self._released = len(self.wav) if byte_count is None else byte_count
        self._news.set()

    async def pieces(self) -> AsyncIterator[bytes]:
        place = 0
        while place < len(self.wav):
            await self._news.wait()
            self._news.clear()
            while place < self._released:
                yield self.wav[place : (place := min(place + 20_000, self._released))]


@dataclass(frozen=True)
class LiveUpload:
    """An upload that a test sends piece by piece; `path` is the address of its MP3."""

    paced: Paced
    id: str
    path: str
    answer: asyncio.Task[Any]


async def begin(
    service: Service,
    account: Account,
    wav: bytes,
    *,
    until_byte: int,
    is_length_known: bool = True,
    params: dict[str, str] | None = None,
) -> LiveUpload:
    """Send a WAV as far as `until_byte`, and return when somebody can listen to it."""
    paced = Paced(wav)
    paced.release(until_byte)
    length = {"Content-Length": str(len(wav))} if is_length_known else {}
    request = service.put(
        "/records/talk.wav", data=paced.pieces(), headers=account.headers | length, params=params or {}
    )
    known = {upload["id"] for upload in (await uploads(service, account))}
    answer = asyncio.create_task(request)
    answer.add_done_callback(lambda done: done.cancelled() or done.exception())  # tests that break it do not ask
    found: list[str] = []

    async def look() -> None:
        found[:] = [one["id"] for one in await uploads(service, account) if one["bit_rate"] and one["id"] not in known]

    for _ in range(2000):
        await look()
        if found or answer.done():
            break
        await asyncio.sleep(0.005)
    assert found, answer
    path = f"/records/{found[0]}.mp3"

    async def is_on_air() -> bool:
        return (await service.request("HEAD", path)).status == 200

    for _ in range(2000):
        if await is_on_air():
            break
        await asyncio.sleep(0.005)
    return LiveUpload(paced, found[0], path, answer)


async def uploads(service: Service, account: Account) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await service.get("/uploads", headers=account.headers)).json["uploads"]
    return found


class Listener:
    """A client that takes an MP3 while it comes."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.heard = bytearray()
        self.error: Exception | None = None
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        try:
            async for piece in self.response.content.iter_any():
                self.heard += piece
        except aiohttp.ClientError as error:
            self.error = error

    async def hears(self, byte_count: int) -> None:
        """Wait until it has so many bytes, or until the answer has ended."""
        await until(lambda: len(self.heard) >= byte_count or self._listening.done())
        assert len(self.heard) >= byte_count, self.error

    async def all(self) -> bytes:
        """Wait for the end of the answer, and return what was heard. Raises the error that ended it."""
        async with asyncio.timeout(30):
            await asyncio.wait({self._listening})
        if self.error is not None:
            raise self.error
        return bytes(self.heard)

    def hang_up(self) -> None:
        self._listening.cancel()
        self.response.close()


@contextlib.asynccontextmanager
async def listening(service: Service, path: str, **options: Any) -> AsyncIterator[Listener]:
    """Listen to an MP3 for the length of the block."""
    async with service.client.get(path, **options) as response:
        listener = Listener(response)
        try:
            yield listener
        finally:
            listener.hang_up()
