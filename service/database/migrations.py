"""Brings the database's schema up to date, once, even if several replicas start together."""

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
# Any two numbers that no other program uses for advisory locks in this database.
_LOCK, _STATEMENT_LOCK = 0x77617665, 0x77617666


class MigrationFailed(Exception):
    """The database cannot be brought up to date. The message quotes the database and is only for operators."""


def migrate(url: str, *, directory: Path = MIGRATIONS, lock_seconds: int = 600) -> list[str]:
    """Apply the migrations that are not applied yet, and return their names.

    Blocking. Several processes may call it at once, also after one was killed in the middle, because connections hold
    the locks. The connection that runs the DDL holds the second lock, so that it lasts as long as the DDL. Waits up to
    `lock_seconds` for a long migration of another process. Raises MigrationFailed if the database does not answer or a
    migration fails.
    """
    migrations = _read_migrations(directory)
    try:
        with _backend(url) as backend:
            backend.execute(f"SET lock_timeout = '{lock_seconds}s'")
            backend.execute(f"SELECT pg_advisory_lock({_LOCK})")
            # The statement of a killed process may run on for long. Its connection holds this second lock.
            backend.execute(f"SELECT pg_advisory_lock({_STATEMENT_LOCK}), pg_advisory_unlock({_STATEMENT_LOCK})")
            # yoyo's own lock is a row, which a killed process leaves behind for ever. We hold ours, so nobody uses it.
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
        log.info("migrated", migrations=applied, detail=f"The database is ready. Migrations applied: {len(applied)}.")
    return applied


def roll_back(url: str) -> None:
    """Undo every migration, newest first, and lose all users and records. Blocking. For tests and operators."""
    with _backend(url) as backend, backend.lock():
        backend.rollback_migrations(backend.to_rollback(_read_migrations(MIGRATIONS)))


def newest_migration() -> str:
    """Return the name of the last migration that this service needs."""
    return max(path.stem for path in MIGRATIONS.glob("*.sql") if not path.stem.endswith(".rollback"))


async def is_applied(database: Database, migration: str) -> bool:
    """Return whether the database has that migration, by its name. Raises Unavailable."""
    try:
        return await database.fetch_one(_SELECT_MIGRATION, {"id": migration}) is not None
    except NotMigrated:  # not even the table of migrations exists
        return False


def _read_migrations(directory: Path) -> MigrationList:
    migrations = yoyo.read_migrations(str(directory))
    if not migrations:  # yoyo does not complain about a missing directory
        raise FileNotFoundError(f"no migrations in {directory}")
    return migrations


class _Backend(PostgresqlBackend):  # type: ignore[misc] # yoyo publishes no types
    """yoyo's backend, with a lock that lasts as long as the DDL and a log that needs no user name."""

    def copy(self) -> "_Backend":
        """Open the connection that runs the DDL."""
        copy: _Backend = super().copy()
        copy.execute(f"SELECT pg_advisory_lock_shared({_STATEMENT_LOCK})")
        return copy

    def get_log_data(self, migration: Migration | None = None, operation: str = "apply") -> dict[str, object]:
        """Return who migrates. yoyo's own method fails if the uid has no name, as in containers."""
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
    """Open yoyo's connection with every parameter that libpq knows; yoyo's own URLs know fewer."""
    parameters = psycopg2.extensions.parse_dsn(url)
    database = parameters.pop("dbname", "")
    backend = _Backend(parse_uri(f"postgresql:///{database}?{urlencode(parameters)}"), default_migration_table)
    backend.init_database()
    return backend
