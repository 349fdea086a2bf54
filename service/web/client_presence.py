"""Tells whether a client is still there, even while we read nothing from it, and sends it away."""

import array
import fcntl
import select
import socket
import termios

from aiohttp import web

# A chunked body ends with this.
_LAST_CHUNK = b"0\r\n\r\n"
_LONGEST_LOOK = 64 * 1024


def is_lost(request: web.Request) -> bool:
    """Return whether the connection is closed, or the client closed its side before the body was whole.

    aiohttp notices neither while it does not read: an upload in the queue fills its buffer, and reading pauses. A
    client may close its side after the whole body, and still read the answer.
    """
    transport = request.transport
    if transport is None or transport.is_closing():
        return True
    connection: socket.socket = transport.get_extra_info("socket")
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLRDHUP)
    events = sum(events for _, events in poll.poll(0))
    if events & (select.POLLERR | select.POLLHUP):
        return True
    return bool(events & select.POLLRDHUP) and not _is_whole(request, connection)


def cut(request: web.Request) -> None:
    """Close the request's connection. Whoever reads its body then gets ClientGone."""
    if request.transport is not None:
        request.transport.abort()


def _is_whole(request: web.Request, connection: socket.socket) -> bool:
    """Return whether the rest of the body is in the kernel's buffer."""
    if request.content.is_eof():
        return True
    unread = array.array("i", [0])
    fcntl.ioctl(connection.fileno(), termios.FIONREAD, unread)
    if request.content_length is not None:
        return request.content.total_bytes + unread[0] >= request.content_length
    if unread[0] > _LONGEST_LOOK:
        return False
    look = socket.socket(fileno=socket.dup(connection.fileno()))
    with look:
        return look.recv(_LONGEST_LOOK, socket.MSG_PEEK | socket.MSG_DONTWAIT).endswith(_LAST_CHUNK)
