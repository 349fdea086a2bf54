"""Runs statements on PostgreSQL by aiopg, and translates the driver's errors."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
import structlog
from psycopg2.extensions import TransactionRollbackError

from service import metrics
from service.database.aiopg_guards import ConnectionLost
from service.database.guarded_pool import GuardedPool, open_guarded_pool
from service.errors import Unavailable
from service.refusals import DATABASE_UNAVAILABLE

log = structlog.stdlib.get_logger()

# A row's values by the names of their columns.
Row = Mapping[str, Any]

# PostgreSQL gives a statement up after this part of the time that is left for it, so before we do.
_SERVERS_SHARE = 0.9

_QUERIES = Path(__file__).parents[1] / "sql" / "queries"


class ConstraintViolated(Exception):
    """A row that a statement refers to is gone, or a row that it inserts exists already."""


class InvalidValue(Exception):
    """A value that PostgreSQL cannot take. Callers check what they pass on, so this is a bug."""


class NotMigrated(Unavailable):
    """The schema lacks what a statement names. A client is only told that the database is unavailable."""


@dataclass(frozen=True, slots=True)
class Query:
    """One statement, and the name under which it is measured."""

    name: str
    statement: str


def read_query(name: str) -> Query:
    """Return the statement in sql/queries/{name}.sql. Raises FileNotFoundError."""
    return Query(name, (_QUERIES / f"{name}.sql").read_text(encoding="utf-8"))


class Database:
    """A pool of connections that runs single statements, each in a transaction of its own.

    Every method raises Unavailable if the database cannot be asked, or does not answer within `query_seconds`,
    including the wait for a connection. PostgreSQL then gives the statement up too. It raises ConstraintViolated if the
    statement violates a constraint. It runs the statement a second time after a deadlock, and if its connection broke,
    because a server that restarts leaves broken connections in the pool. So every statement must be safe to run twice.
    """

    def __init__(self, pool: GuardedPool, query_seconds: float) -> None:
        self._pool = pool
        self._query_seconds = query_seconds

    async def fetch_all(self, query: Query, parameters: Mapping[str, object]) -> list[Row]:
        """Run one statement and return its rows."""
        return await self._run(query, parameters, has_rows=True)

    async def fetch_one(self, query: Query, parameters: Mapping[str, object]) -> Row | None:
        """Run one statement and return its first row, if there is one."""
        rows = await self.fetch_all(query, parameters)
        return rows[0] if rows else None

    async def execute(self, query: Query, parameters: Mapping[str, object]) -> None:
        """Run one statement that returns no rows."""
        await self._run(query, parameters, has_rows=False)

    async def _run(self, query: Query, parameters: Mapping[str, object], *, has_rows: bool) -> list[Row]:
        with metrics.QUERY_SECONDS.labels(query.name).time(), _translated_errors(query.name):
            deadline = asyncio.get_running_loop().time() + self._query_seconds
            async with asyncio.timeout_at(deadline), self._pool.permits:
                try:
                    return await self._run_once(query, parameters, deadline, has_rows=has_rows)
                except ConnectionLost:
                    await self._pool.clear()  # a restart of the server breaks all of its connections
                except TransactionRollbackError:
                    pass  # the statement stood in the way of another
                return await self._run_once(query, parameters, deadline, has_rows=has_rows)

    async def _run_once(
        self, query: Query, parameters: Mapping[str, object], deadline: float, *, has_rows: bool
    ) -> list[Row]:
        with metrics.CONNECTIONS_USED.track_inprogress():
            async with self._pool.cursor() as cursor:
                seconds = deadline - asyncio.get_running_loop().time()
                await cursor.execute(_limited(query.statement, seconds), parameters)
                if not has_rows:
                    return []
                names = [column.name for column in cursor.description or ()]
                return [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()]


@contextlib.asynccontextmanager
async def open_database(
    url: str, max_connections: int, *, query_seconds: float = 5.0, may_be_away: bool = False
) -> AsyncIterator[Database]:
    """Open the pool for the length of the block.

    Raises Unavailable if the database does not answer. With `may_be_away` it does not: then only the statements raise
    it, until the database is there.
    """
    async with open_guarded_pool(url, max_connections, query_seconds) as pool:
        try:
            with _translated_errors("connect"):
                await pool.fill()
        except Unavailable:  # it is logged
            if not may_be_away:
                raise
        metrics.CONNECTIONS_LIMIT.set(max_connections)
        yield Database(pool, query_seconds)


def _limited(statement: str, seconds: float) -> str:
    """Return the statement with a time limit for PostgreSQL, in one message, which is one transaction.

    So the limit holds for this statement alone, and behind PgBouncer it is nobody else's. It knows how long the
    statement has waited for a connection; a connection's or a role's limit would not.
    """
    milliseconds = max(1, int(seconds * _SERVERS_SHARE * 1000))  # 0 would be no limit
    return f"SET LOCAL statement_timeout = {milliseconds};\n{statement}"


@contextlib.contextmanager
def _translated_errors(query: str) -> Iterator[None]:
    try:
        yield
    except psycopg2.IntegrityError as error:
        raise ConstraintViolated(str(error)) from error
    except psycopg2.DataError as error:
        # Not the cause itself: it quotes the statement, which may hold a record's id.
        raise InvalidValue(f"{query}: {_first_line(error)}") from None
    except (psycopg2.errors.UndefinedTable, psycopg2.errors.UndefinedColumn) as error:
        log.error("database_not_migrated", query=query, reason=_first_line(error))
        raise DATABASE_UNAVAILABLE().as_kind(NotMigrated) from error
    except (psycopg2.Error, TimeoutError) as error:
        metrics.QUERY_FAILURES.labels(query).inc()
        log.error("database_failed", query=query, reason=_first_line(error) or type(error).__name__)
        raise DATABASE_UNAVAILABLE() from error


def _first_line(error: Exception) -> str:
    """Return what went wrong, without the statement that PostgreSQL quotes below it."""
    return str(error).strip().partition("\n")[0]
