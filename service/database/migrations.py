"""Brings the database's schema up to date, once, however many replicas start together."""

import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode
from uuid import uuid4

import psycopg2
import psycopg2.extensions
import structlog
import yoyo
from yoyo.backends.core import PostgresqlBackend
from yoyo.connections import parse_uri
from yoyo.migrations import Migration, MigrationList, default_migration_table

from service.database.pool import Database, NotMigrated, read_query

log = structlog.stdlib.get_logger()

MIGRATIONS = Path(__file__).parents[1] / "sql" / "migrations"

_SELECT_MIGRATION = read_query("select_migration")
# Any number will do, as long as nobody else takes the same advisory lock in this database.
_LOCK, _STATEMENT_LOCK = 0x77617665, 0x77617666


class MigrationFailed(Exception):
    """The database cannot be brought up to date. The message quotes the database and is for operators alone."""


def migrate(url: str, *, directory: Path = MIGRATIONS, lock_seconds: int = 600) -> list[str]:
    """Apply what is not applied yet and return its names.

    Blocking; safe to call from any number of processes at once, and after one was killed in the middle: the
    locks are held by connections, the second by the very one that runs the DDL, so it lasts as long. Another process
    may be in a long migration: waits `lock_seconds` for it, so that starting replicas do not crash. Raises
    MigrationFailed if the database does not answer or a migration fails.
    """
    migrations = _read_migrations(directory)
    try:
        with _backend(url) as backend:
            backend.execute(f"SET lock_timeout = '{lock_seconds}s'")
            backend.execute(f"SELECT pg_advisory_lock({_LOCK})")
            # The statement of a process that was killed may go on for long; its connection holds this one.
            backend.execute(f"SELECT pg_advisory_lock({_STATEMENT_LOCK}), pg_advisory_unlock({_STATEMENT_LOCK})")
            # yoyo's own lock is a row that a killed process leaves behind for ever. Ours is held: nobody uses it.
            backend.break_lock()
            pending = backend.to_apply(migrations)
            with backend.lock():
                backend.apply_migrations(pending)
            left = [migration.id for migration in backend.to_apply(migrations)]
    except psycopg2.Error as error:
        raise MigrationFailed(f"The database cannot be migrated: {error}".strip()) from error
    if left:
        raise MigrationFailed(f"These migrations were not applied: {', '.join(left)}")
    applied = [migration.id for migration in pending]
    if applied:
        log.info("migrated", migrations=applied)
    return applied


def roll_back(url: str) -> None:
    """Undo every migration, newest first; all users and records go with it. Blocking, for tests and operators."""
    with _backend(url) as backend, backend.lock():
        backend.rollback_migrations(backend.to_rollback(_read_migrations(MIGRATIONS)))


def newest_migration() -> str:
    """Return the name of the last migration that this service needs."""
    return max(path.stem for path in MIGRATIONS.glob("*.sql") if not path.stem.endswith(".rollback"))


async def is_applied(database: Database, migration: str) -> bool:
    """Return whether the database has that migration, by its name. Raises Unavailable."""
    try:
        return await database.fetch_one(_SELECT_MIGRATION, {"id": migration}) is not None
    except NotMigrated:  # not one migration, not even the table of them
        return False


def _read_migrations(directory: Path) -> MigrationList:
    migrations = yoyo.read_migrations(str(directory))
    if not migrations:  # yoyo finds nothing wrong with a directory that is not there
        raise FileNotFoundError(f"no migrations in {directory}")
    return migrations


class _Backend(PostgresqlBackend):  # type: ignore[misc] # yoyo publishes no types
    """yoyo's own, with a lock that lasts as long as the DDL and a log that needs no user name."""

    def copy(self) -> "_Backend":
        """Open the connection that runs the DDL."""
        copy: _Backend = super().copy()
        copy.execute(f"SELECT pg_advisory_lock_shared({_STATEMENT_LOCK})")
        return copy

    def get_log_data(self, migration: Migration | None = None, operation: str = "apply") -> dict[str, object]:
        """Say who migrates; yoyo's own would fail for a uid without a name, as containers have it."""
        return {
            "id": str(uuid4()),
            "migration_id": migration.id if migration else None,
            "migration_hash": migration.hash if migration else None,
            "username": str(os.getuid()),
            "hostname": socket.gethostname(),
            "created_at_utc": datetime.now(UTC).replace(tzinfo=None),
            "operation": operation,
        }


def _backend(url: str) -> _Backend:
    """Open yoyo's connection with all that libpq understands, which is more than yoyo's own URLs do."""
    parameters = psycopg2.extensions.parse_dsn(url)
    database = parameters.pop("dbname", "")
    backend = _Backend(parse_uri(f"postgresql:///{database}?{urlencode(parameters)}"), default_migration_table)
    backend.init_database()
    return backend
