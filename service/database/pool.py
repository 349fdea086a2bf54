"""PostgreSQL by aiopg: the pool, its guards, and the one border at which the driver's errors are translated."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import aiopg
import psycopg2
import psycopg2.errors
import structlog

from service import metrics
from service.database import aiopg_guards
from service.errors import Unavailable
from service.refusals import DATABASE_UNAVAILABLE

log = structlog.stdlib.get_logger()

Row = tuple[Any, ...]

_QUERIES = Path(__file__).parents[1] / "sql" / "queries"
_QUERY_SECONDS = 5.0
# A peer that vanished without a word is noticed within these, not within the kernel's two hours.
_KEEPALIVE: Mapping[str, Any] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
# aiopg's own way of tripping over a connection that broke under it are an OSError of epoll and an assertion.
_CONNECTION_LOST = (psycopg2.OperationalError, psycopg2.InterfaceError, OSError, AssertionError)


class ConstraintViolated(Exception):
    """A row that a statement needs is not there any more, or is there already."""


class NotMigrated(Unavailable):
    """The schema lacks what a statement names. A client is only told that the database is unavailable."""


aiopg_guards.install()


class Query(str):  # noqa: SLOT000 - a str has no room for slots
    """One statement of sql/queries, and the name under which it is measured."""

    name: str

    def __new__(cls, name: str, statement: str) -> Self:
        """Make the statement that it is, with its name."""
        query = super().__new__(cls, statement)
        query.name = name
        return query


def read_query(name: str) -> Query:
    """Return the statement kept in sql/queries under that name; a missing one fails the import."""
    return Query(name, (_QUERIES / f"{name}.sql").read_text(encoding="utf-8"))


class Database:
    """A pool of connections that runs single statements, each idempotent, each in a transaction of its own."""

    def __init__(self, pool: aiopg.Pool, max_connections: int) -> None:
        self._pool = pool
        # aiopg forgets to wake a waiter when a broken connection comes back, so its pool never has waiters.
        self._permits = asyncio.Semaphore(max_connections)

    async def fetch_all(self, query: str, parameters: Mapping[str, object]) -> list[Row]:
        """Run one statement and return its rows.

        Raises Unavailable where the database cannot be asked, and ConstraintViolated. A statement whose
        connection broke is run once more, for a restarted server leaves broken connections in the pool; hence
        every statement must be safe to run twice.
        """
        name = query.name if isinstance(query, Query) else "other"
        with metrics.QUERY_SECONDS.labels(name).time(), _translated_errors(name):
            async with asyncio.timeout(_QUERY_SECONDS), self._permits:
                try:
                    return await self._run(query, parameters)
                except TimeoutError:
                    raise
                except _CONNECTION_LOST:
                    await self._pool.clear()  # what one restart of the server broke, it broke in all of them
                    return await self._run(query, parameters)

    async def fetch_one(self, query: str, parameters: Mapping[str, object]) -> Row | None:
        """Run one statement and return its first row; otherwise as `fetch_all`."""
        rows = await self.fetch_all(query, parameters)
        return rows[0] if rows else None

    async def _run(self, statement: str, parameters: Mapping[str, object]) -> list[Row]:
        with metrics.CONNECTIONS_USED.track_inprogress():
            return await self._run_on_connection(statement, parameters)

    async def _run_on_connection(self, statement: str, parameters: Mapping[str, object]) -> list[Row]:
        async with self._pool.acquire() as connection:
            try:
                async with connection.cursor() as cursor:
                    await cursor.execute(statement, parameters)
                    return await cursor.fetchall() if cursor.description else []
            finally:
                aiopg_guards.let_go_if_broken(connection)


@contextlib.asynccontextmanager
async def open_database(url: str, max_connections: int) -> AsyncIterator[Database]:
    """Open the pool and close it at the end. Raises Unavailable where the database does not answer."""
    with _translated_errors("connect"):
        pool = await aiopg.create_pool(
            url,
            minsize=max_connections,
            maxsize=max_connections,
            timeout=_QUERY_SECONDS,
            enable_json=False,
            enable_hstore=False,
            **_KEEPALIVE,
        )
    metrics.CONNECTIONS_LIMIT.set(max_connections)
    try:
        yield Database(pool, max_connections)
    finally:
        pool.terminate()
        await pool.wait_closed()


@contextlib.contextmanager
def _translated_errors(query: str) -> Iterator[None]:
    try:
        yield
    except psycopg2.IntegrityError as error:
        raise ConstraintViolated(str(error)) from error
    except (psycopg2.errors.UndefinedTable, psycopg2.errors.UndefinedColumn) as error:
        log.error("database_not_migrated", query=query, reason=str(error).strip())
        raise DATABASE_UNAVAILABLE().as_kind(NotMigrated) from error
    except (psycopg2.Error, OSError, AssertionError) as error:
        raise _unavailable(query, str(error).strip() or type(error).__name__) from error
    except RuntimeError as error:
        if "closing pool" not in str(error):
            raise
        raise _unavailable(query, "the service is stopping") from error
    except asyncio.CancelledError as error:
        # aiopg raises this too when the server cancels a statement; then nobody has cancelled this task.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise _unavailable(query, "the server cancelled the statement") from error


def _unavailable(query: str, reason: str) -> Unavailable:
    metrics.QUERY_FAILURES.labels(query).inc()
    log.error("database_failed", query=query, reason=reason)
    return DATABASE_UNAVAILABLE()
