"""The pool and its guards, on a real PostgreSQL whose connections are broken in every way."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from psycopg2.extensions import make_dsn, parse_dsn

from service.database.pool import ConstraintViolated, Database, InvalidValue, Query, open_database
from service.errors import Unavailable
from tests.support.database import query
from tests.support.pools import break_connections, connections, end_connections, many_descriptors, seconds_within
from tests.support.procfs import descriptors
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

CONNECTIONS = 10
IMPATIENT_SECONDS = 0.5
LATE_SECONDS = 0.2
# What takes a moment must be over by then, and long before a statement runs out of time. The machine may be loaded.
SOON_SECONDS = 15.0
PATIENT_SECONDS = 30.0
INSERT_USER = Query("insert_user", "INSERT INTO users (username, token_sha256) VALUES ('ann', %(token_sha256)s)")
TOKEN = {"token_sha256": bytes(32)}
INSERT_RECORD_OF_NOBODY = Query(
    "insert_record",
    """
    INSERT INTO records (id, user_id, filename, duration, sample_rate, channels, bit_rate, size, sha256)
    VALUES (gen_random_uuid(), 4711, 'talk.wav', 1, 44100, 2, 128000, 1, %(sha256)s)
    """,
)
SELECT_ONE = Query("select_one", "SELECT 1 AS one")
ONE = {"one": 1}


def sleep(seconds: float) -> Query:
    """Return a statement that the server answers after so many seconds."""
    return Query("sleep", f"SELECT pg_sleep({seconds}) AS slept")


SLEPT = {"slept": ""}


def asleep(url: str) -> list[int]:
    """Return the server's processes that run what `sleep` says, for the pool of that address alone."""
    running = "SELECT pid, query FROM pg_stat_activity WHERE state = 'active' AND application_name = %s"
    found = query(url, running, [parse_dsn(url)["application_name"]])
    return [pid for pid, statement in found if "SELECT pg_sleep" in statement]


@pytest.fixture
def pool_url(database_url: str) -> str:
    """The database's address with a name by which the server knows this test's pool."""
    url: str = make_dsn(database_url, application_name=f"pool {uuid4()}")
    return url


@pytest.fixture
async def database(pool_url: str) -> AsyncIterator[Database]:
    async with open_database(pool_url, CONNECTIONS, query_seconds=PATIENT_SECONDS) as database:
        yield database


async def assert_found_again(database: Database) -> None:
    """Wait until the database answers again; how soon depends on a server that forks ten processes."""
    async with asyncio.timeout(20):
        while True:
            with suppress(Unavailable):
                await database.fetch_one(SELECT_ONE, {})
                break
    await assert_usable(database)


async def assert_usable(database: Database) -> None:
    """Check that every connection answers, well before the time limit for one that hangs."""
    async with asyncio.timeout(SOON_SECONDS):
        add_one = Query("add_one", "SELECT 1 + %(number)s AS sum")
        sums = [database.fetch_one(add_one, {"number": number}) for number in range(2 * CONNECTIONS)]
        assert await asyncio.gather(*sums) == [{"sum": 1 + number} for number in range(2 * CONNECTIONS)]


