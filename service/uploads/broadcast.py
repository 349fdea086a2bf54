"""Lets listeners have an MP3 while it is encoded."""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass

from service import metrics
from service.audio.mp3_outline import Mp3Outline
from service.storage.draft_files import translated_errors
from service.threads import in_thread

_PIECE_BYTES = 64 * 1024
# The draft is looked at so often. Each look wakes all listeners; so it is less often if there are many.
_LOOK_SECONDS = 0.05
_LOOK_SECONDS_FOR_EACH = 0.0005


class BroadcastBrokenError(Exception):
    """The upload has failed, or its MP3 is not the one that was announced: what a listener has is only a part."""


@dataclass(frozen=True, slots=True)
class _Newest:
    """The newest bytes of the MP3, and where they begin. All who listen to what comes share them."""

    start: int
    content: bytes

    @property
    def stop(self) -> int:
        return self.start + len(self.content)


class Broadcast:
    """What listeners get of one upload: an MP3 that grows, and that is whole only once its record is kept.

    The ingest has it `on_air` from the WAV's header to the record. Nobody gets the last byte of an MP3 of a known size
    before its record is kept.
    """

    def __init__(self) -> None:
        self.outline: Mp3Outline | None = None
        self.is_over = False
        self._draft: int | None = None  # the ingest's own descriptor
        self._copy = -1  # the listeners' descriptor of the same file
        self._newest = _Newest(0, b"")
        self._is_held_back = False
        self._final_size: int | None = None
        self._listener_count = 0
        self._is_looking = False
        self._news = asyncio.Event()

    @contextlib.asynccontextmanager
    async def on_air(self, outline: Mp3Outline, descriptor: int) -> AsyncIterator[None]:
        """Let listeners in for the length of the block; `descriptor` is the draft's.

        If the block ends without `announce_record`, listeners get BroadcastBrokenError.
        """
        self.outline, self._draft, self._newest = outline, descriptor, _Newest(0, outline.head)
        try:
            yield
        finally:
            self.is_over, self._draft = True, None
            self._wake()

    def hold_back(self) -> None:
        """Show nothing more before the record, if the size is not known: the last frames may still be cut off."""
        self._is_held_back = self.outline is not None and self.outline.size is None

    def announce_record(self, sample_count: int, size: int) -> None:
        """Let listeners have the rest: the record is kept, with `size` bytes of so many of the WAV's samples."""
        if self.outline is not None and self.outline.sample_count in {None, sample_count}:
            self._final_size = size

    @property
    def is_open(self) -> bool:
        """Whether somebody may begin to listen."""
        return self.outline is not None and not self.is_over

    @property
    def expected_size(self) -> int | None:
        """How many bytes the MP3 will have, or None if nobody knows."""
        return None if self.outline is None else self.outline.size

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Keep the MP3 readable for the length of the block. Begin only if `is_open`. Raises Unavailable."""
        if self._listener_count == 0:
            assert self._draft is not None  # noqa: S101 - the caller has asked `is_open`
            with translated_errors():
                self._copy = os.dup(self._draft)
        self._listener_count += 1
        metrics.LISTENERS.inc()
        try:
            yield
        finally:
            metrics.LISTENERS.dec()
            self._listener_count -= 1
            if self._listener_count == 0:
                os.close(self._copy)

    async def newest_frame(self) -> int:
        """Return where the newest whole frame begins. Raises Unavailable."""
        assert self.outline is not None  # noqa: S101 - the caller has asked `is_open`
        await self._look()
        return self.outline.newest_frame(self._newest.stop)

    async def pieces(self, start: int, stop: int | None) -> AsyncGenerator[bytes]:
        """Yield the MP3 from byte `start` up to `stop`, or to its end, as it comes. The caller is `listening`.

        A piece is empty if nothing has come, so that the caller can see whether its client is still there. Raises
        BroadcastBrokenError and Unavailable.
        """
        place = start
        while stop is None or place < stop:
            if self.is_over and self._final_size is None:
                raise BroadcastBrokenError
            edge = self._newest.stop if self._final_size is None else self._final_size
            if place < edge:
                piece = await self._read(place, edge if stop is None else min(edge, stop))
                place += len(piece)
                yield piece
            elif self._final_size is not None:
                return
            else:
                await self._wait()
                yield b""

    async def _read(self, start: int, stop: int) -> bytes:
        """Return at least one of the bytes from `start` up to `stop`. Raises BroadcastBrokenError and Unavailable."""
        head, newest = self._head, self._newest
        if start < len(head):
            return head[start:stop]
        if newest.start <= start < newest.stop:
            return newest.content[start - newest.start : stop - newest.start]
        with translated_errors():
            piece = await in_thread(os.pread, self._copy, min(stop - start, _PIECE_BYTES), start)
        if not piece:
            raise BroadcastBrokenError
        return piece

    async def _wait(self) -> None:
        """Wait until somebody has looked at the draft again. One of the listeners does it for all of them."""
        if self._is_looking:
            await self._news.wait()
            return
        self._is_looking = True
        try:
            seconds = max(_LOOK_SECONDS, _LOOK_SECONDS_FOR_EACH * self._listener_count)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), seconds)
            await self._look()
        finally:
            self._is_looking = False
            self._wake()

    async def _look(self) -> None:
        if self.outline is None or not self._shows_more():
            return
        with translated_errors():
            found = await in_thread(self._read_newest, self.outline)
        if self._shows_more() and found.stop > self._newest.stop:
            self._newest = found

    def _shows_more(self) -> bool:
        return not (self.is_over or self._is_held_back)

    def _read_newest(self, outline: Mp3Outline) -> _Newest:
        """Read the end of what is there and certain. Blocking. Raises OSError."""
        stop = os.fstat(self._copy).st_size
        if outline.certain_size is not None:
            stop = min(stop, outline.certain_size - (outline.size is not None))
        start = max(stop - _PIECE_BYTES, min(self._newest.stop, stop))
        return _Newest(start, os.pread(self._copy, stop - start, start))

    @property
    def _head(self) -> bytes:
        return b"" if self.outline is None else self.outline.head

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
