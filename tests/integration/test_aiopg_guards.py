"""aiopg's quirks: each is still there, and its guard works. A test that says "still" fails when upstream mends it."""

import asyncio
import contextlib
import os
import select
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import aiopg
import psycopg2
import psycopg2.errors
import pytest
from psycopg2.extensions import make_dsn

from service.database import aiopg_guards
from service.database.aiopg_guards import ConnectionLost, PoolClosed, StatementCancelled
from service.database.guarded_pool import GuardedPool, open_guarded_pool
from tests.support.pools import connections, end_connections, many_descriptors, seconds_within
from tests.support.relays import relayed
from tests.support.waiting import until

SOON_SECONDS = 0.5
TWICE = "INSERT INTO users (username, token_sha256) VALUES ('ann', decode(repeat('00', 32), 'hex'))"

OpenPlainPool = Callable[..., Awaitable[aiopg.Pool]]


@pytest.fixture
def pool_url(database_url: str) -> str:
    """The database's address with a name by which the server knows this test's pool."""
    url: str = make_dsn(database_url, application_name=f"pool {uuid4()}")
    return url


@pytest.fixture
def plain_aiopg(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiopg as it is installed, without our guards."""
    monkeypatch.setattr("aiopg.connection.select", select)
    monkeypatch.setattr("aiopg.Connection._ready", staticmethod(aiopg_guards._unguarded_ready))  # noqa: SLF001


@pytest.fixture
async def open_plain_pool(pool_url: str) -> AsyncIterator[OpenPlainPool]:
    """Return a function that opens aiopg's own pool, with a time limit of half a second for each call."""
    pools = list[aiopg.Pool]()

    async def open_pool(size: int = 1, url: str = pool_url, **options: Any) -> aiopg.Pool:
        pool = await aiopg.create_pool(url, minsize=size, maxsize=size, timeout=SOON_SECONDS, **options)
        pools.append(pool)
        return pool

    yield open_pool
    for pool in pools:
        pool.terminate()
        await pool.wait_closed()


# Descriptors past 1023.


@pytest.mark.usefixtures("plain_aiopg")
async def test_aiopg_still_hangs_on_descriptors_past_1023(open_plain_pool: OpenPlainPool) -> None:
    """If this fails, aiopg has merged #668 or the like: remove _PollSelect."""
    with many_descriptors():
        pool = await open_plain_pool()
        async with pool.acquire() as connection, connection.cursor() as cursor:
            await cursor.execute(TWICE)
            # The two cases: the answer is awaited, or it is already there.
            with pytest.raises((TimeoutError, ValueError)):
                await cursor.execute(TWICE)


async def test_guarded_pool_does_not_hang_on_descriptors_past_1023(pool_url: str) -> None:
    with many_descriptors():
        async with open_guarded_pool(pool_url, 1, SOON_SECONDS) as pool, pool.permits:
            async with pool.cursor() as cursor:
                await cursor.execute(TWICE)
            with pytest.raises(psycopg2.errors.UniqueViolation):
                async with pool.cursor() as cursor:
                    await cursor.execute(TWICE)


# Descriptors of broken connections.


class Thief:
    """The module `select` for aiopg, while another thread opens a file just when a connection has broken."""

    def __init__(self) -> None:
        self.stolen = list[int]()
        self.reading, self.writing = os.pipe()

    def select(self, readable: list[int], *others: Any) -> tuple[list[int], list[int], list[int]]:
        """Give the number of aiopg's descriptor, which libpq has closed, to the pipe, and then look."""
        os.dup2(self.reading, readable[0])
        self.stolen += readable
        return select.select(readable, *others)

    def close(self) -> None:
        for descriptor in [self.reading, self.writing, *self.stolen]:
            os.close(descriptor)


@pytest.fixture
def thief(monkeypatch: pytest.MonkeyPatch) -> Iterator[Thief]:
    with closing(Thief()) as thief:
        monkeypatch.setattr("aiopg.connection.select", thief)
        yield thief


async def hears_of_a_byte(thief: Thief) -> bool:
    """Return whether the event loop tells the new owner of a broken connection's descriptor that it can be read."""
    loop, heard = asyncio.get_running_loop(), asyncio.Event()
    [descriptor] = thief.stolen
    loop.add_reader(descriptor, heard.set)
    os.write(thief.writing, b"x")
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(heard.wait(), SOON_SECONDS)
    loop.remove_reader(descriptor)
    return heard.is_set()


async def break_and_notice(pool: aiopg.Pool, url: str) -> None:
    async with pool.acquire() as connection:
        end_connections(url, connections(url))
        await until(lambda: connection.closed)


@pytest.mark.usefixtures("plain_aiopg")
async def test_aiopg_still_leaves_a_broken_connections_descriptor_in_the_event_loop(
    thief: Thief, open_plain_pool: OpenPlainPool, pool_url: str
) -> None:
    """If this fails, aiopg has mended #138 and #926: remove let_go_if_broken."""
    await break_and_notice(await open_plain_pool(), pool_url)
    assert not await hears_of_a_byte(thief)


async def test_guards_take_a_broken_connections_descriptor_out_of_the_event_loop(
    thief: Thief, open_plain_pool: OpenPlainPool, pool_url: str
) -> None:
    await break_and_notice(await open_plain_pool(), pool_url)
    assert await hears_of_a_byte(thief)


# Servers with a second address.


@pytest.fixture
async def two_addresses(pool_url: str) -> AsyncIterator[str]:
    """A server whose first address refuses connections; the second one is right."""
    with closing(socket.socket()) as refusing:
        refusing.bind(("127.0.0.1", 0))  # and does not listen
        async with relayed(pool_url) as port:
            ports = f"{refusing.getsockname()[1]},{port}"
            yield str(make_dsn(pool_url, host="127.0.0.1,127.0.0.1", port=ports))


@pytest.mark.usefixtures("plain_aiopg")
async def test_aiopg_still_trips_over_the_second_address_of_a_server(two_addresses: str) -> None:
    """If this fails, aiopg has mended #837 and #907: remove _listen_to, and OSError from plain_errors."""
    with pytest.raises(FileNotFoundError):
        await aiopg.connect(two_addresses, timeout=SOON_SECONDS)


@pytest.mark.usefixtures("plain_aiopg")
async def test_guarded_pool_tells_a_trip_over_the_second_address_as_a_lost_connection(two_addresses: str) -> None:
    with pytest.raises(ConnectionLost):
        async with open_guarded_pool(two_addresses, 1, SOON_SECONDS) as pool:
            await pool.fill()


async def test_server_both_of_whose_addresses_refuse_is_told_as_lost() -> None:
    with closing(socket.socket()) as one, closing(socket.socket()) as other:
        for end in (one, other):
            end.bind(("127.0.0.1", 0))  # and does not listen
        ports = f"{one.getsockname()[1]},{other.getsockname()[1]}"
        with pytest.raises(ConnectionLost, match="refused"):
            async with open_guarded_pool(f"host=127.0.0.1,127.0.0.1 port={ports} user=ann", 1, SOON_SECONDS) as pool:
                await pool.fill()


async def test_guards_reach_the_second_address_of_a_server(two_addresses: str) -> None:
    async with open_guarded_pool(two_addresses, 3, 4) as pool, pool.permits, pool.cursor() as cursor:
        await cursor.execute("SELECT 1 AS one")
        assert await cursor.fetchone() == (1,)


# Waiters of a pool whose connection breaks.


async def test_aiopg_still_forgets_to_wake_a_waiter_when_a_broken_connection_comes_back(
    open_plain_pool: OpenPlainPool,
) -> None:
    """If this fails, aiopg's `Pool.release` wakes waiters in every case: remove GuardedPool.permits."""
    pool = await open_plain_pool(size=1)
    connection = await pool.acquire()

    async def acquire() -> None:
        await pool.acquire()

    waiting = asyncio.create_task(acquire())
    await asyncio.sleep(0)  # it waits
    await connection.close()
    await pool.release(connection)
    with seconds_within(SOON_SECONDS / 2, 4), pytest.raises(TimeoutError):
        await waiting


async def test_guarded_pool_wakes_a_waiter_when_a_broken_connection_comes_back(pool_url: str) -> None:
    async with open_guarded_pool(pool_url, 1, 4) as pool:

        async def ask() -> Any:
            async with pool.permits, pool.cursor() as cursor:
                await cursor.execute("SELECT 1 AS one")
                return await cursor.fetchone()

        async with pool.permits, pool.cursor() as cursor:
            waiting = asyncio.create_task(ask())
            await asyncio.sleep(0)  # it waits
            await cursor.connection.close()
        with seconds_within(0, 3):
            assert await waiting == (1,)


async def test_guarded_pool_gives_out_the_connection_that_was_used_last(pool_url: str) -> None:
    async with open_guarded_pool(pool_url, 3, 4) as pool:
        backends = []
        for _ in range(3):
            async with pool.permits, pool.cursor() as cursor:
                await cursor.execute("SELECT pg_backend_pid()")
                backends += await cursor.fetchone()
        assert len(set(backends)) == 1


async def test_statement_does_not_wait_for_connections_in_place_of_idle_ones(pool_url: str) -> None:
    async with open_guarded_pool(pool_url, 3, 4) as pool:
        await pool.fill()
        assert len(connections(pool_url)) == 3
        async with pool.permits, pool.cursor() as cursor:
            backend = await cursor.connection.get_backend_pid()
        end_connections(pool_url, connections(pool_url) - {backend})  # as a server with a limit on idleness does
        await asyncio.sleep(0.1)  # the pool hears of it
        async with pool.permits, pool.cursor() as cursor:
            assert await cursor.connection.get_backend_pid() == backend
            assert connections(pool_url) == {backend}
            async with pool.permits, pool.cursor() as other:
                await other.execute("SELECT 1 AS one")
                assert await other.fetchone() == (1,)
            assert len(connections(pool_url)) == 2


async def test_statement_does_not_wait_while_another_one_connects(pool_url: str) -> None:
    connecting, may_go_on = asyncio.Event(), asyncio.Event()

    async def wait(_connection: aiopg.Connection) -> None:
        connecting.set()
        await may_go_on.wait()

    async with open_guarded_pool(pool_url, 2, 9) as pool:
        async with pool.permits, pool.cursor():
            pool._pool._on_connect = wait  # noqa: SLF001 - aiopg takes it only when it is made
            other = asyncio.create_task(pool.fill())
            await connecting.wait()
        try:
            async with asyncio.timeout(4), pool.permits, pool.cursor() as cursor:
                await cursor.execute("SELECT 1 AS one")
        finally:
            may_go_on.set()
            await other


# Statements that the server cancels.


def with_time_limit(url: str) -> str:
    limited: str = make_dsn(url, options="-c statement_timeout=50")
    return limited


async def test_aiopg_still_tells_a_cancelled_statement_as_a_cancelled_task(
    open_plain_pool: OpenPlainPool, pool_url: str
) -> None:
    """If this fails, aiopg has mended #537: remove StatementCancelled, and name psycopg2's QueryCanceledError."""
    pool = await open_plain_pool(url=with_time_limit(pool_url))
    async with pool.acquire() as connection, connection.cursor() as cursor:
        with pytest.raises(asyncio.CancelledError):
            await cursor.execute("SELECT pg_sleep(60)")
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_guarded_pool_tells_a_cancelled_statement_from_a_cancelled_task(pool_url: str) -> None:
    async with open_guarded_pool(with_time_limit(pool_url), 1, 4) as pool, pool.permits:
        with pytest.raises(StatementCancelled):
            async with pool.cursor() as cursor:
                await cursor.execute("SELECT pg_sleep(60)")


async def test_guarded_pool_lets_a_cancellation_of_the_task_pass(pool_url: str) -> None:
    async with open_guarded_pool(pool_url, 1, 4) as pool, pool.permits:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1), pool.cursor() as cursor:
                await cursor.execute("SELECT pg_sleep(60)")


