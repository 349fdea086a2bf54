"""Brings the database's schema up to date, once, however many replicas start together."""

from pathlib import Path
from urllib.parse import urlencode

import psycopg2
import psycopg2.extensions
import structlog
import yoyo

from service.errors import Unavailable

log = structlog.stdlib.get_logger()

_DIRECTORY = Path(__file__).parent / "sql" / "migrations"
# Any number will do, as long as nobody else takes the same advisory lock in this database.
_LOCK = 0x77617665
# Another replica may be in a long migration; a pool of starting replicas should wait for it, not crash.
_LOCK_SECONDS = 600


def migrate(url: str) -> list[str]:
    """Apply what is not applied yet and return its names.

    Blocking; safe to call from any number of processes at once, and after one was killed in the middle: the
    lock is held by the very connection that runs the DDL, so it lasts exactly as long as the DDL does. Raises
    Unavailable where the database does not answer or a migration fails.
    """
    migrations = _read_migrations()
    try:
        with _backend(url) as backend:
            backend.execute(f"SET lock_timeout = '{_LOCK_SECONDS}s'")
            backend.execute(f"SELECT pg_advisory_lock({_LOCK})")
            # yoyo's own lock is a row that a killed process leaves behind for ever. Ours is held: nobody uses it.
            backend.break_lock()
            pending = backend.to_apply(migrations)
            with backend.lock():
                backend.apply_migrations(pending)
            left = [migration.id for migration in backend.to_apply(migrations)]
    except psycopg2.Error as error:
        raise Unavailable("database_unavailable", f"The database cannot be migrated: {error}".strip()) from error
    if left:
        raise Unavailable("database_unavailable", f"These migrations were not applied: {', '.join(left)}")
    applied = [migration.id for migration in pending]
    if applied:
        log.info("migrated", migrations=applied)
    return applied


def roll_back(url: str) -> None:
    """Undo every migration, newest first; all users and records go with it. Blocking, for tests and operators."""
    with _backend(url) as backend, backend.lock():
        backend.rollback_migrations(backend.to_rollback(_read_migrations()))


def newest_migration() -> str:
    """Return the name of the last migration that this service needs."""
    return max(path.stem for path in _DIRECTORY.glob("*.sql") if not path.stem.endswith(".rollback"))


def _read_migrations() -> yoyo.migrations.MigrationList:
    migrations = yoyo.read_migrations(str(_DIRECTORY))
    if not migrations:  # yoyo finds nothing wrong with a directory that is not there
        raise FileNotFoundError(f"no migrations in {_DIRECTORY}")
    return migrations


def _backend(url: str) -> yoyo.backends.DatabaseBackend:
    """Open yoyo's connection with all that libpq understands, which is more than yoyo's own URLs do."""
    parameters = psycopg2.extensions.parse_dsn(url)
    database = parameters.pop("dbname", "")
    return yoyo.get_backend(f"postgresql:///{database}?{urlencode(parameters)}")
