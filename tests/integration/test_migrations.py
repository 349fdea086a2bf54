"""Migrations: up and down, by many processes at once, by killed ones, and the statements that rely on them."""

from __future__ import annotations

import json
import re
import subprocess
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from psycopg2.extensions import make_dsn, parse_dsn

import service
from service.database import migrations
from service.database.migrations import MigrationFailed, roll_back
from tests.support.database import query, transaction, waiting_for_a_lock
from tests.support.programs import python
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SQL = Path(service.__file__).parent / "sql"
MIGRATIONS = sorted(path.stem for path in (SQL / "migrations").glob("*.sql") if ".rollback" not in path.name)
QUERIES = sorted((SQL / "queries").glob("*.sql"))
SOME_TABLES = {"users", "records"}
SOON_SECONDS = 30.0

# The eight are forked from a process that has imported everything, so they start within a millisecond.
EIGHT_PROCESSES = """
import json, os, sys
from service.database.migrations import migrate

for url in sys.argv[1:]:
    pids = []
    for number in range(8):
        if not (pid := os.fork()):
            applied = migrate(url)
            os.write(1, json.dumps([url, applied]).encode() + b"\\n")
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        _, status = os.waitpid(pid, 0)
        assert status == 0
"""
ONE_PROCESS = "import sys; from service.database.migrations import migrate; migrate(sys.argv[1])"
IMPATIENT_PROCESS = """
import sys
from service.database.migrations import migrate

migrate(sys.argv[1], lock_seconds=1)
"""
# Shorter than the default of ten minutes, during which no signal would reach a test whose lock is stuck.
migrate = partial(migrations.migrate, lock_seconds=20)


