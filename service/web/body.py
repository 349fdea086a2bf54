"""Reads a request's body under limits: a client that stalls, trickles, hangs up or never ends is told so."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass

from aiohttp import hdrs, web
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

PIECE_BYTES = 64 * 1024
# What a multipart body may have around its file: boundaries, headers, fields.
ENVELOPE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How large, how still and how slow a body may be."""

    max_upload_bytes: int
    stall_seconds: float
    min_bytes_per_second: int


class Body:
    """A request's body, read piece by piece; it has the methods that aiohttp's multipart reader needs.

    The first read tells a client that waits for "100 Continue" to go on, so whatever is refused before it is
    refused without a byte of the body on the wire. Reads raise ClientStalled, ClientGone and MalformedRequest.
    `allowance` is how many more bytes may be read: past it, MalformedRequest.
    """

    def __init__(self, request: web.Request, limits: BodyLimits) -> None:
        self._request = request
        self._content = request.content
        self._limits = limits
        self._awaits_continue = hdrs.EXPECT in request.headers
        self._waited_seconds = 0.0
        self._received = 0
        self.allowance = limits.max_upload_bytes + 2 * ENVELOPE_BYTES

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives: what is here, however much, for to cut it would be to copy it."""
        while piece := await self._guarded(self._content.readany()):
            yield piece

    async def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size`; none at the end."""
        return await self._guarded(self._content.read(size))

    async def readline(self, *, max_line_length: int | None = None) -> bytes:
        """Return the next line with its end."""
        return await self._guarded(self._content.readline(max_line_length=max_line_length))

    def at_eof(self) -> bool:
        """Say whether everything has been read."""
        return self._content.at_eof()

    def unread_data(self, unread: bytes) -> None:
        """Put bytes back in front."""
        self.allowance += len(unread)
        self._content.unread_data(unread)

    async def _guarded(self, reading: Awaitable[bytes]) -> bytes:
        await self._send_continue()
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(self._limits.stall_seconds):
                piece = await reading
        except TimeoutError as error:
            raise STALLED_BODY(seconds=self._limits.stall_seconds, offset=self._content.total_bytes) from error
        except LineTooLong:
            raise  # a line of a form, whose reader has the word for it
        except (web.RequestPayloadError, HttpProcessingError) as error:
            raise MALFORMED_BODY() from error
        except (ConnectionError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and self._request.transport is not None:
                raise
            raise CLIENT_GONE() from error
        self._check_pace(loop.time() - started, len(piece))
        self.allowance -= len(piece)
        if self.allowance < 0:
            raise TOO_MANY_FIELDS(max_bytes=ENVELOPE_BYTES)
        return piece

    async def _send_continue(self) -> None:
        if not self._awaits_continue:
            return
        self._awaits_continue = False
        await self._request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._request.writer.output_size = 0  # the answer proper is still to come

    def _check_pace(self, waited_seconds: float, byte_count: int) -> None:
        """Judge a slow client by what it sent while we waited for it; our own slowness is not held against it."""
        self._waited_seconds += waited_seconds
        self._received += byte_count
        if self._waited_seconds < self._limits.stall_seconds:
            return
        if self._received < self._limits.min_bytes_per_second * self._waited_seconds:
            least = self._limits.min_bytes_per_second
            raise SLOW_BODY(min_bytes_per_second=least, offset=self._content.total_bytes)
        self._waited_seconds, self._received = 0.0, 0


async def defer_continue(_request: web.Request) -> None:
    """Send nothing: the expect handler of every route. The body's first read sends "100 Continue"."""


def check_expectation(request: web.Request) -> None:
    """Raise ExpectationFailed if the request expects something other than "100 Continue"."""
    if request.headers.get(hdrs.EXPECT, "100-continue").lower() != "100-continue":
        raise EXPECTATION_FAILED()


def check_headers(request: web.Request, limits: BodyLimits) -> None:
    """Refuse by the headers alone what no byte of the body can mend.

    Raises UnsupportedMedia for an encoded body and TooLarge for one whose declared size is.
    """
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise CONTENT_ENCODED()
    envelope = ENVELOPE_BYTES if request.content_type.startswith("multipart/") else 0
    if (request.content_length or 0) > limits.max_upload_bytes + envelope:
        raise TOO_LARGE(max_bytes=limits.max_upload_bytes)
