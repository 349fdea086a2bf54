"""Behind PgBouncer in transaction mode: no statement relies on the connection of the one before."""

import asyncio
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp.test_utils import unused_port
from psycopg2.extensions import make_dsn, parse_dsn

from tests.support.client import TRANSPORTS, Service
from tests.support.database import query
from tests.support.invariants import GOOD_WAV, invariants_hold
from tests.support.tools import require_tool
from tests.support.waiting import until


@pytest.fixture
def database_url(postgres_url: str, tmp_path: Path) -> Iterator[str]:
    """The migrated database behind a PgBouncer that has fewer connections to it than the service has to PgBouncer."""
    pgbouncer = require_tool("pgbouncer")
    server, port = parse_dsn(postgres_url), unused_port()
    config = tmp_path / "pgbouncer.ini"
    config.write_text(
        f"""
        [databases]
        * = host={server["host"]} port={server["port"]} user={server["user"]}
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {port}
        unix_socket_dir =
        auth_type = any
        pool_mode = transaction
        default_pool_size = 3
        query_wait_timeout = 5
        """
    )
    # PgBouncer refuses to run as root, and "nobody" needs this to reach its files and PostgreSQL's socket below /root.
    only = "-all,+dac_override"
    unprivileged = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    unprivileged += [f"--inh-caps={only}", f"--ambient-caps={only}"]
    command = [*(unprivileged if os.geteuid() == 0 else []), pgbouncer, "-q", str(config)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(port, process)
            url = str(make_dsn(postgres_url, host="127.0.0.1", port=port))
            query(url, "TRUNCATE users RESTART IDENTITY CASCADE")
            yield url
        finally:
            process.terminate()


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    while process.poll() is None:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
    raise AssertionError(f"PgBouncer ended with status {process.returncode}")


async def test_everything_works_with_three_connections_for_ten(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    async with invariants_hold(service, caplog):
        account = await service.create_user()
        uploads = [service.upload(account, GOOD_WAV, transport=TRANSPORTS[number % 3]) for number in range(12)]
        records = [answer.json for answer in await asyncio.gather(*uploads)]
        assert {len((await service.get(record["url"])).body) for record in records} == {records[0]["size"]}
        headers = account.headers | {"Idempotency-Key": "a"}
        retries = [await service.put("/records/a.wav", data=GOOD_WAV, headers=headers) for _ in range(2)]
        assert [answer.status for answer in retries] == [201, 200]
        listed = (await service.get("/records", headers=account.headers)).json["records"]
        assert len(listed) == 13
        assert (await service.request("DELETE", "/users/me", headers=account.headers)).status == 204
        await until(lambda: query(service.database_url, "SELECT 1 FROM records") == [])  # each row goes after its file
        assert (await service.get("/health/ready")).status == 200


async def test_time_limits_of_our_statements_are_nobody_elses(service: Service) -> None:
    for _ in range(6):
        await service.create_user()
    assert query(service.database_url, "SHOW statement_timeout") == [("0",)]
