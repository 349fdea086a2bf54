"""Another client of the database, in the middle of a transaction."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2

from tests.support.pools import query
from tests.support.waiting import until


@contextmanager
def transaction(url: str, *statements: str) -> Iterator[None]:
    """Run the statements, and commit them only at the end of the block."""
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        yield


async def until_somebody_waits(url: str) -> None:
    """Wait until a statement waits for a lock that another one holds."""
    waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    await until(lambda: query(url, waiting))
