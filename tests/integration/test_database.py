"""The pool and its guards, on a real PostgreSQL whose connections are broken in every way."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import select
import tempfile
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg2
import pytest
from psycopg2.extensions import make_dsn, parse_dsn

from service.database.pool import ConstraintViolated, Database, open_database
from service.errors import Unavailable
from tests.support.procfs import descriptors
from tests.support.waiting import until, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

CONNECTIONS = 10
INSERT_USER = "INSERT INTO users (username, token_sha256) VALUES ('ann', %(token_sha256)s)"
TOKEN = {"token_sha256": bytes(32)}
INSERT_RECORD_OF_NOBODY = """
    INSERT INTO records (id, user_id, filename, duration, sample_rate, channels, bit_rate, size, sha256)
    VALUES (gen_random_uuid(), 4711, 'talk.wav', 1, 44100, 2, 128000, 1, %(sha256)s)
"""


@pytest.fixture
def pool_url(database_url: str) -> str:
    """The database under a name that tells this test's pool from all other connections."""
    url: str = make_dsn(database_url, application_name=f"pool {uuid4()}")
    return url


@pytest.fixture
async def database(pool_url: str) -> AsyncIterator[Database]:
    async with open_database(pool_url, CONNECTIONS) as database:
        yield database


async def assert_found_again(database: Database) -> None:
    """It answers soon, how soon is up to a server that forks ten processes."""
    async with asyncio.timeout(20):
        while True:
            with suppress(Unavailable):
                await database.fetch_one("SELECT 1", {})
                break
    await assert_usable(database)


@contextmanager
def impatience() -> Iterator[None]:
    """Give the database a tenth of the usual time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.database.pool._QUERY_SECONDS", 0.5)
        yield


def query(url: str, statement: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
    """Ask the server by another connection, and let nothing else of this process run meanwhile."""
    with closing(psycopg2.connect(make_dsn(url, application_name="test"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return list(cursor.fetchall())


def connections(url: str) -> set[int]:
    """Return the process of each of the pool's connections."""
    name = parse_dsn(url)["application_name"]
    return {pid for (pid,) in query(url, "SELECT pid FROM pg_stat_activity WHERE application_name = %s", (name,))}


def break_connections(url: str, count: int = CONNECTIONS) -> None:
    """Have the server end so many of the pool's connections, while nothing else of this process runs."""
    broken = random.Random(count).sample(sorted(connections(url)), count)
    query(url, "SELECT pg_terminate_backend(pid) FROM unnest(%s) AS pid", (broken,))
    wait_until(lambda: not connections(url).intersection(broken))


async def assert_usable(database: Database) -> None:
    """Every connection answers, well before a hanging one is given up."""
    async with asyncio.timeout(4):
        sums = [database.fetch_one(f"SELECT 1 + {number}", {}) for number in range(2 * CONNECTIONS)]
        assert await asyncio.gather(*sums) == [(1 + number,) for number in range(2 * CONNECTIONS)]


@contextmanager
def seconds_within(least: float, most: float) -> Iterator[None]:
    begin = time.monotonic()
    yield
    assert least <= time.monotonic() - begin <= most


@contextmanager
def many_descriptors(count: int = 1100) -> Iterator[None]:
    """Let the next descriptor be past 1023, as in a service with many clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * count:
        pytest.skip(f"only {hard} descriptors are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * count), hard))
    held = [os.open(os.devnull, os.O_RDONLY)]
    try:
        held += [os.dup(held[0]) for _ in range(count)]
        assert held[-1] > 1023
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Network:
    """What lies between the pool and the server: it can be cut, fall silent, and be mended."""

    def __init__(self, url: str, directory: str) -> None:
        server = parse_dsn(url)
        name = f".s.PGSQL.{server['port']}"
        self.url = make_dsn(url, host=directory)
        self._near, self._far = Path(directory, name), Path(server["host"], name)
        self._audible = asyncio.Event()
        self._audible.set()
        self._writers = set[asyncio.StreamWriter]()
        self._forgotten = set[asyncio.StreamWriter]()
        self._listener: asyncio.Server | None = None

    async def mend(self) -> None:
        self._audible.set()
        if self._listener is None:
            self._listener = await asyncio.start_unix_server(self._connect, self._near)

    async def cut(self) -> None:
        """End every connection and refuse new ones, as the host of a server that is down does."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            self._near.unlink(missing_ok=True)
        self._audible.set()
        for writer in self._writers:
            writer.transport.abort()
        await until(lambda: not self._writers)

    def forget(self) -> None:
        """Know none of today's connections from now on, as a server or a firewall that was started anew does.

        Nobody is told; whoever uses one is.
        """
        self._forgotten |= self._writers

    def fall_silent(self) -> None:
        """Lose every byte's way without a word, as a pulled cable or a stopped server does."""
        self._audible.clear()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(self._far)
        self._writers |= {writer, far_writer}
        await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer))
        self._writers -= {writer, far_writer}

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while piece := await reader.read(65_536):
                await self._audible.wait()
                if writer in self._forgotten:
                    break
                writer.write(piece)
                await writer.drain()
        writer.close()


