"""aiopg's pool without its quirks."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiopg
from aiopg.utils import create_completed_future

from service.database.aiopg_guards import let_go_if_broken, plain_errors
from service.database.host_addresses import HostAddresses

# With these, a peer that vanished is noticed within half a minute. The kernel's defaults would take two hours.
_KEEPALIVE: Mapping[str, Any] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


class _Pool(aiopg.Pool):
    """aiopg's pool, which is empty at first and looks a server's name up again before it connects.

    It gives out the connection that was used last, which has warm caches, here and in PostgreSQL. It makes a new one
    only if none is free: a statement does not pay for those that a server has ended because they were idle.

    It has no time limits; callers set them by `asyncio.timeout`. Before Python 3.12, aiopg's own lose a cancellation
    that comes together with an answer (python/cpython#86296), and leave it counted. If the server then cancelled the
    next statement, that would look like a cancellation of the task. aiopg has no issue for this.
    """

    def __init__(self, url: str, max_connections: int) -> None:
        super().__init__(
            url,
            minsize=0,
            maxsize=max_connections,
            timeout=None,  # type: ignore[arg-type] # aiopg passes it on to functions that take None
            enable_json=False,
            enable_hstore=False,
            enable_uuid=True,
            echo=False,
            on_connect=None,
            pool_recycle=-1,
            **_KEEPALIVE,
        )
        self._addresses = HostAddresses(url)

    async def _acquire(self) -> aiopg.Connection:
        if self._closing or not self._free or self._free[-1].closed:
            return await super()._acquire()
        connection = self._free.pop()  # at once; aiopg would wait while another one is being made
        self._used.add(connection)
        return connection

    async def _fill_free_pool(self, override_min: bool) -> None:  # noqa: FBT001 - as aiopg calls it
        self._conn_kwargs |= await self._addresses.find()
        await super()._fill_free_pool(override_min)

    def release(self, conn: aiopg.Connection) -> asyncio.Future[None]:
        """Take a connection back. While the pool closes, wake `wait_closed`; aiopg forgets that for a broken one."""
        released = super().release(conn)
        return asyncio.ensure_future(super()._wakeup()) if self._closing else released

    def _wakeup(self) -> asyncio.Future[None]:  # type: ignore[override] # aiopg makes a task of it
        """Wake nobody: until the pool closes, nobody waits (see `GuardedPool`). A task would cost time."""
        return create_completed_future(self._loop)


class GuardedPool:
    """A pool of aiopg whose waiters always wake up, and whose errors say what happened.

    Only `fill` has a time limit of its own, `fill_seconds`. The caller holds one of `permits` for each cursor, so that
    aiopg's own pool never has waiters. aiopg would forget to wake them when a broken connection comes back, because
    `Pool.release` returns before `_wakeup`. aiopg has no issue for this; the same code in asyncmy has
    long2ice/asyncmy#154.
    """

    def __init__(self, pool: aiopg.Pool, max_connections: int, fill_seconds: float = 5.0) -> None:
        self._pool = pool
        self._fill_seconds = fill_seconds
        self.permits = asyncio.Semaphore(max_connections)

    @contextlib.asynccontextmanager
    async def cursor(self) -> AsyncIterator[aiopg.Cursor]:
        """Yield a cursor on a connection of its own. Raises as `plain_errors` does."""
        with plain_errors():
            async with self._pool.acquire() as connection:
                try:
                    async with connection.cursor() as cursor:
                        yield cursor
                finally:
                    let_go_if_broken(connection)

    async def fill(self) -> None:
        """Make all connections now and not when they are needed. Raises as `plain_errors` does, and TimeoutError.

        Nothing else may use the pool meanwhile.
        """
        async with asyncio.timeout(self._fill_seconds), contextlib.AsyncExitStack() as held:
            with plain_errors():
                while self._pool.size < (self._pool.maxsize or 0):
                    await held.enter_async_context(self._pool.acquire())

    async def clear(self) -> None:
        """Close all connections that are not in use. Raises as `plain_errors` does."""
        with plain_errors():
            await self._pool.clear()


@contextlib.asynccontextmanager
async def open_guarded_pool(url: str, max_connections: int, fill_seconds: float) -> AsyncIterator[GuardedPool]:
    """Open a pool without a connection. The end of the block closes all, and breaks statements that still run."""
    pool = _Pool(url, max_connections)
    try:
        yield GuardedPool(pool, max_connections, fill_seconds)
    finally:
        pool.terminate()
        await pool.wait_closed()
