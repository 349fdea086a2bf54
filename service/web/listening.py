"""Sockets of our own to listen on, and what is logged when descriptors run out."""

import errno
import logging
import socket
import time

from aiohttp import web

# As many connections may wait in the kernel.
_BACKLOG = 1024
# asyncio accepts up to so many before it does anything else. Out of descriptors it fails as often, each second, for it
# does not stop at the first failure (CPython 3.11 to 3.13). aiohttp would use one figure for both.
_ACCEPTED_AT_A_TIME = 16
_ASYNCIOS_WORDS = "socket.accept() out of system resource"
_NO_SUCH_ADDRESS_HERE = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}


async def listen(runner: web.AppRunner, host: str, port: int) -> None:
    """Accept connections at each address of the host. Raises OSError if that cannot be."""
    for listener in _open_sockets(host, port):
        await web.SockSite(runner, listener, backlog=_ACCEPTED_AT_A_TIME).start()
        listener.listen(_BACKLOG)


def _open_sockets(host: str, port: int) -> list[socket.socket]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets, failure = list[socket.socket](), OSError(errno.EADDRNOTAVAIL, "no address")
    for family, place in dict.fromkeys((family, place) for family, *_, place in found):
        try:
            sockets.append(socket.create_server(place, family=family, backlog=_BACKLOG))
        except OSError as error:  # `localhost` may name an IPv6 address on a machine without IPv6
            failure = error
            if error.errno not in _NO_SUCH_ADDRESS_HERE:
                break
    else:
        if sockets:
            return sockets
    for opened in sockets:
        opened.close()
    raise failure


class OutOfDescriptors(logging.Filter):
    """Says once in `seconds` that descriptors have run out, in one line, and drops what asyncio says each time."""

    def __init__(self, seconds: float = 60) -> None:
        super().__init__()
        self._seconds = seconds
        self._said_at = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is to be logged."""
        if not str(record.msg).startswith(_ASYNCIOS_WORDS):
            return True
        if time.monotonic() - self._said_at < self._seconds:
            return False
        self._said_at = time.monotonic()
        record.msg = "Out of descriptors: new connections wait. Raise the limit (ulimit -n)."
        record.args, record.exc_info = (), None
        return True


# In every process that listens, a worker of gunicorn too.
logging.getLogger("asyncio").addFilter(OutOfDescriptors())