def tables(url: str) -> set[str]:
    """Return the names of the tables, without yoyo's own."""
    rows = query(url, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    return {name for (name,) in rows if "yoyo" not in name}


def advisory_locks(url: str) -> list[tuple[Any, ...]]:
    return query(
        url,
        "SELECT pid, granted FROM pg_locks JOIN pg_database ON pg_database.oid = database "
        "WHERE locktype = 'advisory' AND datname = current_database()",
    )


@contextmanager
def killed_in_mid_migration(url: str) -> Iterator[None]:
    """Kill a process whose migration waits for a table; its statement goes on waiting until the end of the block."""
    with transaction(url) as holder:
        holder.execute("CREATE TABLE users (id bigint)")  # not committed, so nobody else can see it or make another
        with python(ONE_PROCESS, url) as migrator:
            wait_until(lambda: waiting_for_a_lock(url))
            migrator.kill()
            migrator.wait()
        yield


def test_migrations_go_up_and_down_and_up_again(empty_database_url: str) -> None:
    assert migrate(empty_database_url) == MIGRATIONS
    assert tables(empty_database_url) >= SOME_TABLES
    assert migrate(empty_database_url) == []
    roll_back(empty_database_url)
    assert tables(empty_database_url) == set()
    assert migrate(empty_database_url) == MIGRATIONS
    assert tables(empty_database_url) >= SOME_TABLES


def test_rows_survive_a_migration_that_has_nothing_to_do(empty_database_url: str) -> None:
    migrate(empty_database_url)
    query(
        empty_database_url, "INSERT INTO users (username, token_sha256) VALUES ('ann', decode(repeat('00', 32), 'hex'))"
    )
    migrate(empty_database_url)
    assert query(empty_database_url, "SELECT username FROM users") == [("ann",)]


@pytest.mark.parametrize("rounds", [3, pytest.param(20, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_eight_processes_at_once_migrate_once(make_empty_database: Callable[[], str], rounds: int) -> None:
    urls = [make_empty_database() for _ in range(rounds)]
    with python(EIGHT_PROCESSES, *urls, stderr=subprocess.STDOUT) as processes:
        output, _ = processes.communicate(timeout=50 * rounds)
    assert processes.returncode == 0, output
    reports = [json.loads(line) for line in output.splitlines() if line.startswith('["')]
    assert len(reports) == rounds * 8
    for url in urls:
        applied = [names for reported, names in reports if reported == url]
        assert sorted(applied, key=len) == [[]] * 7 + [MIGRATIONS]
        assert tables(url) >= SOME_TABLES


@pytest.fixture
def make_empty_database(postgres_url: str) -> Callable[[], str]:
    """Return a function that makes a new database without any table."""
    numbers = iter(range(100))

    def make() -> str:
        name = f"rounds{next(numbers)}"
        query(postgres_url, f"DROP DATABASE IF EXISTS {name}")
        query(postgres_url, f"CREATE DATABASE {name} STRATEGY FILE_COPY")
        url: str = make_dsn(postgres_url, dbname=name)
        return url

    return make


def test_process_killed_in_mid_migration_leaves_nothing_stuck(empty_database_url: str) -> None:
    with killed_in_mid_migration(empty_database_url):
        pass
    begin = time.monotonic()
    assert migrate(empty_database_url) == MIGRATIONS
    assert time.monotonic() - begin < SOON_SECONDS
    assert tables(empty_database_url) >= SOME_TABLES


def test_next_migration_waits_for_the_statement_of_a_killed_process(empty_database_url: str) -> None:
    with ExitStack() as stack:
        with killed_in_mid_migration(empty_database_url):
            next_one = stack.enter_context(python(ONE_PROCESS, empty_database_url))
            wait_until(lambda: len(waiting_for_a_lock(empty_database_url)) == 2)
        assert next_one.wait(SOON_SECONDS) == 0
    assert tables(empty_database_url) >= SOME_TABLES
    assert migrate(empty_database_url) == []


def test_lock_lasts_as_long_as_the_statement_of_a_killed_process(empty_database_url: str) -> None:
    with killed_in_mid_migration(empty_database_url):
        time.sleep(0.2)  # the server notices the end of an idle connection at once
        assert waiting_for_a_lock(empty_database_url)
        assert len(advisory_locks(empty_database_url)) == 1


def test_lock_row_of_a_killed_process_does_not_block(empty_database_url: str) -> None:
    migrate(empty_database_url)
    roll_back(empty_database_url)
    query(empty_database_url, "INSERT INTO yoyo_lock (locked, ctime, pid) VALUES (1, now(), 4711)")
    begin = time.monotonic()
    assert migrate(empty_database_url) == MIGRATIONS
    assert time.monotonic() - begin < SOON_SECONDS


def test_wait_for_a_migration_elsewhere_is_limited(empty_database_url: str) -> None:
    with python(ONE_PROCESS, empty_database_url) as other, transaction(empty_database_url) as holder:
        holder.execute("CREATE TABLE users (id bigint)")
        wait_until(lambda: waiting_for_a_lock(empty_database_url))
        with python(IMPATIENT_PROCESS, empty_database_url, stderr=subprocess.STDOUT) as impatient:
            output, _ = impatient.communicate(timeout=SOON_SECONDS)
        assert impatient.returncode != 0
        assert "MigrationFailed: The database cannot be migrated: canceling statement due to lock timeout" in output
        assert other.poll() is None


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_directory_without_migrations_is_an_error(database_url: str, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=name):
        migrate(database_url, directory=tmp_path / name)


@pytest.mark.parametrize("statement", ["CREATE TABLE half (id bigint); SELEC 1", "CREATE TABLE half (id nothing)"])
def test_migration_that_fails_is_an_error_and_leaves_nothing(
    empty_database_url: str, tmp_path: Path, statement: str
) -> None:
    (tmp_path / "0001_fail.sql").write_text(statement)
    with pytest.raises(MigrationFailed, match="cannot be migrated"):
        migrate(empty_database_url, directory=tmp_path)
    assert tables(empty_database_url) == set()
    (tmp_path / "0001_fail.sql").write_text("CREATE TABLE whole (id bigint)")
    assert migrate(empty_database_url, directory=tmp_path) == ["0001_fail"]
    assert migrate(empty_database_url) == MIGRATIONS


def test_database_that_does_not_answer_is_an_outage() -> None:
    with pytest.raises(MigrationFailed):
        migrate("host=/nowhere dbname=wavepress")


def test_user_without_a_name_may_migrate(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers run as any uid."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 54321)
    assert migrate(empty_database_url) == MIGRATIONS


def test_database_may_be_given_as_a_url(empty_database_url: str) -> None:
    parts = parse_dsn(empty_database_url)
    name = parts.pop("dbname")
    url = f"postgresql:///{name}?{urlencode(parts)}"
    assert migrate(url) == MIGRATIONS


@pytest.mark.parametrize("query_file", QUERIES, ids=lambda path: path.stem)
def test_statement_is_understood_by_the_migrated_schema(database_url: str, query_file: Path) -> None:
    statement = query_file.read_text()
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
    numbered = statement % {name: f"${number}" for number, name in enumerate(names, start=1)}
    nulls = f"({', '.join(['NULL'] * len(names))})" if names else ""
    with transaction(database_url) as cursor:
        cursor.execute(f"PREPARE statement AS {numbered}")  # the server finds a type for each parameter
        cursor.execute(f"EXPLAIN EXECUTE statement{nulls}")
        assert cursor.fetchall()
