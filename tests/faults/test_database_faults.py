"""A database restarts, stops, refuses or does not answer: clients get 503 with Retry-After, and nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from psycopg2.extensions import make_dsn, parse_dsn

from service.database.migrations import migrate
from service.uploads.sweep import SweepPolicy, sweep
from service.web.app_keys import DATABASE, STORAGE
from tests.support import wavs
from tests.support.client import EVERY_TRANSPORT, TRANSPORTS, Account, Answer, Service, StartService, Transport
from tests.support.database import query, transaction
from tests.support.half_upload import half_upload
from tests.support.invariants import GOOD_WAV, invariants_hold
from tests.support.pools import many_descriptors
from tests.support.procfs import children
from tests.support.raw import connect, framed, request_head
from tests.support.serving import serve
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from uuid import UUID


TALK = wavs.wav(wavs.chirp(44_100 * 3, 44_100, 2), sample_rate=44_100, channels=2)
SOON_SECONDS = 20.0  # after that, the service must work again, also on a loaded machine
LEASE_SECONDS = 1.0  # leases that a lost database leaves are free that soon, and not after a minute
IMPATIENT_SECONDS = 1.0
WITHOUT_LIMIT = "-c statement_timeout=0"
every_transport = pytest.mark.parametrize("transport", EVERY_TRANSPORT)
RESTARTS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])

# Holds the server, so that it is not a child of the service's process, and starts it again whenever it has ended.
KEEPER = """
import os, sys, time
from pathlib import Path
from service.database.embedded import postgres
directory, command = Path(sys.argv[1]), "run"
while command:
    with postgres(directory, options={"fsync": "off"}) as url:
        print(url, flush=True)
        if command := sys.stdin.readline():
            pid = int((directory / "postmaster.pid").read_text().split()[0])
            os.kill(pid, int(command.split()[0]))
    if command and (seconds := float(command.split()[1])) >= 0:
        time.sleep(seconds)
    elif command:
        sys.stdin.readline()
