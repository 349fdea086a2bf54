"""Reads a request's body, within limits on its size, its pace and its pauses."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from service.refusals import (
    CLIENT_GONE,
    CONTENT_ENCODED,
    EXPECTATION_FAILED,
    MALFORMED_BODY,
    SLOW_BODY,
    STALLED_BODY,
    TOO_LARGE,
    TOO_MANY_FIELDS,
)
from service.web.aiohttp_guards import arrived

if TYPE_CHECKING:
    from service.web.connection_limit import LimitedConnection

# aiohttp stops reading when twice as much waits for us. An upload that waits for its encoder holds it.
READ_AHEAD_BYTES = 64 * 1024
# How much a multipart body may have around its file: boundaries, headers, fields.
ENVELOPE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How large a body may be, how long it may pause, and how fast it must arrive."""

    max_upload_bytes: int
    stall_seconds: float
    min_bytes_per_second: int


class Body:
    """A request's body, read piece by piece; it has the methods that aiohttp's multipart reader needs.

    The first read sends "100 Continue" to a client that waits for it, so a request that is refused earlier costs no
    byte of its body. Reads raise ClientStalled, ClientGone and MalformedRequest. `allowance` is how many more bytes of
    a form may be read; a read beyond it raises MalformedRequest.
    """

    def __init__(self, request: web.Request, limits: BodyLimits) -> None:
        self._request = request
        self._content = request.content
        self._connection = cast("LimitedConnection", request.protocol)
        self._limits = limits
        self._awaits_continue = hdrs.EXPECT in request.headers and request.version >= HttpVersion11
        self._waited_seconds = 0.0
        self._received = 0
        self.allowance = math.inf

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives, in pieces of any size, because cutting them would copy them."""
        while piece := self._arrived() or await self._next():
            yield piece
            del piece  # else it would stay until the next one comes

    async def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size`. Returns b"" at the end."""
        return self._arrived(size) or await self._guarded(partial(self._content.read, size))

    async def readline(self, *, max_line_length: int | None = None) -> bytes:
        """Return the next line with its end."""
        return await self._guarded(partial(self._content.readline, max_line_length=max_line_length))

    def at_eof(self) -> bool:
        """Return whether everything has been read."""
        return self._content.at_eof()

    def unread_data(self, unread: bytes) -> None:
        """Put bytes back in front."""
        self.allowance += len(unread)
        self._content.unread_data(unread)

    def _arrived(self, size: int = -1) -> bytes:
        """Return what has arrived, at most `size` bytes, also before the connection broke.

        It takes a quarter of the time of a read that may wait.
        """
        return b"" if self._awaits_continue else self._counted(arrived(self._content, size), 0.0)

    async def _next(self) -> bytes:
        if self._content.at_eof() and self._content.exception() is None:
            return b""
        return await self._guarded(self._content.readany)

    async def _guarded(self, read: Callable[[], Awaitable[bytes]]) -> bytes:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(self._limits.stall_seconds):
                self._connection.awaits_body, self._connection.is_in_our_hands = True, False
                await self._send_continue()
                piece = await read()
        except TimeoutError as error:
            raise STALLED_BODY(seconds=self._limits.stall_seconds, offset=self._content.total_bytes) from error
        except LineTooLong:
            raise  # the form's reader refuses its own lines
        except (web.RequestPayloadError, HttpProcessingError) as error:
            raise MALFORMED_BODY() from error
        except (ConnectionError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and self._request.transport is not None:
                raise
            raise CLIENT_GONE() from error
        finally:
            self._connection.awaits_body, self._connection.is_in_our_hands = False, True
        return self._counted(piece, loop.time() - started)

    def _counted(self, piece: bytes, waited_seconds: float) -> bytes:
        self._check_pace(waited_seconds, len(piece))
        self.allowance -= len(piece)
        if self.allowance < 0:
            raise TOO_MANY_FIELDS(max_bytes=ENVELOPE_BYTES)
        return piece

    async def _send_continue(self) -> None:
        if not self._awaits_continue:
            return
        self._awaits_continue = False
        await self._request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._request.writer.output_size = 0  # nothing of the answer itself has been sent

    def _check_pace(self, waited_seconds: float, byte_count: int) -> None:
        """Refuse a slow client, by what it sent while we waited for it. Our own time does not count."""
        self._waited_seconds += waited_seconds
        self._received += byte_count
        if self._waited_seconds < self._limits.stall_seconds:
            return
        if self._received < self._limits.min_bytes_per_second * self._waited_seconds:
            least = self._limits.min_bytes_per_second
            raise SLOW_BODY(min_bytes_per_second=least, offset=self._content.total_bytes)
        self._waited_seconds, self._received = 0.0, 0


async def defer_continue(_request: web.Request) -> None:
    """Send nothing, because the body's first read sends "100 Continue". This is the expect handler of every route."""


def check_expectation(request: web.Request) -> None:
    """Raise ExpectationFailed if the request expects something other than "100 Continue".

    HTTP/1.0 has no expectations: RFC 9110 10.1.1 wants them ignored there.
    """
    is_other = request.headers.get(hdrs.EXPECT, "100-continue").lower() != "100-continue"
    if is_other and request.version >= HttpVersion11:
        raise EXPECTATION_FAILED()


def check_headers(request: web.Request, limits: BodyLimits) -> None:
    """Refuse a body that its headers show to be unacceptable.

    Raises UnsupportedMedia if it is encoded, and TooLarge if its declared size is too large.
    """
    if request.headers.get(hdrs.CONTENT_ENCODING, "").strip().lower() not in {"", "identity"}:
        raise CONTENT_ENCODED()
    envelope = ENVELOPE_BYTES if request.content_type.startswith("multipart/") else 0
    if (request.content_length or 0) > limits.max_upload_bytes + envelope:
        raise TOO_LARGE(max_bytes=limits.max_upload_bytes)
