"""Reads a request's body under limits: a client that stalls, trickles, hangs up or never ends is told so."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.web_exceptions import HTTPExpectationFailed

from service.errors import ClientGone, ClientStalled, MalformedRequest, TooLarge, UnsupportedMedia

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
            raise ClientStalled(
                "stalled_body",
                f"No byte arrived for {self._limits.stall_seconds:g} seconds.",
                offset=self._content.total_bytes,
            ) from error
        except LineTooLong:
            raise  # a line of a form, whose reader has the word for it
        except (web.RequestPayloadError, HttpProcessingError) as error:
            raise MalformedRequest("malformed_body", "The body's transfer coding is broken.") from error
        except (ConnectionError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and self._request.transport is not None:
                raise
            raise ClientGone("client_gone", "The client closed the connection.") from error
        self._check_pace(loop.time() - started, len(piece))
        self.allowance -= len(piece)
        if self.allowance < 0:
            raise MalformedRequest("too_many_fields", f"More than {ENVELOPE_BYTES} bytes surround the file.")
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
            raise ClientStalled(
                "slow_body",
                f"The body arrives at less than {self._limits.min_bytes_per_second} bytes a second.",
                offset=self._content.total_bytes,
            )
        self._waited_seconds, self._received = 0.0, 0


async def defer_continue(request: web.Request) -> None:
    """Expect handler of every route: "100 Continue" is sent at the body's first read, and not before.

    Raises HTTPExpectationFailed for any other expectation.
    """
    if request.headers[hdrs.EXPECT].lower() != "100-continue":
        raise HTTPExpectationFailed


def check_headers(request: web.Request, limits: BodyLimits) -> None:
    """Refuse by the headers alone what no byte of the body can mend.

    Raises UnsupportedMedia for an encoded body and TooLarge for one whose declared size is.
    """
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise UnsupportedMedia("content_encoded", "Send the WAV as it is, without Content-Encoding.")
    envelope = ENVELOPE_BYTES if request.content_type.startswith("multipart/") else 0
    if (request.content_length or 0) > limits.max_upload_bytes + envelope:
        raise TooLarge("too_large", f"This service takes uploads of up to {limits.max_upload_bytes} bytes.")
