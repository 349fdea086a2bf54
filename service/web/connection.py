"""One client's connection, with limits, and with our answer to what is not HTTP."""

import asyncio
import socket
from http import HTTPStatus
from typing import cast

import structlog
from aiohttp import StreamReader, hdrs, web
from aiohttp.http import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from service.web.aiohttp_guards import UnsignedResponse, body_given_up, is_broken, queued_requests
from service.web.app_keys import ENDS, NO_ROUTE
from service.web.connection_limit import ConnectionLimit
from service.web.errors import Handler, problem
from service.web.malformed import lacks_length, refusal_of
from service.web.pieces import PIECE_BYTES, InPieces
from service.web.request_log import REQUEST_ID_HEADER, request_id
from service.web.security_headers import add_secure_headers

log = structlog.stdlib.get_logger()

# What the kernel keeps for a client, beyond what is on its way; by itself it goes up to 4 MB for each.
_UNSENT_BYTES = 128 * 1024
# A request's line and headers together, as nginx takes them; aiohttp would take 1 MB, and keep it twice.
_LONGEST_HEAD_BYTES = 32 * 1024


class Connection(RequestHandler):
    """One client's connection.

    A client that takes nothing for `reader_stall_seconds` is disconnected. One that closes its sending side still gets
    its answers. Between two requests, the connection keeps no response in memory. What is not HTTP is answered like
    every other error.
    """

    def __init__(
        self,
        server: web.Server,
        *,
        loop: asyncio.AbstractEventLoop,
        reader_stall_seconds: float,
        limit: ConnectionLimit,
        **options: object,
    ) -> None:
        super().__init__(server, loop=loop, **options)  # type: ignore[arg-type] # the options are aiohttp's own
        self._reader_stall_seconds = reader_stall_seconds
        self._newest_body: StreamReader | None = None
        self._unfinished_head_bytes = 0
        self._limit = limit
        # Set by the application: a request is being worked on, and no byte of its answer has been sent.
        self.is_in_our_hands = False
        self.awaits_body = False
        self._is_half_closed = False
        self._unanswered_count = 0
        self._lacks_length = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Bound what a client that reads slowly, or not at all, holds of ours, and for how long."""
        cast("asyncio.Transport", transport).set_write_buffer_limits(high=0)
        connection = transport.get_extra_info("socket")
        if connection.family in {socket.AF_INET, socket.AF_INET6}:
            # The kernel ends the connection of a client that takes nothing; sendfile and drain wait for ever.
            milliseconds = int(self._reader_stall_seconds * 1000)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
        super().connection_made(transport)
        self._limit.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Make room for others, and tell who reads a body that the client has gone.

        The kernel may report a network that is lost as a timeout, or as no route to the host.
        """
        self._limit.remove(self)
        if exc is not None and not isinstance(exc, ConnectionError):
            exc = ConnectionResetError(str(exc))
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has arrived, and tell a running request if the rest of its body cannot be read."""
        is_body = self._newest_body is not None and not self._newest_body.is_eof()
        known = len(queued_requests(self))
        super().data_received(data)
        new = queued_requests(self)[known:]
        self._unfinished_head_bytes = 0 if new or is_body else self._unfinished_head_bytes + len(data)
        if new:
            self._newest_body = new[-1][1]
            self._unanswered_count += len(new)
        if max([self._unfinished_head_bytes, *(_head_size(head) for head, _ in new)]) > _LONGEST_HEAD_BYTES:
            log.info("head_too_long", remote=self.peername)
            self.force_close()
        if is_broken(self):
            self._lacks_length = lacks_length(data)
        content = body_given_up(self)
        if content is not None and not content.is_eof() and content.exception() is None:
            content.set_exception(web.RequestPayloadError("broken chunks"))
            content.feed_eof()  # so that aiohttp does not wait for the rest
            self.close()  # as soon as this request is answered

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio wants a bool, or None
        """Keep the connection for the answers to what has arrived whole: a client may close only its sending side.

        A body that is cut behind other requests ends with an error. aiohttp closes the connection, and with it the
        running request.
        """
        self._is_half_closed = True
        if self._unanswered_count > 1:
            self._end_newest_body()
            return True
        is_whole = self._newest_body is not None and self._newest_body.is_eof()
        return is_whole and self._unanswered_count > 0  # not `is_idle`: just after an answer it is not, for a moment

    def _end_newest_body(self) -> None:
        """Let the newest body end, because nothing more can come. Who reads it gets an error, if it is not whole."""
        body = self._newest_body
        if body is not None and not body.is_eof():
            body.set_exception(ConnectionResetError("the client has closed its side"))
            body.feed_eof()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send a response without copies of it, then let its body go: aiohttp keeps it until the next request."""
        if isinstance(resp, web.Response) and isinstance(resp.body, bytes) and len(resp.body) > PIECE_BYTES:
            resp.body = InPieces(resp.body)
        sent, is_lost = await super().finish_response(request, resp, start_time)
        if isinstance(sent, web.Response):
            sent.body = None
        queued = queued_requests(self)  # also those behind an upgrade that aiohttp has just declined
        self._unanswered_count = len(queued)
        if queued:
            self._newest_body = queued[-1][1]
        if self._is_half_closed:
            self._end_newest_body()
            if not queued:
                self.close()  # nothing more can come
        return sent, is_lost

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is not HTTP. aiohttp itself would log a traceback and send the client's bytes back as text."""
        request[NO_ROUTE] = True
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        log.info("malformed_request", request_id=request_id(request), status=status, reason=type(exc).__name__)
        answer = problem(refusal_of(exc, without_length=self._lacks_length))
        response = UnsignedResponse(status=answer.status, body=answer.body, content_type=answer.content_type)
        response.headers[REQUEST_ID_HEADER] = request_id(request)
        add_secure_headers(response)
        response.force_close()
        return response


def _head_size(head: RawRequestMessage | None) -> int:
    """Return how many bytes a request's line and headers have on the wire, or a little less."""
    return 0 if head is None else len(head.path) + sum(len(name) + len(value) for name, value in head.raw_headers)


@web.middleware
async def keep_in_our_hands(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell the limit on connections that the client of a request can only wait, until its answer is on its way."""
    _mark(request, is_in_our_hands=True)
    try:
        return await handler(request)
    finally:
        _mark(request, is_in_our_hands=False)


async def leave_our_hands(request: web.Request, _response: web.StreamResponse) -> None:
    """Signal on_response_prepare: from now on the answer is for the client to read."""
    _mark(request, is_in_our_hands=False)


async def end_connection(request: web.Request, response: web.StreamResponse) -> None:
    """Signal on_response_prepare: once no more connections are taken, each of them ends with its answer.

    The client's next request then finds a process that stays.
    """
    if request.app[ENDS].is_set():
        response.force_close()
        response.headers[hdrs.CONNECTION] = "close"  # aiohttp has looked at force_close before its signal


def _mark(request: web.Request, *, is_in_our_hands: bool) -> None:
    if isinstance(request.protocol, Connection):
        request.protocol.is_in_our_hands = is_in_our_hands
