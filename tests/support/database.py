"""Statements that a test sends to PostgreSQL itself, past the service, and a count of the service's own."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
from psycopg2.extensions import make_dsn

from service import metrics
from tests.support.waiting import until


def query(
    url: str, statement: str, parameters: Sequence[object] | Mapping[str, object] | None = None
) -> list[tuple[Any, ...]]:
    """Run a statement on a connection of its own, commit it, and return its rows.

    The call blocks, so nothing else of this process runs meanwhile.
    """
    with closing(psycopg2.connect(make_dsn(url, application_name="test"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return list(cursor.fetchall()) if cursor.description else []


@contextmanager
def transaction(url: str) -> Iterator[Any]:
    """Yield a cursor; at the end of the block, what it has not committed is rolled back."""
    with closing(psycopg2.connect(make_dsn(url, application_name="test"))) as connection:
        with connection.cursor() as cursor:
            yield cursor
        connection.rollback()


@contextmanager
def late_commit(url: str, *statements: str) -> Iterator[None]:
    """Run the statements, and commit them only at the end of the block."""
    with transaction(url) as cursor:
        for statement in statements:
            cursor.execute(statement)
        yield
        cursor.connection.commit()


@contextmanager
def after_each_insert(url: str, table: str, statement: str) -> Iterator[None]:
    """Let the server run a statement behind each INSERT into a table, for the length of the block.

    It runs also if the INSERT finds a conflict. So it comes between two statements of the service.
    """
    query(
        url,
        f"""
        CREATE FUNCTION meanwhile() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {statement}; RETURN NULL; END $$;
        CREATE TRIGGER meanwhile AFTER INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION meanwhile()
        """,
    )
    try:
        yield
    finally:
        query(url, "DROP FUNCTION meanwhile CASCADE")


def statement_counts() -> Counter[str]:
    """Return how often each statement of the service has run, in all services of this process."""
    samples = [sample for metric in metrics.registry().collect() for sample in metric.samples]
    name = "wavepress_database_query_seconds_count"
    return Counter({sample.labels["query"]: int(sample.value) for sample in samples if sample.name == name})


def waiting_for_a_lock(url: str) -> list[tuple[Any, ...]]:
    """Return the server's processes that wait for a lock of any kind in that database."""
    return query(
        url, "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )


async def until_a_statement_waits(url: str) -> None:
    """Wait until a statement in that database waits for a lock."""
    await until(lambda: waiting_for_a_lock(url))


@contextmanager
def role_with_rights_on_rows(url: str, role: str) -> Iterator[str]:
    """Yield the database's address for a new role that may only change rows of the tables that are there now."""
    query(url, f"CREATE ROLE {role} LOGIN")
    query(url, f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
    try:
        yield str(make_dsn(url, user=role))
    finally:
        query(url, f"DROP OWNED BY {role}; DROP ROLE {role}")