@pytest.fixture
async def network(pool_url: str) -> AsyncIterator[Network]:
    with tempfile.TemporaryDirectory(prefix="wp-") as directory:  # short: a socket's path has 107 bytes at most
        network = Network(pool_url, directory)
        await network.mend()
        yield network
        await network.cut()


async def test_rows_come_back_as_python_values(database: Database) -> None:
    assert await database.fetch_one("SELECT 1, %(text)s, ARRAY['a']", {"text": "ö%"}) == (1, "ö%", ["a"])
    assert await database.fetch_all("SELECT * FROM generate_series(1, 3)", {}) == [(1,), (2,), (3,)]
    assert await database.fetch_one("SELECT 1 WHERE false", {}) is None
    assert await database.fetch_all("DELETE FROM users", {}) == []


async def test_pool_is_full_from_the_start_and_empty_after_the_end(pool_url: str) -> None:
    before = descriptors()
    async with open_database(pool_url, CONNECTIONS) as database:
        assert len(connections(pool_url)) == CONNECTIONS
        await assert_usable(database)
        assert len(connections(pool_url)) == CONNECTIONS
    assert descriptors() - before == set()


@pytest.mark.parametrize(
    ("statement", "parameters"), [(INSERT_USER, TOKEN), (INSERT_RECORD_OF_NOBODY, {"sha256": bytes(32)})]
)
async def test_violated_constraint_is_told_from_an_outage(
    database: Database, statement: str, parameters: dict[str, object]
) -> None:
    await database.fetch_all(INSERT_USER, TOKEN)
    with pytest.raises(ConstraintViolated):
        await database.fetch_all(statement, parameters)
    await assert_usable(database)


@pytest.mark.parametrize("statement", ["SELEC 1", "SELECT * FROM nowhere", "SELECT 1/0"])
async def test_statement_that_fails_breaks_nothing(database: Database, statement: str) -> None:
    with pytest.raises(Unavailable):
        await database.fetch_all(statement, {})
    await assert_usable(database)


async def test_errors_are_noticed_on_descriptors_past_1023(pool_url: str) -> None:
    with many_descriptors():
        async with open_database(pool_url, CONNECTIONS) as database:
            await database.fetch_all(INSERT_USER, TOKEN)
            for _ in range(2 * CONNECTIONS):
                with seconds_within(0, 4), pytest.raises(ConstraintViolated):
                    await database.fetch_all(INSERT_USER, TOKEN)
            await assert_usable(database)