# Cancellations that come together with an answer.


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python 3.12 has mended asyncio.wait_for")
async def test_aiopg_still_loses_a_cancellation_that_comes_with_an_answer(open_plain_pool: OpenPlainPool) -> None:
    """If this fails, or Python 3.11 is no longer supported: let the pool have its time limits again."""
    pool = await open_plain_pool()
    async with pool.acquire() as connection, connection.cursor() as cursor:
        asking = asyncio.create_task(cursor.execute("SELECT pg_sleep(0.1)"))
        await asyncio.sleep(0)  # it waits
        asyncio.get_running_loop().call_later(0.001, asking.cancel)
        time.sleep(0.4)  # noqa: ASYNC251 - the answer comes, and the loop is late
        await asking
    assert asking.cancelling() == 1


async def test_guarded_pool_loses_no_cancellation_that_comes_with_an_answer(pool_url: str) -> None:
    async with open_guarded_pool(pool_url, 1, 4) as pool, pool.permits, pool.cursor() as cursor:
        asking = asyncio.create_task(cursor.execute("SELECT pg_sleep(0.1)"))
        await asyncio.sleep(0)  # it waits
        asyncio.get_running_loop().call_later(0.001, asking.cancel)
        time.sleep(0.4)  # noqa: ASYNC251 - the answer comes, and the loop is late
        with pytest.raises(asyncio.CancelledError):
            await asking


