"""Guards against every quirk of aiopg 1.4 that we know."""

# Each guard names its upstream issue. Each has a test `test_aiopg_still_...` in tests/integration/test_aiopg_guards.py:
# it fails when upstream has fixed the quirk, and then the guard can go.

import asyncio
import contextlib
import errno
import os
import select
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import aiopg
import aiopg.connection
import psycopg2
from psycopg2.extras import RealDictCursor

if TYPE_CHECKING:
    import weakref

# With these, a peer that vanished is noticed within half a minute. The kernel's defaults would take two hours.
_KEEPALIVE: Mapping[str, Any] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


class ConnectionLost(psycopg2.Error):  # type: ignore[misc] # psycopg2 publishes no types
    """The connection broke under a statement, or could not be made."""


class StatementCancelled(psycopg2.Error):  # type: ignore[misc] # psycopg2 publishes no types
    """The server cancelled the statement: its time limit, or an operator."""


class PoolClosed(psycopg2.Error):  # type: ignore[misc] # psycopg2 publishes no types
    """The pool gives no more connections, because the service is stopping."""


class GuardedPool:
    """A pool of aiopg whose waiters always wake up, and whose errors say what happened.

    The caller holds one of `permits` for each cursor, so that aiopg's own pool never has waiters. aiopg would forget to
    wake them when a broken connection comes back, because `Pool.release` returns before `_wakeup`. aiopg has no issue
    for this; the same code in asyncmy has long2ice/asyncmy#154.
    """

    def __init__(self, pool: aiopg.Pool, max_connections: int) -> None:
        self._pool = pool
        self.permits = asyncio.Semaphore(max_connections)

    @contextlib.asynccontextmanager
    async def cursor(self) -> AsyncIterator[aiopg.Cursor]:
        """Yield a cursor on a connection of its own; its rows are mappings. Raises as `plain_errors` does."""
        with plain_errors():
            async with self._pool.acquire() as connection:
                try:
                    async with connection.cursor() as cursor:
                        yield cursor
                finally:
                    let_go_if_broken(connection)

    async def clear(self) -> None:
        """Close all connections that are not in use. Raises as `plain_errors` does."""
        with plain_errors():
            await self._pool.clear()


@contextlib.asynccontextmanager
async def open_guarded_pool(url: str, max_connections: int, timeout_seconds: float) -> AsyncIterator[GuardedPool]:
    """Open a pool with all its connections. The end of the block closes them and breaks statements that still run.

    Raises as `plain_errors` does, and TimeoutError.
    """
    with plain_errors():
        pool = await aiopg.create_pool(
            url,
            minsize=max_connections,
            maxsize=max_connections,
            timeout=timeout_seconds,
            enable_json=False,
            enable_hstore=False,
            cursor_factory=RealDictCursor,
            **_KEEPALIVE,
        )
    try:
        yield GuardedPool(pool, max_connections)
    finally:
        pool.terminate()
        await pool.wait_closed()


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
        raise ConnectionLost(str(error).strip() or type(error).__name__) from error
    except RuntimeError as error:
        if "closing pool" not in str(error):
            raise
        raise PoolClosed("the service is stopping") from error


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


_unguarded_ready = aiopg.Connection._ready  # noqa: SLF001 - the only place where aiopg sees that a connection broke


def _ready_until_broken(weak_connection: "weakref.ref[aiopg.Connection]") -> None:
    """Do what aiopg does when a descriptor is ready, then let go of it if the connection is broken."""
    try:
        _unguarded_ready(weak_connection)
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


aiopg.connection.select = _PollSelect  # type: ignore[assignment, attr-defined]
aiopg.Connection._ready = staticmethod(_ready_until_broken)  # type: ignore[assignment] # noqa: SLF001 - as above
