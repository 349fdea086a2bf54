"""Several processes behind one address: `wavepress serve --workers N`."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from service.metrics import MULTIPROCESS_VARIABLE
from tests.support.invariants import GOOD_WAV
from tests.support.serving import AS_IN_A_TERMINAL, ROOT, environment, started


def two_workers_command(*variables: str) -> list[str]:
    """Return the command that serves with two workers, and with those environment variables."""
    return [*AS_IN_A_TERMINAL, *variables, sys.executable, "-m", "service", "serve", "--workers", "2"]


@contextlib.contextmanager
def two_workers(data_dir: Path, *variables: str, **settings: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a service of two workers. Yields its process and its address."""
    data_dir.mkdir(exist_ok=True)
    with started(two_workers_command(f"TMPDIR={data_dir}", *variables), ROOT, data_dir, **settings) as serving:
        yield serving.process, f"http://127.0.0.1:{serving.port}"
        serving.process.terminate()
        assert serving.process.wait(30) == 0
    assert list(data_dir.glob("wavepress-metrics-*")) == []


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A service of two workers: its process and its address."""
    with two_workers(tmp_path_factory.mktemp("workers") / "data") as service:
        yield service


@pytest.fixture
async def session(workers: tuple[subprocess.Popen[str], str]) -> AsyncIterator[aiohttp.ClientSession]:
    # A connection of its own for each request, so that the workers take turns.
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(workers[1], connector=connector) as session:
        await wait_until_ready(session)
        yield session


async def wait_until_ready(session: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                async with session.get("/health/ready") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.05)


async def upload(session: aiohttp.ClientSession, token: str, **headers: str) -> tuple[int, dict[str, object]]:
    headers["Authorization"] = f"Bearer {token}"
    async with session.put("/records/talk.wav", data=GOOD_WAV, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


async def create_user(session: aiohttp.ClientSession) -> str:
    async with session.post("/users", json={"username": "ann"}) as answer:
        return str((await answer.json())["token"])


async def metric(session: aiohttp.ClientSession, pattern: str) -> float:
    async with session.get("/metrics") as answer:
        return sum(float(value) for value in re.findall(rf"^{pattern} (\S+)$", await answer.text(), re.MULTILINE))


async def until_encoding(session: aiohttp.ClientSession, count: int) -> None:
    """Wait until the workers encode `count` uploads."""
    for _ in range(1000):
        if await metric(session, "wavepress_encoder_slots_used") == count:
            return
        await asyncio.sleep(0.02)


async def test_metrics_are_the_sum_of_all_workers(session: aiohttp.ClientSession) -> None:
    token = await create_user(session)
    uploads = r'wavepress_uploads_total\{outcome="created",transport="raw"\}'
    before = await metric(session, uploads)
    for _ in range(8):
        assert (await upload(session, token))[0] == 201
    assert await metric(session, uploads) - before == 8
    assert await metric(session, "wavepress_encoder_slots_limit") == 128


def test_directory_for_metrics_that_the_operator_has_named_stays(tmp_path: Path) -> None:
    own = tmp_path / "metrics"
    own.mkdir()
    (own / "precious").touch()
    with two_workers(tmp_path / "data", f"{MULTIPROCESS_VARIABLE}={own}"):
        pass
    assert (own / "precious").exists()
    assert list(own.glob("*.db"))  # it was used


@pytest.mark.parametrize(("setting", "value"), [("PORT", None), ("BIT_RATE", "128k")])
def test_failed_start_leaves_no_directory_for_metrics(tmp_path: Path, setting: str, value: str | None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = {setting: value or taken.getsockname()[1]}
        result = subprocess.run(
            two_workers_command(f"TMPDIR={tmp_path}"),
            env=environment(tmp_path / "data", **settings),
            cwd=ROOT,
            capture_output=True,
            timeout=30,
            check=False,
        )
    assert result.returncode in {1, 2}, result
    assert list(tmp_path.iterdir()) == []


async def test_key_used_at_one_worker_is_known_at_every_worker(session: aiohttp.ClientSession) -> None:
    token = await create_user(session)
    answers = [await upload(session, token, **{"Idempotency-Key": "k"}) for _ in range(6)]
    assert [status for status, _ in answers] == [201, 200, 200, 200, 200, 200]
    assert len({str(record["id"]) for _, record in answers}) == 1


async def test_restart_of_the_workers_fails_no_request(
    workers: tuple[subprocess.Popen[str], str], session: aiohttp.ClientSession
) -> None:
    token = await create_user(session)
    answers = []
    os.kill(workers[0].pid, signal.SIGHUP)
    started = time.monotonic()
    while time.monotonic() - started < 3:
        answers.append(await upload(session, token))
    assert [answer for answer in answers if answer[0] != 201] == []
    assert len(answers) > 10


async def test_worker_that_drains_sends_idle_clients_to_others(tmp_path: Path) -> None:
    with two_workers(tmp_path / "data") as (process, url):
        async with aiohttp.ClientSession(url) as session:
            await wait_until_ready(session)
            token = await create_user(session)
            statuses: list[int] = []

            async def body() -> AsyncIterator[bytes]:
                yield GOOD_WAV[:1000]
                await until_encoding(session, 1)
                # Each of the session's connections stays with one worker for as long as it lasts.
                await asyncio.gather(*(upload(session, token) for _ in range(8)))
                os.kill(process.pid, signal.SIGHUP)
                await asyncio.sleep(1.5)  # the connections are idle all the time
                statuses.extend([(await upload(session, token))[0] for _ in range(8)])
                yield GOOD_WAV[1000:]

            headers = {"Authorization": f"Bearer {token}"}
            async with session.put("/records/talk.wav", data=body(), headers=headers) as answer:
                assert answer.status == 201, await answer.text()
            assert statuses == [201] * 8


async def test_no_worker_refuses_while_another_has_a_free_place(tmp_path: Path) -> None:
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    with two_workers(tmp_path / "data", MAX_ENCODINGS="8", MAX_WAITING="0") as (_, url):
        async with aiohttp.ClientSession(url, connector=connector) as session:
            await wait_until_ready(session)
            token = await create_user(session)
            may_end = asyncio.Event()

            async def body() -> AsyncIterator[bytes]:
                yield GOOD_WAV[:1000]
                await may_end.wait()
                yield GOOD_WAV[1000:]

            async def slow_upload() -> int:
                headers = {"Authorization": f"Bearer {token}"}
                async with session.put("/records/talk.wav", data=body(), headers=headers) as answer:
                    return answer.status

            uploads = [asyncio.create_task(slow_upload()) for _ in range(8)]
            await until_encoding(session, 8)
            assert (await upload(session, token))[0] == 503
            may_end.set()
            assert await asyncio.gather(*uploads) == [201] * 8


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
async def test_signal_lets_the_uploads_of_a_worker_end(tmp_path: Path, number: signal.Signals) -> None:
    with two_workers(tmp_path) as (process, url):
        async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(force_close=True)) as session:
            await wait_until_ready(session)
            token = await create_user(session)

            async def body() -> AsyncIterator[bytes]:
                yield GOOD_WAV[:1000]
                await until_encoding(session, 1)
                os.kill(process.pid, number)
                await asyncio.sleep(1)  # for the workers to have been told
                yield GOOD_WAV[1000:]

            headers = {"Authorization": f"Bearer {token}"}
            async with session.put("/records/talk.wav", data=body(), headers=headers) as answer:
                assert answer.status == 201, await answer.text()