class Network:
    """The network between the pool and the server: a test can cut it, silence it and mend it."""

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
        """End every connection and refuse new ones, as a host does whose server is down."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            self._near.unlink(missing_ok=True)
        self._audible.set()
        for writer in self._writers:
            writer.transport.abort()
        await until(lambda: not self._writers)

    def forget(self) -> None:
        """Forget all connections of now, as a server or a firewall does that has been restarted.

        The pool only learns of it when it uses one of them.
        """
        self._forgotten |= self._writers

    def fall_silent(self) -> None:
        """Lose every byte without any sign, as a pulled cable or a stopped server does."""
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
    # A short path, because a socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="wp-") as directory:
        network = Network(pool_url, directory)
        await network.mend()
        yield network
        await network.cut()


async def test_rows_come_back_as_python_values_by_the_names_of_their_columns(database: Database) -> None:
    mixed = Query("mixed", "SELECT 1 AS number, %(text)s AS text, ARRAY['a'] AS list")
    assert await database.fetch_one(mixed, {"text": "ö%"}) == {"number": 1, "text": "ö%", "list": ["a"]}
    series = Query("series", "SELECT * FROM generate_series(1, 3) AS numbers (number)")
    assert await database.fetch_all(series, {}) == [{"number": 1}, {"number": 2}, {"number": 3}]


async def test_statement_that_finds_nothing_has_no_first_row(database: Database) -> None:
    nothing = Query("nothing", "SELECT 1 AS one WHERE false")
    assert await database.fetch_all(nothing, {}) == []
    assert await database.fetch_one(nothing, {}) is None


async def test_statement_without_rows_is_executed(database: Database) -> None:
    await database.execute(INSERT_USER, TOKEN)
    assert await database.fetch_all(Query("users", "SELECT username FROM users"), {}) == [{"username": "ann"}]


async def test_pool_is_full_from_the_start_and_empty_after_the_end(pool_url: str) -> None:
    before = descriptors()
    async with open_database(pool_url, CONNECTIONS, query_seconds=PATIENT_SECONDS) as database:
        assert len(connections(pool_url)) == CONNECTIONS
        await assert_usable(database)
        assert len(connections(pool_url)) == CONNECTIONS
    assert descriptors() - before == set()


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [(INSERT_USER, TOKEN), (INSERT_RECORD_OF_NOBODY, {"sha256": bytes(32)})],
    ids=["twice", "of nobody"],
)
async def test_violated_constraint_is_distinguished_from_an_outage(
    database: Database, statement: Query, parameters: dict[str, object]
) -> None:
    await database.execute(INSERT_USER, TOKEN)
    with pytest.raises(ConstraintViolated):
        await database.execute(statement, parameters)
    await assert_usable(database)


@pytest.mark.parametrize("statement", ["SELEC 1", "SELECT * FROM nowhere", "SELECT nothing"])
async def test_statement_that_fails_breaks_nothing(database: Database, statement: str) -> None:
    with pytest.raises(Unavailable):
        await database.fetch_all(Query("failing", statement), {})
    await assert_usable(database)


@pytest.fixture
def count_runs(database_url: str) -> Iterator[Callable[[], int]]:
    """Make the sequence `runs`, which no rollback turns back; return a function that tells how often it was asked."""
    query(database_url, "CREATE SEQUENCE runs")
    yield lambda: query(database_url, "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM runs")[0][0]
    query(database_url, "DROP SEQUENCE runs")


def failing_at_first(code: str) -> Query:
    """Return a statement that fails with that code when it is run for the first time."""
    fail = f"RAISE EXCEPTION 'so it is' USING ERRCODE = '{code}'"
    return Query("fail", f"DO $$ BEGIN IF nextval('runs') = 1 THEN {fail}; END IF; END $$")


@pytest.mark.parametrize("code", ["53100", "53200", "55P03", "55006", "58030", "54001", "57014"])
async def test_error_of_the_server_is_an_outage_at_once_and_costs_no_connection(
    database: Database, pool_url: str, count_runs: Callable[[], int], code: str
) -> None:
    """psycopg2 has one class for a full disk, a timeout of a lock and a lost connection."""
    before = connections(pool_url)
    with pytest.raises(Unavailable):
        await database.execute(failing_at_first(code), {})
    assert count_runs() == 1
    assert connections(pool_url) == before
    await assert_usable(database)


@pytest.mark.parametrize("code", ["40P01", "40001"])
async def test_statement_in_a_deadlock_is_run_once_more_and_costs_no_connection(
    database: Database, pool_url: str, count_runs: Callable[[], int], code: str
) -> None:
    before = connections(pool_url)
    await database.execute(failing_at_first(code), {})
    assert count_runs() == 2
    assert connections(pool_url) == before


@pytest.mark.parametrize("code", ["57P01", "57P02", "57P03", "08006"])
async def test_statement_of_a_server_that_stops_is_run_once_more_on_a_new_connection(
    database: Database, pool_url: str, count_runs: Callable[[], int], code: str
) -> None:
    before = connections(pool_url)
    await database.execute(failing_at_first(code), {})
    assert count_runs() == 2
    await until(lambda: not connections(pool_url) & before)


async def test_errors_are_noticed_on_descriptors_past_1023(pool_url: str) -> None:
    with many_descriptors():
        async with open_database(pool_url, CONNECTIONS, query_seconds=PATIENT_SECONDS) as database:
            await database.execute(INSERT_USER, TOKEN)
            for _ in range(2 * CONNECTIONS):
                with seconds_within(0, SOON_SECONDS), pytest.raises(ConstraintViolated):
                    await database.execute(INSERT_USER, TOKEN)
            await assert_usable(database)


async def test_broken_connection_is_noticed_on_descriptors_past_1023(pool_url: str) -> None:
    with many_descriptors():
        async with open_database(pool_url, CONNECTIONS, query_seconds=PATIENT_SECONDS) as database:
            break_connections(pool_url, CONNECTIONS)
            with seconds_within(0, SOON_SECONDS):
                assert await database.fetch_one(SELECT_ONE, {}) == ONE


async def test_statement_that_is_given_up_is_given_up_in_the_server_too(pool_url: str) -> None:
    async with open_database(pool_url, CONNECTIONS, query_seconds=2) as database:
        with seconds_within(0.1, SOON_SECONDS), pytest.raises(Unavailable):
            await database.fetch_all(sleep(60), {})
        assert not asleep(pool_url)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await assert_usable(database)


@pytest.mark.parametrize("step", range(0, 40, 5))
async def test_statement_whose_time_ends_while_it_connects_is_an_outage(pool_url: str, step: int) -> None:
    """The loop is late, so it hears of the end of the time and of the connection in the same moment."""
    async with open_database(pool_url, 1, query_seconds=LATE_SECONDS, may_be_away=True) as database:
        end_connections(pool_url, connections(pool_url))
        asking = asyncio.create_task(database.fetch_all(sleep(60), {}))
        for _ in range(step):
            await asyncio.sleep(0)
        time.sleep(LATE_SECONDS * 1.5)  # noqa: ASYNC251 - so that the loop is late
        with pytest.raises(Unavailable):
            await asking
        assert asking.cancelling() == 0


async def test_time_limit_in_the_server_counts_the_wait_for_a_connection(pool_url: str) -> None:
    """The second one has little time left when it gets the connection, and the server is told so."""
    async with open_database(pool_url, 1, query_seconds=3) as database:
        sleeping = asyncio.create_task(database.fetch_all(sleep(1.5), {}))
        await asyncio.sleep(0)
        with seconds_within(2.5, SOON_SECONDS), pytest.raises(Unavailable):
            await database.fetch_all(sleep(60), {})
        assert await sleeping == [SLEPT]
        assert not asleep(pool_url)


async def test_time_limit_in_the_server_ends_with_its_statement(pool_url: str) -> None:
    async with open_database(pool_url, 1, query_seconds=1) as database:
        setting = Query("setting", "SELECT setting, source FROM pg_settings WHERE name = 'statement_timeout'")
        for _ in range(2):
            row = await database.fetch_one(setting, {})
            assert row is not None
            assert 0 < int(row["setting"]) <= 900
        async with database._pool.cursor() as cursor:  # noqa: SLF001 - what the next user of the connection finds
            await cursor.execute("SHOW statement_timeout")
            assert await cursor.fetchone() == ("0",)


async def test_statement_that_the_server_cancels_leaves_no_traceback_in_the_log(
    pool_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_database(pool_url, 1, query_seconds=2) as database:
        with pytest.raises(Unavailable):
            await database.fetch_all(sleep(60), {})
    assert not [record for record in caplog.records if record.exc_info]


async def test_value_that_the_server_cannot_take_is_a_bug_and_not_an_outage(database: Database) -> None:
    with pytest.raises(InvalidValue) as raised:
        await database.fetch_all(Query("cast", "SELECT %(text)s::timestamptz"), {"text": "2026-01-01T00:00:00+23:59"})
    assert "SELECT" not in str(raised.value)
    assert raised.value.__cause__ is None
    await assert_usable(database)


async def test_statement_cancelled_by_an_operator_is_an_outage(database: Database, pool_url: str) -> None:
    asking = await asking_task(database, pool_url)
    query(pool_url, "SELECT pg_cancel_backend(pid) FROM unnest(%s) AS pid", (asleep(pool_url),))
    with pytest.raises(Unavailable):
        await asking
    await assert_usable(database)


async def asking_task(database: Database, url: str) -> asyncio.Task[Any]:
    """Return a task that waits for the server, which already has its statement."""
    asking = asyncio.create_task(database.fetch_all(sleep(60), {}))
    await until(lambda: asleep(url))
    return asking


async def test_cancellation_of_the_task_stays_a_cancellation(database: Database, pool_url: str) -> None:
    asking = await asking_task(database, pool_url)
    asking.cancel()
    with seconds_within(0, SOON_SECONDS), pytest.raises(asyncio.CancelledError):
        await asking
    assert asking.cancelled()
    await assert_usable(database)


async def test_callers_own_time_limit_stays_a_time_limit(database: Database) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await database.fetch_all(sleep(60), {})
    await assert_usable(database)


async def test_query_without_an_answer_is_an_outage(pool_url: str) -> None:
    async with open_database(pool_url, CONNECTIONS, query_seconds=IMPATIENT_SECONDS) as database:
        with seconds_within(0.4, SOON_SECONDS), pytest.raises(Unavailable):
            await database.fetch_all(sleep(60), {})
        await assert_usable(database)


async def test_cancelled_queries_give_their_connections_back(database: Database) -> None:
    moments = random.Random(1)
    for _ in range(5):
        asking = [asyncio.create_task(database.fetch_all(sleep(0.01), {})) for _ in range(50)]
        for task in asking:
            await asyncio.sleep(moments.choice([0, 0, 0.001]))
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        assert sum(not task.cancelled() for task in asking if task.cancelled() or task.exception()) == 0
    await assert_usable(database)


async def test_waiting_queries_go_on_when_those_before_them_are_cancelled(database: Database) -> None:
    before = [asyncio.create_task(database.fetch_all(sleep(60), {})) for _ in range(CONNECTIONS)]
    await until(database._pool.permits.locked)  # noqa: SLF001 - nothing else tells that every connection is taken
    waiting = [asyncio.create_task(database.fetch_one(SELECT_ONE, {})) for _ in range(CONNECTIONS)]
    await asyncio.sleep(0.1)
    for task in before:
        task.cancel()
    with seconds_within(0, SOON_SECONDS):
        assert await asyncio.gather(*waiting) == [ONE] * CONNECTIONS
    assert all(task.cancelled() for task in before)


@pytest.mark.parametrize("pause_seconds", [0, 0.1], ids=["unseen", "seen"])
async def test_restarted_server_is_not_noticed(database: Database, pool_url: str, pause_seconds: float) -> None:
    for _ in range(3):
        break_connections(pool_url)
        if pause_seconds:
            await asyncio.sleep(pause_seconds)
        assert await database.fetch_one(SELECT_ONE, {}) == ONE
        await assert_usable(database)


async def test_many_queries_at_once_do_not_notice_a_restarted_server(database: Database, pool_url: str) -> None:
    break_connections(pool_url)
    await assert_usable(database)
    slow = [database.fetch_one(sleep(0.2), {}) for _ in range(CONNECTIONS)]
    assert await asyncio.gather(*slow) == [SLEPT] * CONNECTIONS
    assert len(connections(pool_url)) == CONNECTIONS


async def test_server_that_ends_a_query_is_asked_once_more(database: Database, pool_url: str) -> None:
    slow = [database.fetch_one(sleep(0.2), {}) for _ in range(CONNECTIONS)]
    asking = asyncio.gather(*slow)
    await asyncio.sleep(0.1)
    break_connections(pool_url, CONNECTIONS)
    async with asyncio.timeout(SOON_SECONDS):
        assert await asking == [SLEPT] * CONNECTIONS


@pytest.mark.parametrize("count", [1, 5, 10])
async def test_two_hundred_queries_at_once_all_succeed_while_connections_break(
    database: Database, pool_url: str, count: int
) -> None:
    asking = [asyncio.create_task(database.fetch_one(sleep(0.01), {})) for _ in range(200)]
    await asyncio.sleep(0.07)
    break_connections(pool_url, count)
    async with asyncio.timeout(SOON_SECONDS):
        assert await asyncio.gather(*asking) == [SLEPT] * 200
    await assert_usable(database)


async def test_lost_database_is_reported_at_once_and_found_again(network: Network) -> None:
    async with open_database(network.url, CONNECTIONS, query_seconds=PATIENT_SECONDS) as database:
        await network.cut()
        with seconds_within(0, SOON_SECONDS):
            asking = [database.fetch_one(SELECT_ONE, {}) for _ in range(3 * CONNECTIONS)]
            refusals = await asyncio.gather(*asking, return_exceptions=True)
        assert {type(refusal) for refusal in refusals} == {Unavailable}
        await network.mend()
        await assert_found_again(database)


async def test_silent_database_is_reported_in_time_and_found_again(network: Network) -> None:
    async with open_database(network.url, CONNECTIONS, query_seconds=IMPATIENT_SECONDS) as database:
        network.fall_silent()
        with seconds_within(0.4, SOON_SECONDS):
            asking = [database.fetch_one(SELECT_ONE, {}) for _ in range(3 * CONNECTIONS)]
            refusals = await asyncio.gather(*asking, return_exceptions=True)
        assert {type(refusal) for refusal in refusals} == {Unavailable}
        await network.mend()
        await assert_found_again(database)


async def test_forgotten_connections_are_not_noticed(network: Network) -> None:
    async with open_database(network.url, CONNECTIONS, query_seconds=PATIENT_SECONDS) as database:
        network.forget()
        with seconds_within(0, SOON_SECONDS):
            assert await database.fetch_one(SELECT_ONE, {}) == ONE
        network.forget()
        await assert_usable(database)


async def test_database_that_refuses_at_the_start_is_an_outage(network: Network) -> None:
    await network.cut()
    with seconds_within(0, SOON_SECONDS), pytest.raises(Unavailable):
        await open_and_close(network.url)


async def test_database_that_is_silent_at_the_start_is_an_outage(network: Network) -> None:
    network.fall_silent()
    with seconds_within(0.4, SOON_SECONDS), pytest.raises(Unavailable):
        await open_and_close(network.url, query_seconds=IMPATIENT_SECONDS)


async def test_database_that_may_be_away_at_the_start_is_found_when_it_is_there(network: Network) -> None:
    await network.cut()
    with seconds_within(0, SOON_SECONDS):
        async with open_database(network.url, CONNECTIONS, may_be_away=True) as database:
            with pytest.raises(Unavailable):
                await database.fetch_one(SELECT_ONE, {})
            await network.mend()
            await assert_found_again(database)


async def open_and_close(url: str, query_seconds: float = PATIENT_SECONDS) -> None:
    async with open_database(url, CONNECTIONS, query_seconds=query_seconds):
        pass


async def test_query_that_runs_at_the_end_is_an_outage(pool_url: str) -> None:
    async with open_database(pool_url, CONNECTIONS, query_seconds=PATIENT_SECONDS) as database:
        asking = await asking_task(database, pool_url)
    with seconds_within(0, SOON_SECONDS), pytest.raises(Unavailable):
        await asking
