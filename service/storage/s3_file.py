"""Reads objects from an S3-compatible store, as fast as their reader takes them."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from obstore.exceptions import BaseError
from obstore.store import S3Store

from service.storage.draft_files import unavailable
from service.storage.s3_errors import failed

# A reader is given pieces of this size. All that is held for one who pauses is a piece.
_PIECE_BYTES = 16 * 1024
# One request brings so much at first, and twice as much each time while its reader keeps up.
_FIRST_BYTES = 64 * 1024
_MOST_BYTES = 256 * 1024
# How long a request may wait until it is one of the few that run.
_TURN_SECONDS = 20
# A reader who takes longer for a piece pauses.
_PAUSE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class S3File:
    """One object. `turns` bounds the requests that run at a time, and so what they hold."""

    store: S3Store
    key: str
    turns: asyncio.Semaphore

    async def read(self, start: int, stop: int) -> AsyncGenerator[bytes]:
        """Yield bytes, as `RemoteFile.read` says.

        No connection to the store is held for a reader. When it pauses, what it has not taken is dropped, and
        asked for again.
        """
        loop = asyncio.get_running_loop()
        byte_count = _FIRST_BYTES
        while start < stop:
            brought = _Brought(await self._get(start, min(start + byte_count, stop)))
            while piece := brought.next_piece():
                pause = loop.call_later(_PAUSE_SECONDS, brought.drop)
                yield piece
                pause.cancel()
                start += len(piece)
            byte_count = _FIRST_BYTES if brought.is_dropped else min(2 * byte_count, _MOST_BYTES)

    async def _get(self, start: int, stop: int) -> bytes:
        try:
            async with self._turn():
                content = bytes(await self.store.get_range_async(self.key, start=start, end=stop))
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise failed(error) from error
            raise
        except BaseError as error:
            raise failed(error) from error
        if len(content) != stop - start:
            raise unavailable(f"an object has fewer than {stop} bytes")
        return content

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await self.turns.acquire()
        except TimeoutError as error:
            raise unavailable("too many reads wait for the store") from error
        try:
            yield
        finally:
            self.turns.release()


class _Brought:
    """What one request has brought, and its reader has not taken."""

    def __init__(self, content: bytes) -> None:
        self.is_dropped = False
        self._content = memoryview(content)

    def next_piece(self) -> bytes:
        """Return the next bytes; none at the end, or once they are dropped."""
        piece, self._content = bytes(self._content[:_PIECE_BYTES]), self._content[_PIECE_BYTES:]
        return piece

    def drop(self) -> None:
        """Let go of it, because the reader pauses."""
        self.is_dropped = True
        self._content = memoryview(b"")