async def test_aiopg_still_hangs_on_descriptors_past_1023(pool_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should this fail, then aiopg has been mended: remove _PollSelect."""
    monkeypatch.setattr("aiopg.connection.select", select)
    with many_descriptors():
        async with open_database(pool_url, CONNECTIONS) as database:
            await database.fetch_all(INSERT_USER, TOKEN)
            with (
                impatience(),
                pytest.raises((Unavailable, ValueError)),
            ):  # by whether the answer was awaited or there already
                await database.fetch_all(INSERT_USER, TOKEN)


async def test_broken_connection_is_noticed_on_descriptors_past_1023(pool_url: str) -> None:
    with many_descriptors():
        async with open_database(pool_url, CONNECTIONS) as database:
            break_connections(pool_url)
            with seconds_within(0, 4):
                assert await database.fetch_one("SELECT 1", {}) == (1,)


async def test_servers_time_limit_is_an_outage_and_not_a_cancellation(pool_url: str) -> None:
    async with open_database(make_dsn(pool_url, options="-c statement_timeout=100"), CONNECTIONS) as database:
        with seconds_within(0.1, 4), pytest.raises(Unavailable):
            await database.fetch_all("SELECT pg_sleep(60)", {})
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await assert_usable(database)


async def test_statement_cancelled_by_an_operator_is_an_outage(database: Database, pool_url: str) -> None:
    asking = await asking_task(database, pool_url)
    query(pool_url, "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE starts_with(query, 'SELECT pg_sleep')")
    with pytest.raises(Unavailable):
        await asking
    await assert_usable(database)


async def asking_task(database: Database, url: str) -> asyncio.Task[Any]:
    """Return a task that waits for the server, which has its statement by now."""
    asking = asyncio.create_task(database.fetch_all("SELECT pg_sleep(60)", {}))
    await until(lambda: query(url, "SELECT 1 FROM pg_stat_activity WHERE starts_with(query, 'SELECT pg_sleep')"))
    return asking


async def test_cancellation_of_the_task_stays_one(database: Database, pool_url: str) -> None:
    asking = await asking_task(database, pool_url)
    asking.cancel()
    with seconds_within(0, 4), pytest.raises(asyncio.CancelledError):
        await asking
    assert asking.cancelled()
    await assert_usable(database)


async def test_callers_own_time_limit_stays_one(database: Database) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await database.fetch_all("SELECT pg_sleep(60)", {})
    await assert_usable(database)


async def test_query_without_an_answer_is_an_outage(database: Database) -> None:
    with impatience(), seconds_within(0.4, 4), pytest.raises(Unavailable):
        await database.fetch_all("SELECT pg_sleep(60)", {})
    await assert_usable(database)


async def test_cancelled_queries_give_their_connections_back(database: Database) -> None:
    moments = random.Random(1)
    for _ in range(5):
        asking = [asyncio.create_task(database.fetch_all("SELECT pg_sleep(0.01)", {})) for _ in range(50)]
        for task in asking:
            await asyncio.sleep(moments.choice([0, 0, 0.001]))
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        assert sum(not task.cancelled() for task in asking if task.cancelled() or task.exception()) == 0
    await assert_usable(database)


async def test_waiting_queries_go_on_when_those_before_them_are_cancelled(database: Database) -> None:
    before = [asyncio.create_task(database.fetch_all("SELECT pg_sleep(60)", {})) for _ in range(CONNECTIONS)]
    await asyncio.sleep(0.1)
    waiting = [asyncio.create_task(database.fetch_one("SELECT 1", {})) for _ in range(CONNECTIONS)]
    await asyncio.sleep(0.1)
    for task in before:
        task.cancel()
    with seconds_within(0, 4):
        assert await asyncio.gather(*waiting) == [(1,)] * CONNECTIONS
    assert all(task.cancelled() for task in before)


@pytest.mark.parametrize("pause_seconds", [0, 0.1], ids=["unseen", "seen"])
async def test_restarted_server_is_not_noticed(database: Database, pool_url: str, pause_seconds: float) -> None:
    for _ in range(3):
        break_connections(pool_url)
        if pause_seconds:
            await asyncio.sleep(pause_seconds)
        assert await database.fetch_one("SELECT 1", {}) == (1,)
        await assert_usable(database)


async def test_restarted_server_is_not_noticed_by_many_at_once(database: Database, pool_url: str) -> None:
    break_connections(pool_url)
    await assert_usable(database)
    assert len(connections(pool_url)) == CONNECTIONS


async def test_server_that_ends_a_query_is_asked_once_more(database: Database, pool_url: str) -> None:
    slow = [database.fetch_one("SELECT pg_sleep(0.2)", {}) for _ in range(CONNECTIONS)]
    asking = asyncio.gather(*slow)
    await asyncio.sleep(0.1)
    break_connections(pool_url)
    async with asyncio.timeout(4):
        assert await asking == [("",)] * CONNECTIONS


@pytest.mark.parametrize("count", [1, 5, 10])
async def test_two_hundred_queries_at_once_all_succeed_while_connections_break(
    database: Database, pool_url: str, count: int
) -> None:
    asking = [asyncio.create_task(database.fetch_one("SELECT pg_sleep(0.01)", {})) for _ in range(200)]
    await asyncio.sleep(0.07)
    break_connections(pool_url, count)
    async with asyncio.timeout(5):
        assert await asyncio.gather(*asking) == [("",)] * 200
    await assert_usable(database)


async def test_lost_database_is_reported_at_once_and_found_again(network: Network) -> None:
    async with open_database(network.url, CONNECTIONS) as database:
        await network.cut()
        with seconds_within(0, 4):
            asking = [database.fetch_one("SELECT 1", {}) for _ in range(3 * CONNECTIONS)]
            refusals = await asyncio.gather(*asking, return_exceptions=True)
        assert {type(refusal) for refusal in refusals} == {Unavailable}
        await network.mend()
        await assert_found_again(database)


async def test_silent_database_is_reported_in_time_and_found_again(network: Network) -> None:
    async with open_database(network.url, CONNECTIONS) as database:
        network.fall_silent()
        with impatience(), seconds_within(0.4, 4):
            asking = [database.fetch_one("SELECT 1", {}) for _ in range(3 * CONNECTIONS)]
            refusals = await asyncio.gather(*asking, return_exceptions=True)
        assert {type(refusal) for refusal in refusals} == {Unavailable}
        await network.mend()
        await assert_found_again(database)


async def test_forgotten_connections_are_not_noticed(network: Network) -> None:
    async with open_database(network.url, CONNECTIONS) as database:
        network.forget()
        with seconds_within(0, 4):
            assert await database.fetch_one("SELECT 1", {}) == (1,)
        network.forget()
        await assert_usable(database)


async def test_database_that_refuses_at_the_start_is_an_outage(network: Network) -> None:
    await network.cut()
    with seconds_within(0, 4), pytest.raises(Unavailable):
        await open_and_close(network.url)


async def test_database_that_is_silent_at_the_start_is_an_outage(network: Network) -> None:
    network.fall_silent()
    with impatience(), seconds_within(0.4, 4), pytest.raises(Unavailable):
        await open_and_close(network.url)


async def open_and_close(url: str) -> None:
    async with open_database(url, CONNECTIONS):
        pass


async def test_query_that_runs_at_the_end_is_an_outage(pool_url: str) -> None:
    async with open_database(pool_url, CONNECTIONS) as database:
        asking = await asking_task(database, pool_url)
    with seconds_within(0, 4), pytest.raises(Unavailable):
        await asking
