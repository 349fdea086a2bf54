"""Fixtures: a PostgreSQL for the session, a database, a data directory and a service for each test."""

import contextlib
import gc
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg2
import psycopg2.errors
import pytest
from aiohttp import TCPConnector, web
from aiohttp.test_utils import BaseTestServer, TestClient

from service.app import DatabaseBudget, create_app
from service.database.embedded import postgres
from service.database.migrations import migrate
from service.server import make_runner
from service.settings import Settings
from tests.support.client import Account, Service, StartService
from tests.support.database import query
from tests.support.s3 import seaweedfs

_numbers = itertools.count()
# TRUNCATE would make new files for each table and index, which takes ten times as long.
_EMPTY = """
    DELETE FROM records;
    DELETE FROM upload_leases;
    DELETE FROM idempotency_keys;
    DELETE FROM ended_uploads;
    DELETE FROM users;
    SELECT setval(pg_get_serial_sequence('users', 'id'), 1, false)
"""


def pytest_collection_finish() -> None:
    """Let the garbage collector leave alone what has been collected: going through thousands of tests takes it long."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a migrated database, for all tests of this process."""
    with postgres(tmp_path_factory.mktemp("postgres") / "data", options={"fsync": "off"}) as url:
        migrate(url)
        yield url


@pytest.fixture
def database_url(postgres_url: str) -> str:
    """The session's database, without any row."""
    empty(postgres_url)
    return postgres_url


def empty(url: str) -> None:
    """Remove every row. A service that another module's tests share may read meanwhile: then PostgreSQL stops one."""
    for _ in range(5):
        with contextlib.suppress(psycopg2.errors.DeadlockDetected):
            query(url, _EMPTY)
            return
    raise AssertionError("the database cannot be emptied")


@pytest.fixture
def empty_database_url(postgres_url: str) -> str:
    """A new database, without any table."""
    name = f"test{next(_numbers)}"
    query(postgres_url, f"CREATE DATABASE {name} STRATEGY FILE_COPY")
    return f"{postgres_url} dbname={name}"


@pytest.fixture(scope="session")
def s3_endpoint_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A store for all tests of this process; each test uses its own prefix."""
    with seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as url:
        yield url


class _Server(BaseTestServer):
    """The application on a socket, with the same runner as in production."""

    def __init__(self, app: web.Application) -> None:
        super().__init__()
        self.app = app

    async def _make_runner(self, **_defaults: object) -> web.AppRunner:
        return make_runner(self.app)


@pytest.fixture
async def start_service(database_url: str, tmp_path: Path) -> AsyncIterator[StartService]:
    """Return a function that starts a service with the given settings and time budgets, until the end of the test."""
    clients: list[TestClient[web.Request, None]] = []

    async def start(
        *, connection_count: int = 3, query_seconds: float = 5.0, lease_seconds: float = 60.0, **settings: object
    ) -> Service:
        known = Settings.model_validate({"data_dir": tmp_path / "data", "allowed_hosts": "x"} | settings)
        # A service has ten connections. Making them would take as long as all the rest.
        budget = DatabaseBudget(connection_count, query_seconds, lease_seconds)
        app = create_app(known, database_url, budget=budget)
        # Each request has its own connection, so that no connection stays open between two requests.
        connector = TCPConnector(force_close=True)
        client: TestClient[web.Request, None] = TestClient(_Server(app), connector=connector)
        clients.append(client)
        await client.start_server()
        return Service(client, app, tmp_path / "data", database_url)

    yield start
    for client in clients:
        await client.close()


@pytest.fixture
async def service(start_service: StartService) -> Service:
    """A service with the default settings."""
    return await start_service()


@pytest.fixture
async def account(service: Service) -> Account:
    """A user of that service."""
    return await service.create_user()