# A pool that closes.


async def test_aiopg_still_tells_a_closing_pool_as_a_bug(open_plain_pool: OpenPlainPool) -> None:
    """If this fails, aiopg has an error of its own for it, or other words: mend plain_errors."""
    pool = await open_plain_pool()
    pool.close()
    with pytest.raises(RuntimeError, match="closing pool") as raised:
        await pool.acquire()
    assert raised.type is RuntimeError


async def test_guarded_pool_that_closes_says_so(open_plain_pool: OpenPlainPool) -> None:
    pool = await open_plain_pool()
    pool.close()
    with pytest.raises(PoolClosed):
        async with GuardedPool(pool, 1).cursor():
            pytest.fail("there was a connection to be had")


@pytest.mark.parametrize("breaks", [False, True], ids=["in use", "broken"])
async def test_guarded_pool_closes_although_a_connection_is_being_made(pool_url: str, breaks: bool) -> None:
    connecting, may_go_on = asyncio.Event(), asyncio.Event()

    async def wait(_connection: aiopg.Connection) -> None:
        connecting.set()
        await may_go_on.wait()

    async def ask() -> Any:
        async with pool.permits, pool.cursor() as cursor:
            await cursor.execute("SELECT 1 AS one")
            answer = await cursor.fetchone()
            if breaks:
                await cursor.connection.close()
            return answer

    async with asyncio.timeout(4):
        async with open_guarded_pool(pool_url, 2, 4) as pool:
            pool._pool._on_connect = wait  # noqa: SLF001 - aiopg takes it only when it is made
            asking = asyncio.create_task(ask())
            await connecting.wait()
            asyncio.get_running_loop().call_later(0.1, may_go_on.set)
        assert await asking == (1,)
    assert connections(pool_url) == set()


