"""Guards against every quirk of aiopg 1.4 that we know."""

# Each guard names its upstream issue. Each has a test `test_aiopg_still_...` in tests/integration/test_aiopg_guards.py:
# it fails when upstream has fixed the quirk, and then the guard can go.

import asyncio
import contextlib
import errno
import logging
import os
import select
from collections.abc import Iterator
from typing import TYPE_CHECKING

import aiopg
import aiopg.connection
import psycopg2
from psycopg2.extensions import STATUS_READY, QueryCanceledError

if TYPE_CHECKING:
    import weakref


class ConnectionLost(psycopg2.Error):  # type: ignore[misc] # psycopg2 publishes no types
    """The connection broke under a statement, or could not be made."""


class StatementCancelled(psycopg2.Error):  # type: ignore[misc] # psycopg2 publishes no types
    """The server cancelled the statement: its time limit, or an operator."""


class PoolClosed(psycopg2.Error):  # type: ignore[misc] # psycopg2 publishes no types
    """The pool gives no more connections, because the service is stopping."""


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Raise ConnectionLost, StatementCancelled or PoolClosed in place of aiopg's own errors.

    - A statement that the server cancels raises a bare CancelledError, although nobody has cancelled the task
      (aio-libs/aiopg#537, #540).
    - A connection that breaks at the wrong moment raises AssertionError (aio-libs/aiopg#116) or an OSError of epoll
      (aio-libs/aiopg#837).
    - A pool that is closing raises RuntimeError. aiopg has no issue for this.

    Other errors of psycopg2, TimeoutError and a real cancellation pass.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise StatementCancelled("the server cancelled the statement") from error
    except TimeoutError:
        raise
    except (psycopg2.OperationalError, psycopg2.InterfaceError, OSError, AssertionError) as error:
        if not _tells_a_lost_connection(error):
            raise
        raise ConnectionLost(str(error).strip() or type(error).__name__) from error
    except RuntimeError as error:
        if "closing pool" not in str(error):
            raise
        raise PoolClosed("the service is stopping") from error


def _tells_a_lost_connection(error: Exception) -> bool:
    """Return whether an error is not the server's answer to a statement, or says that the server ends.

    OperationalError may also be a deadlock, a full disk or the timeout of a lock.
    """
    code = getattr(error, "pgcode", None)
    return code is None or code.startswith(("08", "57P"))


def let_go_if_broken(connection: aiopg.Connection) -> None:
    """Take a broken connection's descriptor out of the event loop (aio-libs/aiopg#138, #909).

    aiopg leaves it there if another thread opens a file at that moment and gets the closed descriptor's number. That
    file may be a client's socket or the pipe to an encoder. The loop believes that it already listens to that number,
    so it fails with ENOENT, or never tells the new owner that there is something to read.
    """
    descriptor = connection._fileno  # noqa: SLF001 - aiopg has no public name for it
    if descriptor is None or not (connection.closed or _is_closed(descriptor)):
        return
    loop = asyncio.get_running_loop()
    for remove in (loop.remove_writer, loop.remove_reader):
        with contextlib.suppress(OSError):  # epoll has already forgotten a closed descriptor
            remove(descriptor)
    connection._fileno = None  # noqa: SLF001 - as above


# The only place where aiopg sees that a connection broke, or went on to another address.
_unguarded_ready = aiopg.Connection._ready  # noqa: SLF001 - aiopg has no public name for it


def _guarded_ready(weak_connection: "weakref.ref[aiopg.Connection]") -> None:
    """Do what aiopg does when a descriptor is ready, then let go of the connection or listen to its next socket."""
    connection = weak_connection()
    if connection is None:
        return
    before = _connecting_socket(connection)
    try:
        _unguarded_ready(weak_connection)
    except FileNotFoundError:
        if before == _connecting_socket(connection):
            raise
    finally:
        let_go_if_broken(connection)
    after = _connecting_socket(connection)
    if before and after and before != after:
        _listen_to(connection, after[0])


def _connecting_socket(connection: aiopg.Connection) -> tuple[int, int] | None:
    """Return the descriptor and the inode of a connection that is being made; None for any other."""
    if connection.closed or connection.raw.status == STATUS_READY:
        return None
    try:
        descriptor = connection.raw.fileno()
        return descriptor, os.fstat(descriptor).st_ino
    except (psycopg2.Error, OSError):
        return None


def _listen_to(connection: aiopg.Connection, descriptor: int) -> None:
    """Make the event loop listen to the socket of a server's next address (aio-libs/aiopg#837, #907).

    If an address refuses, libpq closes its socket and opens one to the next address. The new socket usually gets the
    old one's number. The event loop then believes that it already listens to it, so it fails with ENOENT or hears
    nothing.
    """
    loop = asyncio.get_running_loop()
    for number in {connection._fileno or descriptor, descriptor}:  # noqa: SLF001 - as above
        for remove in (loop.remove_writer, loop.remove_reader):
            with contextlib.suppress(OSError):
                remove(number)
    connection._fileno = descriptor  # noqa: SLF001 - as above
    connection._writing = True  # noqa: SLF001 - as above
    loop.add_reader(descriptor, connection._ready, connection._weakref)  # noqa: SLF001 - as above
    loop.add_writer(descriptor, connection._ready, connection._weakref)  # noqa: SLF001 - as above


def _is_closed(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return True
    return False


class _PollSelect:
    """What aiopg uses of the module `select`, without its limit of 1024 descriptors (aio-libs/aiopg#668).

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
            # select raises this too, so that aiopg forgets the descriptor. Another connection may get its number.
            raise OSError(errno.EBADF, "bad file descriptor")
        return [descriptor for descriptor, _ in found], [], []


def _is_news(record: logging.LogRecord) -> bool:
    """Return False for the traceback that aiopg logs for each statement that the server cancels (aio-libs/aiopg#537).

    Whoever ran the statement hears of it anyway.
    """
    return not (record.exc_info and isinstance(record.exc_info[1], QueryCanceledError))


logging.getLogger("asyncio").addFilter(_is_news)
aiopg.connection.select = _PollSelect  # type: ignore[assignment, attr-defined]
aiopg.Connection._ready = staticmethod(_guarded_ready)  # type: ignore[assignment] # noqa: SLF001 - as above
