"""The bytes of an upload that arrive in several requests, one after another."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from service.errors import ClientGone, ClientStalled, MalformedRequest, ServiceError, Unavailable
from service.refusals import CLIENT_GONE, INCONSISTENT_LENGTH, MISMATCHING_OFFSET, UPLOAD_COMPLETED, UPLOAD_EXPIRED
from service.uploads.encoder_slot import EncoderSlot

# These end a request, and not its upload: the client may come back and go on.
_REQUEST_ERRORS = (ClientGone, ClientStalled, MalformedRequest)


@dataclass(eq=False, slots=True)
class Attachment:
    """A request that brings more bytes of an upload.

    `is_last` says that nothing follows it. `cut` ends its connection, and `is_abandoned` tells whether its client has
    gone. `taken` is done when all its bytes are taken, or has the error that ended it. It is not done if nothing
    follows: then the upload's own end tells.
    """

    pieces: AsyncIterator[bytes]
    is_last: bool
    cut: Callable[[], None]
    is_abandoned: Callable[[], bool]
    taken: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def end(self, error: ServiceError | None = None) -> None:
        """Tell the request that it has ended, and why."""
        if self.taken.done():
            return
        if error is None:
            self.taken.set_result(None)
        else:
            self.taken.set_exception(error)
            self.taken.exception()  # its client may have gone, so that nobody asks


class ResumableBody:
    """The pieces of an upload, in whatever requests they come.

    Between two requests it keeps its encoder slot for `stall_seconds`. Then it is suspended until `resume_seconds`
    after its last byte. `length` is the upload's length in bytes, or None if it is not known yet; with
    `ends_at_length` the upload is whole as soon as it has that length. `offset` is how many bytes the encoder has.
    """

    def __init__(
        self, length: int | None, *, ends_at_length: bool, stall_seconds: float, resume_seconds: float
    ) -> None:
        self.length = length
        self.offset = 0
        self.is_whole = False
        self.is_suspended = False
        self.suspended_seconds = 0.0
        self._ends_at_length = ends_at_length
        self._stall_seconds = stall_seconds
        self._resume_seconds = resume_seconds
        self._last_byte_at = time.monotonic()
        self._current: Attachment | None = None
        self._changed = asyncio.Event()
        self._end: ServiceError | None = None

    @property
    def resumable_until(self) -> datetime:
        """Until when the next request must come."""
        left = self._last_byte_at + self._resume_seconds - time.monotonic()
        return datetime.now(UTC) + timedelta(seconds=left)

    async def settle(self) -> int:
        """End the request that brings bytes now, if there is one, and return the offset at which to go on.

        A client that asks has given up its earlier request, even if we have not noticed that yet.
        """
        while self._current is not None and not self.is_whole:
            self._current.cut()
            await asyncio.wait({self._current.taken})
        return self.offset

    def declare_length(self, length: int) -> None:
        """Say how long the upload is. Raises MalformedRequest if it was said differently, or has more already."""
        if self.length not in {None, length} or length < self.offset:
            raise INCONSISTENT_LENGTH(length=self.offset if self.length is None else self.length, given=length)
        self.length = length

    async def attach(self, attachment: Attachment, offset: int, byte_count: int | None) -> None:
        """Take the bytes of a request from now on, in place of those of an earlier one.

        `byte_count` is how many it says that it brings, or None. Raises Conflict if `offset` is not where the upload
        goes on, and MalformedRequest if it has ended, or if its length does not allow the bytes. A request that brings
        nothing to a whole upload only waits for its end. Raises ClientGone if its client has gone meanwhile: it must
        not win over a newer request.
        """
        # A request whose client has gone must not cut another; one that waits for the encoder may lose its client.
        known = self.offset if attachment.is_abandoned() else await self.settle()
        if attachment.is_abandoned():
            raise CLIENT_GONE()
        if offset != known:
            raise MISMATCHING_OFFSET(expected=known, provided=offset)
        if self.is_whole:
            if byte_count:
                raise UPLOAD_COMPLETED()
            async for _ in attachment.pieces:  # it did not say how many it brings
                raise UPLOAD_COMPLETED()
            return
        if byte_count is not None:
            self._check_length(offset + byte_count, is_last=attachment.is_last)
        self._current = attachment
        self._changed.set()

    def end(self, error: ServiceError) -> None:
        """End the upload with this error, and cut the request that brings bytes now."""
        self._end = error
        if self._current is not None:
            self._current.cut()
        self._changed.set()

    def close(self) -> None:
        """Tell those who wait for something that the upload has ended."""
        self._let_go(UPLOAD_COMPLETED())

    async def pieces(self, slot: EncoderSlot) -> AsyncIterator[bytes]:
        """Yield the bytes of all requests.

        Raises NotFound if the next request comes too late, Unavailable if the upload would have to be suspended and
        may not, and the error of `end`.
        """
        while not self.is_whole:
            attachment = await self._next(slot)
            try:
                async for piece in attachment.pieces:
                    self._check_length(self.offset + len(piece), is_last=False)
                    yield piece
                    self.offset += len(piece)
                    del piece  # else it would stay until the next one comes
                    self._last_byte_at = time.monotonic()
                    self._raise_end()
                is_last = attachment.is_last or (self._ends_at_length and self.offset == self.length)
                self._check_length(self.offset, is_last=is_last)
            except _REQUEST_ERRORS as error:
                self._let_go(error)
            else:
                self.is_whole = is_last
                if not is_last:
                    self._let_go()

    async def _next(self, slot: EncoderSlot) -> Attachment:
        if not await self._arrives(self._stall_seconds):
            slot.suspend()
            began_at, self.is_suspended = time.monotonic(), True
            try:
                await self._resumed(slot)
            finally:
                self.is_suspended = False
                self.suspended_seconds += time.monotonic() - began_at
        assert self._current is not None  # noqa: S101 - it has arrived
        return self._current

    async def _resumed(self, slot: EncoderSlot) -> None:
        """Wait for a request, and for a slot."""
        while True:
            if not await self._arrives(self._last_byte_at + self._resume_seconds - time.monotonic()):
                raise UPLOAD_EXPIRED(seconds=self._resume_seconds)
            try:
                await slot.take_again(self._is_abandoned)
            except (Unavailable, ClientGone) as error:
                self._let_go(error)  # the upload stays, and the client may try again
            else:
                return

    def _is_abandoned(self) -> bool:
        return self._end is not None or self._current is None or self._current.is_abandoned()

    async def _arrives(self, seconds: float) -> bool:
        """Wait for a request, and return whether one is there. Raises the error of `end`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._current is None and self._end is None:
                    self._changed.clear()
                    await self._changed.wait()
        self._raise_end()
        return self._current is not None

    def _raise_end(self) -> None:
        if self._end is not None:
            raise self._end

    def _check_length(self, end: int, *, is_last: bool) -> None:
        if self.length is not None and (end > self.length or (is_last and end != self.length)):
            raise INCONSISTENT_LENGTH(length=self.length, given=end)

    def _let_go(self, error: ServiceError | None = None) -> None:
        """End the request that brings bytes."""
        attachment, self._current = self._current, None
        if attachment is not None:
            attachment.end(error)