"""


class Server:
    """A PostgreSQL that the tests of this module may restart, stop and query."""

    def __init__(self, directory: Path) -> None:
        self._pid_file = directory / "postmaster.pid"
        self._keeper = subprocess.Popen(
            [sys.executable, "-c", KEEPER, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.url = self._wait_until_up()

    def _wait_until_up(self) -> str:
        assert self._keeper.stdout is not None
        url = self._keeper.stdout.readline().strip()
        assert url, "the server did not start"
        return url

    async def restart(self, number: signal.Signals, down_seconds: float = 0.3) -> None:
        """End the server by that signal, leave it down for a while, and wait until it is up again."""
        self._tell(f"{number.value} {down_seconds}")
        await asyncio.to_thread(self._wait_until_up)

    @contextlib.asynccontextmanager
    async def down(self) -> AsyncIterator[None]:
        """Let the server be down for the length of the block."""
        self._tell(f"{signal.SIGINT.value} -1")
        await until(self.is_down)
        yield
        self._tell("up")
        await asyncio.to_thread(self._wait_until_up)

    def _tell(self, command: str) -> None:
        assert self._keeper.stdin is not None
        self._keeper.stdin.write(f"{command}\n")
        self._keeper.stdin.flush()

    def is_down(self) -> bool:
        return not self._pid_file.exists()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop all of the server's processes for the length of the block; clients only see silence."""
        postmaster = int(self._pid_file.read_text().split()[0])
        # The postmaster first, so that it cannot start others; all of its processes are stopped after it.
        os.kill(postmaster, signal.SIGSTOP)
        processes = [postmaster, *children(postmaster)]
        signal_all(processes, signal.SIGSTOP)
        try:
            yield
        finally:
            signal_all(processes, signal.SIGCONT)

    def ask(self, statement: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        return query(make_dsn(self.url, options=WITHOUT_LIMIT), statement, parameters)

    @contextlib.contextmanager
    def locked(self, table: str) -> Iterator[None]:
        """Lock a table in another session for the length of the block."""
        with transaction(make_dsn(self.url, options=WITHOUT_LIMIT)) as cursor:
            cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield

    def cut_connections(self) -> int:
        """End every connection except this test's own, and return how many there were."""
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        return len(self.ask(cut + " WHERE usename = current_user AND application_name <> 'test'"))

    def stop(self) -> None:
        with self._keeper:
            assert self._keeper.stdin is not None
            self._keeper.stdin.close()


def signal_all(processes: list[int], number: signal.Signals) -> None:
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One server for all tests of this module; each test leaves it running."""
    with tempfile.TemporaryDirectory(
        prefix="wp-"
    ) as directory:  # a short path, so that the path of its socket never changes
        server = Server(Path(directory, "data"))
        migrate(server.url)
        yield server
        server.stop()


@pytest.fixture
def database_url(server: Server) -> str:
    """The database of this module's own server, without any row."""
    server.ask("TRUNCATE users RESTART IDENTITY CASCADE")
    return server.url


async def until_told(condition: Callable[[], Awaitable[bool]], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - a database tells nobody that it is back
            await asyncio.sleep(0.02)


async def recovered(service: Service, seconds: float = SOON_SECONDS) -> None:
    """Wait at most so many seconds until the database answers again; then an upload must succeed."""
    accounts = list[Account]()

    async def answers() -> bool:
        answer = await service.post("/users", json={"username": "after"})
        if answer.status != 201:
            assert_unavailable(answer)
            return False
        accounts.append(Account(answer.json["id"], answer.json["token"]))
        return True

    await until_told(answers, seconds)
    assert (await service.upload(accounts[0], GOOD_WAV)).status == 201


async def leases_run_out(server: Server) -> None:
    running = "SELECT 1 FROM upload_leases WHERE expires_at > now()"
    await until(lambda: server.ask(running) == [])


def assert_unavailable(answer: Answer) -> None:
    assert (answer.status, answer.json["code"]) == (503, "database_unavailable"), answer
    assert int(answer.headers["Retry-After"]) > 0


class Load:
    """Clients that create users and upload again and again; every answer must be 201, or the database's 503."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.answers: Counter[int] = Counter()
        self.records: list[Answer] = []
        self._goes_on = True

    @contextlib.asynccontextmanager
    async def running(self, clients: int = 4) -> AsyncIterator[None]:
        """Run the load during the block; afterwards every record that was answered with 201 must be served whole."""
        accounts = [await self._service.create_user(f"client {number}") for number in range(clients)]
        async with asyncio.TaskGroup() as tasks:
            for number, account in enumerate(accounts):
                tasks.create_task(self._upload(account, TRANSPORTS[number % 3]))
                tasks.create_task(self._create_users())
            yield
            self._goes_on = False
        for record in self.records:
            mp3 = (await self._service.get(record.json["url"])).body
            assert hashlib.sha256(mp3).hexdigest() == record.json["sha256"]

    async def _upload(self, account: Account, transport: Transport) -> None:
        while self._goes_on:
            answer = await self._service.upload(account, GOOD_WAV, transport=transport)
            self._note(answer)
            if answer.status == 201:
                self.records.append(answer)
            await asyncio.sleep(0.05)

    async def _create_users(self) -> None:
        while self._goes_on:
            self._note(await self._service.post("/users", json={"username": "load"}))
            await asyncio.sleep(0.05)

    def _note(self, answer: Answer) -> None:
        self.answers[answer.status] += 1
        if answer.status != 201:
            assert_unavailable(answer)


async def until_kept(service: Service, count: int = 1) -> None:
    """Wait until so many uploads have their file, and so have begun to insert their row."""
    await until(lambda: len(service.files()) == count)


async def restarts_under_load(server: Server, service: Service, number: signal.Signals, times: int) -> Load:
    load = Load(service)
    async with load.running():
        for _ in range(times):
            await asyncio.sleep(0.3)
            await server.restart(number)
            await recovered(service)
    return load


@RESTARTS
async def test_restarts_under_load_lose_nothing(
    server: Server, start_service: StartService, caplog: pytest.LogCaptureFixture, number: signal.Signals
) -> None:
    service = await start_service(lease_seconds=LEASE_SECONDS)
    async with invariants_hold(service, caplog, errors_logged=True):
        load = await restarts_under_load(server, service, number, times=3)
        assert load.answers[201] > 10
        await leases_run_out(server)


@pytest.mark.long
@pytest.mark.timeout(300)
@RESTARTS
async def test_ten_restarts_under_load_lose_nothing(
    server: Server, start_service: StartService, caplog: pytest.LogCaptureFixture, number: signal.Signals
) -> None:
    service = await start_service(lease_seconds=LEASE_SECONDS)
    async with invariants_hold(service, caplog, errors_logged=True):
        load = await restarts_under_load(server, service, number, times=10)
        assert load.answers[201] > 30
        await leases_run_out(server)


async def test_requests_are_refused_at_once_while_the_database_is_down(
    server: Server, start_service: StartService, caplog: pytest.LogCaptureFixture
) -> None:
    service = await start_service(lease_seconds=LEASE_SECONDS)
    account = await service.create_user()
    async with invariants_hold(service, caplog, errors_logged=True):
        # None waits for the five seconds that a statement may take.
        async with server.down(), asyncio.timeout(15):
            for transport in EVERY_TRANSPORT:
                assert_unavailable(await service.upload(account, GOOD_WAV, transport=transport))
            assert_unavailable(await service.post("/users", json={"username": "bob"}))
            assert (await service.get("/health/live")).status == 200
        await recovered(service)


async def test_silent_database_is_503_and_found_again(
    server: Server, start_service: StartService, caplog: pytest.LogCaptureFixture
) -> None:
    service = await start_service(query_seconds=IMPATIENT_SECONDS, lease_seconds=LEASE_SECONDS)
    async with invariants_hold(service, caplog, errors_logged=True):
        load = Load(service)
        async with load.running():
            await asyncio.sleep(0.3)
            with server.stopped():
                await asyncio.sleep(3)
                assert (await service.get("/health/live")).status == 200
            await recovered(service)
        assert load.answers[503] > 5
        await leases_run_out(server)


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_database_silent_for_thirty_seconds_is_503_and_found_again(
    server: Server, start_service: StartService, caplog: pytest.LogCaptureFixture
) -> None:
    service = await start_service(lease_seconds=LEASE_SECONDS)
    account = await service.create_user()
    async with invariants_hold(service, caplog, errors_logged=True):
        load = Load(service)
        async with half_upload(service, account, TALK) as (client, rest), load.running():
            await asyncio.sleep(0.3)
            with server.stopped():
                await client.send(rest)
                await asyncio.sleep(30)
                assert (await service.get("/health/live")).status == 200
            await recovered(service)
            assert (await client.answer()).status in {201, 503}
        assert load.answers[503] > 5
        await leases_run_out(server)
        await remove_orphans(service)


async def remove_orphans(service: Service) -> None:
    """Sweep the files whose row the service gave up after half a minute."""
    policy = SweepPolicy(min_age=timedelta(0), max_share=1, dry_run=False, force=True)
    await sweep(service.app[STORAGE], service.app[DATABASE], policy)


@pytest.mark.parametrize("seen", [True, False], ids=["seen", "unseen"])
async def test_clients_do_not_notice_that_idle_connections_were_cut(
    server: Server, start_service: StartService, caplog: pytest.LogCaptureFixture, *, seen: bool
) -> None:
    service = await start_service(connection_count=10)
    account = await service.create_user()
    async with invariants_hold(service, caplog):
        for least in (10, 1, 1):  # full at the start; after a cut, the pool makes only those that it needs
            assert server.cut_connections() >= least
            if seen:
                await asyncio.sleep(0.3)
            uploads = [service.upload(account, GOOD_WAV, transport=transport) for transport in EVERY_TRANSPORT]
            answers = await asyncio.gather(*uploads, service.post("/users", json={"username": "bob"}))
            assert {answer.status for answer in answers} == {201}


async def test_clients_do_not_notice_that_connections_are_cut_under_load(
    server: Server, start_service: StartService, caplog: pytest.LogCaptureFixture
) -> None:
    service = await start_service(connection_count=10, lease_seconds=LEASE_SECONDS)
    async with invariants_hold(service, caplog, errors_logged=True):
        load = Load(service)
        async with load.running():
            cut = 0
            for _ in range(10):
                await asyncio.sleep(0.15)
                cut += server.cut_connections()
            await recovered(service)
        assert cut >= 20
        assert load.answers[201] > 10
        await leases_run_out(server)


async def test_statements_that_the_server_times_out_are_503(
    server: Server, start_service: StartService, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing that was given up goes on in the server, beside what comes next."""
    # With fewer connections, statements would wait for one until they have no time left.
    service = await start_service(connection_count=30, query_seconds=IMPATIENT_SECONDS, lease_seconds=LEASE_SECONDS)
    account = await service.create_user()
    async with invariants_hold(service, caplog, errors_logged=True):
        async with half_upload(service, account, TALK) as (client, rest):
            with server.locked("users"):
                await client.send(rest)
                asked = [service.post("/users", json={"username": "bob"}) for _ in range(20)]
                asked += [service.upload(account, GOOD_WAV, transport=transport) for transport in EVERY_TRANSPORT]
                for answer in await asyncio.gather(*asked):
                    assert_unavailable(answer)
                waiting = "SELECT query FROM pg_stat_activity WHERE state = 'active' AND application_name <> 'test'"
                assert not [statement for (statement,) in server.ask(waiting) if "INSERT INTO users" in statement]
            assert (await client.answer()).status == 201
        await recovered(service)
        assert server.ask("SELECT 1 FROM users WHERE username = 'bob'") == []
        await leases_run_out(server)


async def test_exhausted_pool_is_503_and_recovers(
    server: Server, start_service: StartService, caplog: pytest.LogCaptureFixture
) -> None:
    service = await start_service(query_seconds=IMPATIENT_SECONDS, lease_seconds=LEASE_SECONDS)
    account = await service.create_user()
    async with invariants_hold(service, caplog, errors_logged=True):
        with server.locked("users"):
            asked = [service.post("/users", json={"username": "bob"}) for _ in range(60)]
            asked += [service.upload(account, GOOD_WAV, transport=transport) for transport in EVERY_TRANSPORT]
            async with asyncio.timeout(10):
                for answer in await asyncio.gather(*asked):
                    assert_unavailable(answer)
            assert (await service.get("/health/live")).status == 200
        await recovered(service)
        answers = await asyncio.gather(*(service.upload(account, GOOD_WAV) for _ in range(12)))
        assert {answer.status for answer in answers} == {201}


async def test_violation_is_answered_at_once_with_1100_descriptors_open(
    server: Server, start_service: StartService, caplog: pytest.LogCaptureFixture
) -> None:
    """The user is deleted during the upload, so its row violates a constraint, on a descriptor past 1023."""
    with many_descriptors():
        service = await start_service()
        account = await service.create_user()
        async with invariants_hold(service, caplog):
            async with half_upload(service, account, TALK) as (client, rest):
                server.ask("DELETE FROM users WHERE id = %s", (account.id,))
                await client.send(rest)
                answer = await client.answer()  # not "database_unavailable", after the time of a statement
            assert (answer.status, answer.json["code"]) == (401, "unknown_token")
            assert not service.files()
        await service.client.close()


async def test_service_recovers_from_a_restart_with_1100_descriptors_open(
    server: Server, start_service: StartService, caplog: pytest.LogCaptureFixture
) -> None:
    with many_descriptors():
        service = await start_service()
        async with invariants_hold(service, caplog, errors_logged=True):
            await server.restart(signal.SIGQUIT)
            await recovered(service)
        await service.client.close()


def assert_one_record(server: Server, account: Account, answer: Any) -> None:
    """Assert that the answer's record has the only row, and that its user's sums count it once."""
    assert server.ask("SELECT id::text, size FROM records WHERE user_id = %s", (account.id,)) == [
        (answer.json["id"], answer.json["size"])
    ]
    sums = server.ask("SELECT record_count, byte_count FROM users WHERE id = %s", (account.id,))
    assert sums == [(1, answer.json["size"])]


@RESTARTS
@every_transport
async def test_encode_survives_a_restart_at_its_last_step(
    server: Server,
    start_service: StartService,
    caplog: pytest.LogCaptureFixture,
    number: signal.Signals,
    transport: Transport,
) -> None:
    service = await start_service(lease_seconds=LEASE_SECONDS)
    account = await service.create_user()
    async with invariants_hold(service, caplog, errors_logged=True):
        async with half_upload(service, account, TALK, transport) as (client, rest):
            restarting = asyncio.create_task(server.restart(number, down_seconds=1))
            await until(server.is_down)
            await client.send(rest)
            answer = await client.answer()
        await restarting
        assert answer.status == 201
        assert_one_record(server, account, answer)
        await leases_run_out(server)


@pytest.mark.parametrize("headers", [(), ("Idempotency-Key: one",)], ids=["plain", "keyed"])
@pytest.mark.parametrize("table", ["records", "users"])
async def test_encode_survives_a_lock_at_its_last_step_and_is_kept_once(
    server: Server, start_service: StartService, caplog: pytest.LogCaptureFixture, table: str, headers: tuple[str, ...]
) -> None:
    """The service gives up the first insert, which goes on in the server; the second insert must not duplicate it."""
    service = await start_service(query_seconds=IMPATIENT_SECONDS, lease_seconds=LEASE_SECONDS)
    account = await service.create_user()
    async with invariants_hold(service, caplog, errors_logged=True):
        async with half_upload(service, account, TALK, "raw", headers) as (client, rest):
            with server.locked(table):
                await client.send(rest)
                await until_kept(service)
                await asyncio.sleep(2)
            answer = await client.answer()
        assert answer.status == 201
        assert_one_record(server, account, answer)
        await leases_run_out(server)


async def test_lease_and_key_of_an_upload_that_ended_without_the_database_are_free_soon_after(
    server: Server, start_service: StartService, caplog: pytest.LogCaptureFixture
) -> None:
    """A user with a limit of one upload, whose client hung up during an outage, need not wait for a minute."""
    service = await start_service(max_uploads_per_user=1)
    account = await service.create_user()
    async with invariants_hold(service, caplog, errors_logged=True):
        async with half_upload(service, account, TALK, "raw", ("Idempotency-Key: a",)) as (client, _):
            restarting = asyncio.create_task(server.restart(signal.SIGINT, down_seconds=1))
            await until(server.is_down)
            client.reset()
            await restarting

        async def may_retry() -> bool:
            async with connect(service) as client:
                await client.send(request_head(account, "raw", len(TALK), "Idempotency-Key: a") + framed(TALK, "raw"))
                return (await client.answer()).status == 201

        await until_told(may_retry, SOON_SECONDS)


@pytest.mark.parametrize("what", ["a killed worker", "SIGHUP"])
async def test_workers_that_start_during_an_outage_serve_when_it_is_over(
    server: Server, database_url: str, tmp_path: Path, what: str
) -> None:
    """gunicorn takes a worker that fails at its start for a reason to end all others."""
    with serve(tmp_path / "data", "--workers", "2", DATABASE_URL=database_url) as serving:
        user = serving.create_user()
        kept = serving.upload(user, GOOD_WAV)
        first = children(serving.process.pid)
        restarting = asyncio.create_task(server.restart(signal.SIGINT, down_seconds=5))
        await until(lambda: serving.request("GET", "/users/me", None, user)[0] == 503)
        if what == "SIGHUP":
            serving.process.send_signal(signal.SIGHUP)
        else:
            os.kill(min(first), signal.SIGKILL)
        await until(lambda: '"query": "connect"' in serving.log(), explain=serving.log)
        assert not restarting.done()
        assert serving.request("GET", "/health/live")[0] == 200
        await restarting
        await until(lambda: not (children(serving.process.pid) & {min(first)}))
        for _ in range(10):
            await until(lambda: serving.request("GET", "/health/ready")[0] == 200, explain=serving.log)
        assert serving.has(kept)
        assert serving.process.poll() is None


async def test_service_that_starts_during_an_outage_serves_when_it_is_over(
    server: Server, database_url: str, tmp_path: Path
) -> None:
    restarting = asyncio.create_task(server.restart(signal.SIGINT, down_seconds=6))
    await until(server.is_down)
    with serve(tmp_path / "data", "--no-migrate", DATABASE_URL=database_url) as serving:
        status, _, body = serving.request("GET", "/health/ready")
        assert (status, b"database:" in body) == (503, True)
        assert not restarting.done()
        await restarting
        await until(lambda: serving.request("GET", "/health/ready")[0] == 200, explain=serving.log)
        serving.upload(serving.create_user(), GOOD_WAV)


class LossyNetwork:
    """The TCP connection from the pool to the server: a test can make it lose an answer, or close it."""

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        server = parse_dsn(server_url)
        self._far = Path(server["host"], f".s.PGSQL.{server['port']}")
        self._word = b""
        self._writers = set[asyncio.StreamWriter]()
        self._listener: asyncio.Server | None = None
        self.port = 0
        self.lost = 0
        self.ends_with_loss = False

    @property
    def url(self) -> str:
        return str(make_dsn(self._server_url, host="127.0.0.1", port=self.port))

    def lose_answer_to(self, word: bytes) -> None:
        """Let the next statement with that text through, and break its connection instead of returning the answer."""
        self._word = word

    async def open(self) -> None:
        self._listener = await asyncio.start_server(self._connect, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End every connection and refuse new ones, as a host does whose server is down."""
        assert self._listener is not None
        self._listener.close()
        for writer in self._writers:
            writer.transport.abort()
        await until(lambda: not self._writers)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(self._far)
        self._writers |= {writer, far_writer}
        loses = asyncio.Event()
        await asyncio.gather(
            self._carry_statements(reader, far_writer, loses), self._carry_answers(far_reader, writer, loses)
        )
        self._writers -= {writer, far_writer}

    async def _carry_statements(
        self, reader: asyncio.StreamReader, far_writer: asyncio.StreamWriter, loses: asyncio.Event
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while statement := await reader.read(65_536):
                if self._word and self._word in statement:
                    self._word = b""
                    loses.set()
                far_writer.write(statement)
        far_writer.close()

    async def _carry_answers(
        self, far_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, loses: asyncio.Event
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while answer := await far_reader.read(65_536):
                if loses.is_set():
                    self.lost += 1
                    if self.ends_with_loss and self._listener is not None:
                        self._listener.close()
                    break
                writer.write(answer)
        writer.transport.abort()


class TestThroughALossyNetwork:
    """Statements that were committed but never answered, and a host that refuses connections."""

    @pytest.fixture
    async def network(self, server: Server) -> AsyncIterator[LossyNetwork]:
        server.ask("TRUNCATE users RESTART IDENTITY CASCADE")
        network = LossyNetwork(server.url)
        await network.open()
        yield network
        await network.close()

    @pytest.fixture
    def database_url(self, network: LossyNetwork) -> str:
        return network.url

    @pytest.fixture
    async def service(self, start_service: StartService, server: Server) -> Service:
        """A service behind that network; the test itself queries the database directly."""
        return replace(await start_service(), database_url=server.url)

    @every_transport
    @pytest.mark.parametrize("headers", [(), ("Idempotency-Key: one",)], ids=["plain", "keyed"])
    async def test_committed_record_is_not_duplicated(
        self,
        service: Service,
        server: Server,
        network: LossyNetwork,
        caplog: pytest.LogCaptureFixture,
        transport: Transport,
        headers: tuple[str, ...],
    ) -> None:
        account = await service.create_user()
        async with invariants_hold(service, caplog):
            async with half_upload(service, account, TALK, transport, headers) as (client, rest):
                network.lose_answer_to(b"INSERT INTO records")
                await client.send(rest)
                answer = await client.answer()
            assert (answer.status, network.lost) == (201, 1)
            assert_one_record(server, account, answer)

    async def test_record_that_its_owner_deletes_before_the_insert_is_repeated_stays_deleted(
        self, service: Service, server: Server, network: LossyNetwork, caplog: pytest.LogCaptureFixture
    ) -> None:
        account = await service.create_user()
        async with invariants_hold(service, caplog, errors_logged=True):
            async with half_upload(service, account, TALK) as (client, rest):
                network.ends_with_loss = True
                network.lose_answer_to(b"INSERT INTO records")
                await client.send(rest)
                await until(lambda: network.lost)
                server.ask("DELETE FROM records")  # as another replica does for the owner
                server.ask("UPDATE users SET record_count = 0, byte_count = 0")
                service.files()[0].unlink()
                await network.close()
                await network.open()
                answer = await client.answer()
            assert (answer.status, answer.json["code"]) == (404, "record_not_found")
            assert server.ask("SELECT id FROM records") == []

    async def test_record_that_is_inserted_again_while_its_owner_deletes_it_is_gone(
        self, service: Service, server: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        account = await service.create_user()
        async with invariants_hold(service, caplog):
            record = (await service.upload(account, GOOD_WAV)).json
            server.ask("CREATE TABLE deleted AS SELECT * FROM records")
            delete = service.app[STORAGE].delete

            async def insert_meanwhile(record_id: UUID) -> None:
                server.ask("INSERT INTO records SELECT * FROM deleted")
                server.ask("UPDATE users SET record_count = 1, byte_count = (SELECT size FROM deleted)")
                await delete(record_id)

            monkeypatch.setattr(service.app[STORAGE], "delete", insert_meanwhile)
            answer = await service.request("DELETE", f"/records/{record['id']}", headers=account.headers)
            server.ask("DROP TABLE deleted")
            assert answer.status == 204
            assert (await service.get(record["url"])).status == 404

    async def test_outage_at_the_end_of_an_upload_is_waited_out_as_long_as_was_set(
        self, start_service: StartService, server: Server, network: LossyNetwork, caplog: pytest.LogCaptureFixture
    ) -> None:
        """As long as all the pauses of a moment's absence take; then it is 503, and the sweep's."""
        service = await start_service(lease_seconds=LEASE_SECONDS, outage_seconds=2)
        service = replace(service, database_url=server.url)
        account = await service.create_user()
        async with invariants_hold(service, caplog, errors_logged=True):
            async with half_upload(service, account, TALK) as (client, rest):
                await network.close()
                await client.send(rest)
                await until_kept(service)
                began = time.monotonic()
                answer = await client.answer()
                assert 1.5 < time.monotonic() - began < SOON_SECONDS  # and not a minute, the default
            assert (answer.status, answer.json["code"]) == (503, "database_unavailable")
            await network.open()
            await leases_run_out(server)
            await remove_orphans(service)

    async def test_committed_user_is_not_duplicated_and_its_token_is_right(
        self, service: Service, server: Server, network: LossyNetwork, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with invariants_hold(service, caplog):
            network.lose_answer_to(b"INSERT INTO users")
            account = await service.create_user("bob")
            assert network.lost == 1
            assert server.ask("SELECT id FROM users WHERE username = 'bob'") == [(account.id,)]
            assert (await service.upload(account, GOOD_WAV)).status == 201

    @pytest.mark.parametrize("word", [b"INSERT INTO upload_leases", b"DELETE FROM upload_leases"])
    async def test_lease_is_neither_lost_nor_duplicated(
        self,
        service: Service,
        network: LossyNetwork,
        caplog: pytest.LogCaptureFixture,
        word: bytes,
    ) -> None:
        account = await service.create_user()
        async with invariants_hold(service, caplog):
            network.lose_answer_to(word)
            assert (await service.upload(account, GOOD_WAV)).status == 201
            assert network.lost == 1

    async def test_deleted_record_is_204_and_its_file_is_removed(
        self, service: Service, network: LossyNetwork, caplog: pytest.LogCaptureFixture
    ) -> None:
        account = await service.create_user()
        async with invariants_hold(service, caplog):
            record = await service.upload(account, GOOD_WAV)
            network.lose_answer_to(b"DELETE FROM records")
            deleted = await service.request("DELETE", f"/records/{record.json['id']}", headers=account.headers)
            assert (deleted.status, network.lost) == (204, 1)
            assert not service.files()

    async def test_files_of_a_deleted_user_are_removed(
        self, service: Service, server: Server, network: LossyNetwork, caplog: pytest.LogCaptureFixture
    ) -> None:
        account = await service.create_user()
        async with invariants_hold(service, caplog):
            for _ in range(2):
                await service.upload(account, GOOD_WAV)
            network.lose_answer_to(b"deleted_at = coalesce")
            deleted = await service.request("DELETE", "/users/me", headers=account.headers)
            assert (deleted.status, network.lost) == (204, 1)
            await until(lambda: not service.files() and not server.ask("SELECT 1 FROM records"))

    async def test_new_token_is_the_users_own(
        self, service: Service, network: LossyNetwork, caplog: pytest.LogCaptureFixture
    ) -> None:
        account = await service.create_user()
        async with invariants_hold(service, caplog):
            network.lose_answer_to(b"SET pending_token_sha256 =")
            answer = await service.post("/users/me/token", headers=account.headers)
            assert (answer.status, network.lost) == (200, 1)
            assert (await service.upload(Account(account.id, answer.json["token"]), GOOD_WAV)).status == 201

    async def test_host_that_refuses_connections_disturbs_no_other_socket(
        self, start_service: StartService, server: Server, network: LossyNetwork, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The number of a failed connection's descriptor soon belongs to a client or an encoder."""
        service = replace(await start_service(lease_seconds=LEASE_SECONDS), database_url=server.url)
        account = await service.create_user()
        async with invariants_hold(service, caplog, errors_logged=True):
            async with half_upload(service, account, TALK) as (client, rest):
                await network.close()
                for _ in range(20):
                    asked = [service.post("/users", json={"username": "bob"}) for _ in range(5)]
                    asked += [service.upload(account, GOOD_WAV, transport=transport) for transport in EVERY_TRANSPORT]
                    lively = [service.get("/health/live") for _ in range(10)]
                    async with asyncio.timeout(5):
                        answers = await asyncio.gather(*asked, *lively)
                    for answer in answers[: len(asked)]:
                        assert_unavailable(answer)
                    assert {answer.status for answer in answers[len(asked) :]} == {200}
                await network.open()
                await recovered(service)
                await client.send(rest)
                assert (await client.answer()).status == 201
            await leases_run_out(server)