async def test_other_runtime_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="a bug"), aiopg_guards.plain_errors():
        raise RuntimeError("a bug")


# Connections that break at the wrong moment.


def breaker_of_others(pool_url: str) -> Callable[[aiopg.Connection], Awaitable[None]]:
    """Return a function for each new connection of a pool of two: at the third one, it breaks the other one."""
    opened = list[aiopg.Connection]()

    async def break_the_others(connection: aiopg.Connection) -> None:
        if len(opened) == 2:
            end_connections(pool_url, connections(pool_url) - {await connection.get_backend_pid()})
            await until(lambda: all(other.closed for other in opened))
        opened.append(connection)

    return break_the_others


@pytest.fixture
async def pool_with_a_closed_connection(open_plain_pool: OpenPlainPool, pool_url: str) -> aiopg.Pool:
    """A pool one of whose connections breaks while the pool replaces the other one."""
    pool = await open_plain_pool(size=2, on_connect=breaker_of_others(pool_url))
    async with pool.acquire() as connection:
        await connection.close()
    return pool


async def test_aiopg_still_asserts_that_no_connection_breaks_meanwhile(
    pool_with_a_closed_connection: aiopg.Pool,
) -> None:
    """If this fails, aiopg has mended the rest of #116: remove AssertionError from plain_errors."""
    with pytest.raises(AssertionError, match="closed=2"):
        await pool_with_a_closed_connection.acquire()


async def test_guarded_pool_replaces_a_connection_that_broke_meanwhile(pool_url: str) -> None:
    async with open_guarded_pool(pool_url, 2, 20) as pool:
        pool._pool._on_connect = breaker_of_others(pool_url)  # noqa: SLF001 - nothing else runs while it connects
        await pool.fill()
        async with pool.permits, pool.cursor():
            async with pool.permits, pool.cursor() as cursor:
                await cursor.connection.close()
            async with pool.permits, pool.cursor() as cursor:
                await cursor.execute("SELECT 1 AS one")
                assert await cursor.fetchone() == (1,)
        async with pool.permits, pool.cursor() as cursor:
            await cursor.execute("SELECT 1 AS one")
            assert await cursor.fetchone() == (1,)


async def test_guarded_pool_tells_a_connection_that_broke_meanwhile_as_lost(
    pool_with_a_closed_connection: aiopg.Pool,
) -> None:
    with pytest.raises(ConnectionLost):
        async with GuardedPool(pool_with_a_closed_connection, 2).cursor():
            pytest.fail("the connection was closed")
