"""Runs aiohttp's server with connections of our own, which have limits and answer what is not HTTP."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from typing import Any, cast

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from service.web.aiohttp_guards import is_idle
from service.web.app_keys import ENDS, RELAY_LISTENER

log = structlog.stdlib.get_logger()

_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Runner(web.AppRunner):
    """An AppRunner that makes each connection by `make_connection(server, loop=loop)`."""

    def __init__(
        self,
        app: web.Application,
        make_connection: Callable[..., RequestHandler],
        *,
        shutdown_timeout: float,
        let_uploads_begin: Callable[[], Awaitable[None]] | None = None,
        let_uploads_end: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(app, shutdown_timeout=shutdown_timeout)
        self._make_connection = make_connection
        self._let_uploads_begin = let_uploads_begin
        self._let_uploads_end = let_uploads_end
        self._relay: asyncio.Server | None = None

    async def setup(self) -> None:
        """Prepare to serve, and take what other processes pass on.

        From now on, a connection that cannot be taken is a line in the log, and no traceback.
        """
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_LoopErrors())
        await super().setup()
        listener = self.app.get(RELAY_LISTENER)
        if listener is None:
            return
        make_connection, is_unix = cast("Callable[[], RequestHandler]", self.server), listener.family == socket.AF_UNIX
        self._relay = await (
            loop.create_unix_server(make_connection, sock=listener)
            if is_unix
            else loop.create_server(make_connection, sock=listener)
        )

    async def cleanup(self) -> None:
        """Take no more connections, let the uploads end, then close the connections.

        aiohttp closes them first, and a closed connection takes no more of an upload that is still arriving.
        """
        for site in list(self.sites):
            await site.stop()
        if ENDS in self.app:
            self.app[ENDS].set()
        if self._let_uploads_begin is not None:
            await self._let_uploads_begin()
        self._close_idle_connections()
        if self._let_uploads_end is not None:
            await self._let_uploads_end()
        if self._relay is not None:
            self._relay.close()
        await super().cleanup()

    def _close_idle_connections(self) -> None:
        """Send the clients of idle connections to a process that stays."""
        for connection in self._server.connections if self._server is not None else ():
            if is_idle(connection):
                connection.force_close()  # `close` leaves the client of an idle connection waiting

    @property
    def server(self) -> web.Server | None:
        """The server for a site; it makes our connections."""
        server = super().server
        return None if server is None else cast("web.Server", _Listening(server, self._make_connection))


class _LoopErrors:
    """Logs what nobody else has caught.

    asyncio tells of each connection that it cannot take, many times a second while no descriptor is left. Once a
    second is enough.
    """

    def __init__(self) -> None:
        self._quiet_until = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in _OUT_OF_RESOURCES or "socket" not in context:
            loop.default_exception_handler(context)
        elif loop.time() >= self._quiet_until:
            self._quiet_until = loop.time() + 1
            log.error("connections_wait", reason=error.strerror)


class _Listening:
    """A server, except that calling it makes a connection of ours."""

    def __init__(self, server: web.Server, make_connection: Callable[..., RequestHandler]) -> None:
        self._server = server
        self._make_connection = make_connection

    def __call__(self) -> RequestHandler:
        return self._make_connection(self._server, loop=asyncio.get_running_loop())

    def __getattr__(self, name: str) -> object:
        return getattr(self._server, name)
