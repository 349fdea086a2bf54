"""What aiopg 1.4 leaves undone when a connection breaks; it goes when aiopg mends it."""

import asyncio
import contextlib
import errno
import os
import select
from typing import TYPE_CHECKING

import aiopg
import aiopg.connection

if TYPE_CHECKING:
    import weakref

_ready = aiopg.Connection._ready  # noqa: SLF001


def install() -> None:
    """Put the guards in place, once for the process."""
    aiopg.connection.select = _PollSelect  # type: ignore[assignment, attr-defined]
    aiopg.Connection._ready = staticmethod(_ready_until_broken)  # type: ignore[assignment] # noqa: SLF001


def let_go_if_broken(connection: aiopg.Connection) -> None:
    """Take a broken connection's descriptor out of the event loop.

    aiopg leaves it there. Once it is closed, its number is soon that of a client's socket or of the pipe to an
    encoder, and the loop, which believes that it listens to it already, fails with ENOENT.
    """
    descriptor = connection._fileno  # noqa: SLF001
    if descriptor is None or not (connection.closed or _is_closed(descriptor)):
        return
    loop = asyncio.get_running_loop()
    for remove in (loop.remove_writer, loop.remove_reader):
        with contextlib.suppress(OSError):  # epoll has forgotten what is closed
            remove(descriptor)
    connection._fileno = None  # noqa: SLF001


def _ready_until_broken(weak_connection: "weakref.ref[aiopg.Connection]") -> None:
    """Do as aiopg does when a descriptor is ready; here it learns that a connection broke."""
    try:
        _ready(weak_connection)
    finally:
        connection = weak_connection()
        if connection is not None:
            let_go_if_broken(connection)


def _is_closed(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return True
    return False


class _PollSelect:
    """What aiopg uses of the module `select`, without its limit of 1024 descriptors.

    On its error path aiopg calls `select.select([fd], [], [], 0)` to see whether the server hung up. In a
    process with many connections the descriptor is past 1023, select raises, and the query hangs.
    """

    @staticmethod
    def select(
        readable: list[int], _writable: list[int], _exceptional: list[int], timeout_seconds: float
    ) -> tuple[list[int], list[int], list[int]]:
        poll = select.poll()
        for descriptor in readable:
            poll.register(descriptor, select.POLLIN)
        found = poll.poll(timeout_seconds * 1000)
        if any(events & select.POLLNVAL for _, events in found):
            # Where select would: aiopg then forgets the descriptor, whose number another connection may get.
            raise OSError(errno.EBADF, "bad file descriptor")
        return [descriptor for descriptor, _ in found], [], []
