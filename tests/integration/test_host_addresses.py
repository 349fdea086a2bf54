"""A database named by host: DNS is asked at each connect, in time, and never in the event loop."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest
from psycopg2.extensions import make_dsn

from service.database.host_addresses import HostAddresses
from service.database.pool import Database, Query, open_database
from service.errors import Unavailable
from tests.support.pools import connections, end_connections, seconds_within
from tests.support.relays import relayed

SELECT_ONE = Query("select_one", "SELECT 1 AS one")
ONE = {"one": 1}
NAME = "database.test"
IMPATIENT_SECONDS = 2.0
SOON_SECONDS = 20.0


class Dns:
    """Answers for NAME, as often as it is asked; while it is silent, whoever asks waits."""

    def __init__(self) -> None:
        self.addresses = ["127.0.0.1"]
        self.asked = 0
        self.answers = threading.Event()
        self.answers.set()
        self._others = socket.getaddrinfo

    def getaddrinfo(self, host: str | None, *arguments: Any, **options: Any) -> list[Any]:
        if host == "absent.test":
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        if host != NAME:
            return list(self._others(host, *arguments, **options))
        self.asked += 1
        self.answers.wait()
        return [found for address in self.addresses for found in self._others(address, None, type=socket.SOCK_STREAM)]


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> Iterator[Dns]:
    dns = Dns()
    monkeypatch.setattr(socket, "getaddrinfo", dns.getaddrinfo)
    yield dns
    dns.answers.set()


@pytest.fixture
def pool_url(database_url: str) -> str:
    url: str = make_dsn(database_url, application_name=f"pool {uuid4()}")
    return url


@pytest.fixture
async def named_url(pool_url: str) -> AsyncIterator[str]:
    """The database by a host name that only `dns` knows."""
    async with relayed(pool_url) as port:
        yield make_dsn(pool_url, host=NAME, port=port)


@contextlib.asynccontextmanager
async def loop_runs(most_seconds: float = 3) -> AsyncIterator[None]:
    """Check that the event loop never stands still for long. If it waited for `Dns`, it would do so for ever."""
    pauses = list[float]()

    async def watch() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.01)
            pauses.append(time.monotonic() - last)
            last = time.monotonic()

    watching = asyncio.create_task(watch())
    yield
    watching.cancel()
    assert max(pauses) < most_seconds


async def ask(database: Database) -> object:
    return await database.fetch_one(SELECT_ONE, {})


async def test_name_is_looked_up_again_for_a_new_connection(named_url: str, pool_url: str, dns: Dns) -> None:
    """A fail-over gives the name another address."""
    async with open_database(named_url, 1) as database:
        assert await ask(database) == ONE
        assert dns.asked == 1
        dns.addresses = ["127.0.0.2", "127.0.0.1"]  # nobody listens at the first one
        end_connections(pool_url, connections(pool_url))
        assert await ask(database) == ONE
        assert dns.asked == 2


async def test_silent_dns_is_an_outage_in_time_and_stops_nothing_else(named_url: str, pool_url: str, dns: Dns) -> None:
    async with open_database(named_url, 2, query_seconds=IMPATIENT_SECONDS) as database:
        dns.answers.clear()
        end_connections(pool_url, connections(pool_url))
        threads = threading.active_count()
        async with loop_runs():
            for _ in range(3):
                with seconds_within(0, SOON_SECONDS), pytest.raises(Unavailable):
                    await ask(database)
        assert threading.active_count() <= threads + 1
        dns.answers.set()
        async with asyncio.timeout(SOON_SECONDS):
            while True:
                with contextlib.suppress(Unavailable):
                    assert await ask(database) == ONE
                    break


async def test_silent_dns_at_the_start_is_an_outage_in_time(named_url: str, dns: Dns) -> None:
    dns.answers.clear()
    async with loop_runs():
        with seconds_within(0.3, SOON_SECONDS), pytest.raises(Unavailable):
            async with open_database(named_url, 1, query_seconds=IMPATIENT_SECONDS):
                pytest.fail("nobody knows the name")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("host=/run/postgresql dbname=a", {}),
        ("postgresql://ann@127.0.0.1/a", {}),
        ("postgresql://ann@[::1]:5433/a", {}),
        ("dbname=a", {}),
        (f"postgresql://{NAME}/a?hostaddr=10.0.0.1", {}),
        (f"postgresql://{NAME}/a", {"host": f"{NAME},{NAME}", "hostaddr": "10.0.0.1,::1"}),
        (
            f"postgresql://{NAME}:5433/a",
            {"host": f"{NAME},{NAME}", "hostaddr": "10.0.0.1,::1", "port": "5433,5433"},
        ),
        (
            f"postgresql://absent.test:1,{NAME}:2,10.0.0.2:3/a",
            {"host": f"{NAME},{NAME},10.0.0.2", "hostaddr": "10.0.0.1,::1,10.0.0.2", "port": "2,2,3"},
        ),
        (
            f"host=/run,{NAME} port=5432",
            {"host": f"/run,{NAME},{NAME}", "hostaddr": ",10.0.0.1,::1", "port": "5432,5432,5432"},
        ),
    ],
)
async def test_each_address_of_a_name_is_a_server_of_its_own(dns: Dns, url: str, expected: dict[str, str]) -> None:
    dns.addresses = ["10.0.0.1", "::1"]
    assert await HostAddresses(url).find() == expected


@pytest.mark.usefixtures("dns")
async def test_name_without_an_address_is_an_error() -> None:
    with pytest.raises(socket.gaierror):
        await HostAddresses("host=absent.test").find()


async def test_machine_without_threads_is_a_database_that_does_not_answer_now(
    pool_url: str, named_url: str, dns: Dns, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with open_database(named_url, max_connections=1, may_be_away=True) as database:
        end_connections(pool_url, connections(pool_url))
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(Unavailable):
                await database.fetch_one(SELECT_ONE, {})
        assert await database.fetch_one(SELECT_ONE, {}) == ONE
    assert dns.asked
