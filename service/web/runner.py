"""Runs aiohttp's server with connections of our own, which have limits and answer what is not HTTP."""

import asyncio
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import cast

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from service.refusals import BAD_REQUEST
from service.web.aiohttp_guards import UnsignedResponse, body_given_up
from service.web.app_keys import NO_ROUTE
from service.web.errors import problem
from service.web.request_log import REQUEST_ID_HEADER, request_id

log = structlog.stdlib.get_logger()


class Runner(web.AppRunner):
    """An AppRunner that makes each connection by `make_connection(server, loop=loop)`."""

    def __init__(
        self, app: web.Application, make_connection: Callable[..., RequestHandler], *, shutdown_timeout: float
    ) -> None:
        super().__init__(app, shutdown_timeout=shutdown_timeout)
        self._make_connection = make_connection

    @property
    def server(self) -> web.Server | None:
        """The server for a site; it makes our connections."""
        server = super().server
        return None if server is None else cast("web.Server", _Listening(server, self._make_connection))


class _Listening:
    """A server, except that calling it makes a connection of ours."""

    def __init__(self, server: web.Server, make_connection: Callable[..., RequestHandler]) -> None:
        self._server = server
        self._make_connection = make_connection

    def __call__(self) -> RequestHandler:
        return self._make_connection(self._server, loop=asyncio.get_running_loop())

    def __getattr__(self, name: str) -> object:
        return getattr(self._server, name)


class Connection(RequestHandler):
    """One client's connection.

    A client that takes nothing for `reader_stall_seconds` is disconnected. Between two requests, the connection keeps
    no response in memory. What is not HTTP is answered like every other error.
    """

    def __init__(
        self, server: web.Server, *, loop: asyncio.AbstractEventLoop, reader_stall_seconds: float, **options: object
    ) -> None:
        super().__init__(server, loop=loop, **options)  # type: ignore[arg-type] # the options are aiohttp's own
        self._reader_stall_seconds = reader_stall_seconds

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the kernel end the connection of a client that takes nothing; sendfile and drain would wait for ever."""
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family in {socket.AF_INET, socket.AF_INET6}:
            milliseconds = int(self._reader_stall_seconds * 1000)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Take what has arrived, and tell a running request if the rest of its body cannot be read."""
        super().data_received(data)
        content = body_given_up(self)
        if content is not None and not content.is_eof() and content.exception() is None:
            content.set_exception(web.RequestPayloadError("broken chunks"))
            content.feed_eof()  # so that aiohttp does not wait for the rest
            self.close()  # as soon as this request is answered

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send a response, then let its body go: aiohttp keeps a connection's last response until the next request."""
        sent, is_lost = await super().finish_response(request, resp, start_time)
        if isinstance(sent, web.Response):
            sent.body = None
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
        answer = problem(BAD_REQUEST())
        response = UnsignedResponse(status=answer.status, body=answer.body, content_type=answer.content_type)
        response.headers[REQUEST_ID_HEADER] = request_id(request)
        response.force_close()
        return response
