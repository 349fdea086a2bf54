"""`kill -9` of a process that holds uploads, or that passes their requests on: all clients end with their records."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.support.database import query
from tests.support.persistent_client import PersistentClient
from tests.support.procfs import still_running
from tests.support.serving import Serving, noise, serve
from tests.support.waiting import until

LANGUAGES: tuple[Literal["ietf", "tus"], ...] = ("ietf", "tus")
SETTINGS = {"MAX_ENCODINGS": 60, "MAX_SUSPENDED": 120, "MAX_UPLOADS_PER_USER": 60}
WAV = noise(6)
HALF = len(WAV) // 2


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    path = tmp_path / "talk.wav"
    path.write_bytes(WAV)
    return path


@contextlib.contextmanager
def two_replicas(tmp_path: Path, database_url: str, holder_stall: float = 30) -> Iterator[tuple[Serving, Serving]]:
    """Run two services on one database and one folder. Yields the one that holds the uploads, and the other one."""
    own = {**SETTINGS, "DATABASE_URL": database_url}
    with (
        serve(tmp_path / "data", STALL_SECONDS=holder_stall, **own) as holder,
        serve(tmp_path / "data", **own) as other,
    ):
        yield holder, other


async def begin_clients(holder: Serving, wav: Path, client_count: int) -> list[PersistentClient]:
    """Begin uploads of two users, in both languages, and send half of each."""
    users = [await asyncio.to_thread(holder.create_user) for _ in range(2)]
    clients = [
        PersistentClient(LANGUAGES[number % 2], lambda: holder.port, users[number // 2 % 2], wav)
        for number in range(client_count)
    ]
    await asyncio.gather(*(client.begin(HALF) for client in clients))
    return clients


async def finish(clients: list[PersistentClient], serving: Serving, database_url: str) -> None:
    """Let all clients end, and check that each has the record of the whole WAV, and that nothing else is kept."""
    reference = await asyncio.to_thread(serving.upload, clients[0].user, WAV)
    records = await asyncio.gather(*(client.send() for client in clients))
    assert {record["sha256"] for record in records} == {reference.sha256}
    rows = {row[0] for row in query(database_url, "SELECT id::text FROM records")}
    assert rows == {record["id"] for record in records} | {str(reference.id)}
    assert {str(file) for file in serving.files()} == rows
    assert len(rows) == len(clients) + 1


@pytest.mark.parametrize("client_count", [8, pytest.param(50, marks=pytest.mark.long)])
async def test_clients_begin_again_when_the_holder_of_their_suspended_uploads_is_killed(
    tmp_path: Path, database_url: str, wav: Path, client_count: int
) -> None:
    with two_replicas(tmp_path, database_url, holder_stall=1) as (holder, other):
        clients = await begin_clients(holder, wav, client_count)
        await until(lambda: suspended_count(clients, holder) == client_count)
        family = holder.family()
        assert len(family) > client_count  # an encoder for each
        holder.process.kill()
        await until(lambda: not still_running(family))
        for client in clients:
            client.port = lambda: other.port
        await finish(clients, other, database_url)
        assert {client.starts for client in clients} == {2}


@pytest.mark.parametrize("client_count", [8, pytest.param(50, marks=pytest.mark.long)])
async def test_clients_go_on_when_the_process_that_passes_their_requests_on_is_killed(
    tmp_path: Path, database_url: str, wav: Path, client_count: int
) -> None:
    with two_replicas(tmp_path, database_url) as (holder, relay):
        clients = await begin_clients(holder, wav, client_count)
        for client in clients:
            client.piece_seconds = 0.05
            client.port = lambda: relay.port if relay.process.poll() is None else holder.port
        ending = asyncio.create_task(finish(clients, holder, database_url))
        before = taken_bytes(clients, holder)
        await until(lambda: taken_bytes(clients, holder) > before + client_count * 100_000, explain=holder.log)
        family = relay.family()
        relay.process.kill()
        await until(lambda: not still_running(family))
        await ending
        assert {client.starts for client in clients} == {1}


def suspended_count(clients: list[PersistentClient], serving: Serving) -> int:
    return [upload["state"] for upload in uploads(clients, serving)].count("suspended")


def taken_bytes(clients: list[PersistentClient], serving: Serving) -> int:
    return sum(upload["offset"] for upload in uploads(clients, serving))


def uploads(clients: list[PersistentClient], serving: Serving) -> list[dict[str, Any]]:
    """Return the uploads of all users that are under way."""
    users = {client.user["Authorization"]: client.user for client in clients}
    bodies = [serving.request("GET", "/uploads", None, user)[2] for user in users.values()]
    return [upload for body in bodies for upload in json.loads(body)["uploads"]]
