"""Limits how many connections there are, and makes room for a new one by closing those that nobody uses."""

import asyncio
import contextlib
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from service import metrics

log = structlog.stdlib.get_logger()

# How often the progress of all connections is looked at, at most.
_LOOK_SECONDS = 1.0
# Closing one connection for each new one would cost a look at all of them each time.
_SHARE_CLOSED_AT_ONCE = 0.02
# struct tcp_info of linux/tcp.h: the bytes that the other side has acknowledged, and those that it has sent.
_TCP_INFO_BYTES, _PROGRESS = 136, struct.Struct("=120xQQ")


class LimitedConnection(Protocol):
    """What the limit has to know of a connection."""

    transport: asyncio.Transport | None
    # A request of it is being worked on, so that the client can only wait.
    is_in_our_hands: bool
    # The rest of a request's body is awaited.
    awaits_body: bool


@dataclass(eq=False, slots=True)
class _Progress:
    """What a connection has sent and taken, and since when that has not changed."""

    seen: tuple[int, int] = (0, 0)
    since: float = field(default_factory=time.monotonic)


class ConnectionLimit:
    """At most `most` connections.

    When one more comes, those are closed that have been idle, or have not been read, for the longest. So a client
    that uses its connection still gets in, however many others there are. If every connection is in use, the new one
    is closed.

    Those by which other processes of this machine pass requests on are counted, and stay: what their clients take
    cannot be seen here. Each of them is for a client's connection to another process, which has a limit of its own.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._connections: dict[LimitedConnection, _Progress] = {}
        self._looked_at = float("-inf")

    def add(self, connection: LimitedConnection) -> None:
        """Count a new connection, and close others if there are too many."""
        self._connections[connection] = _Progress()
        metrics.CONNECTIONS.set(len(self._connections))
        if len(self._connections) > self._most:
            self._make_room(connection)
        elif len(self._connections) > self._most // 2:
            self._look()  # so that it is known who is idle once there is no room

    def remove(self, connection: LimitedConnection) -> None:
        """Stop counting a connection that has ended."""
        if self._connections.pop(connection, None) is not None:
            metrics.CONNECTIONS.set(len(self._connections))

    def _make_room(self, new: LimitedConnection) -> None:
        self._look()
        others = (one for one in self._connections if one is not new)
        unused = [one for one in others if not one.is_in_our_hands and not _is_passed_on(one)]
        # An upload that pauses goes last.
        unused.sort(key=lambda one: (one.awaits_body, self._connections[one].since))
        closed = unused[: max(1, int(self._most * _SHARE_CLOSED_AT_ONCE))]
        if not closed and not _is_passed_on(new):
            closed = [new]
        metrics.CONNECTIONS_CLOSED.inc(len(closed))
        for connection in closed:
            self.remove(connection)
            _close(connection)

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = now
        for connection, progress in self._connections.items():
            seen = _progress(connection)
            if seen != progress.seen:
                progress.seen, progress.since = seen, now


def _socket_of(connection: LimitedConnection) -> socket.socket | None:
    return connection.transport.get_extra_info("socket") if connection.transport is not None else None


def _is_passed_on(connection: LimitedConnection) -> bool:
    """Return whether another process passes a request of its own client on by this connection."""
    own = _socket_of(connection)
    return own is not None and own.family == socket.AF_UNIX


def _close(connection: LimitedConnection) -> None:
    """Shut the socket down. `abort` would leave a response hanging that asyncio is sending by sendfile."""
    own = _socket_of(connection)
    if own is not None:
        with contextlib.suppress(OSError):  # the client has closed it meanwhile
            own.shutdown(socket.SHUT_RDWR)


def _progress(connection: LimitedConnection) -> tuple[int, int]:
    """Return how many bytes the client has taken and sent. The kernel knows, even of what sendfile sends."""
    own = _socket_of(connection)
    if own is None or own.family == socket.AF_UNIX:
        return 0, 0
    try:
        info = own.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    except OSError:  # it has just been closed
        return 0, 0
    taken, sent = _PROGRESS.unpack(info.ljust(_TCP_INFO_BYTES, b"\0"))
    return taken, sent
