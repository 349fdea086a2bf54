"""The real process is ended by SIGTERM or SIGKILL during its work: it keeps what it promised, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import UUID

import aiohttp
import pytest

from tests.support.client import TRANSPORTS, Transport
from tests.support.mp3s import decode, info_header
from tests.support.procfs import still_running
from tests.support.raw import framed
from tests.support.serving import Serving, noise, run, serve
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

# What a client of a killed service gets, depending on the moment.
GONE = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, ConnectionError)


class Promises:
    """What the services on one data directory have answered, over all of their lives."""

    def __init__(self) -> None:
        self.kept: dict[UUID, str] = {}
        self.deleting: dict[UUID, str] = {}  # requested, but not answered
        self.deleted: set[UUID] = set()
        self.statuses: Counter[tuple[str, int]] = Counter()

    def pick(self, moments: random.Random) -> UUID | None:
        return moments.choice(sorted(self.kept)) if self.kept else None


class Life:
    """The clients of one life of the service; they go on until it is gone."""

    def __init__(self, serving: Serving, promises: Promises, seed: int) -> None:
        self._serving = serving
        self._url = f"http://127.0.0.1:{serving.port}"
        self._promises = promises
        self._moments = random.Random(seed)
        self._accounts: list[dict[str, str]] = []
        self._owners: dict[UUID, dict[str, str]] = {}

    async def until_killed(self) -> None:
        """Load the service and kill it at a random moment; return when all clients have noticed."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            self._accounts = [await self._create_user(session) for _ in range(3)]
            clients = [
                *(self._upload_on(session, TRANSPORTS[number % 3]) for number in range(4)),
                self._trickle_on(session),
                self._delete_on(session),
                self._download_on(session),
            ]
            running = asyncio.gather(*clients)
            await asyncio.sleep(self._moments.uniform(0.1, 2.0))
            self._serving.process.kill()
            async with asyncio.timeout(20):
                await running

    async def _create_user(self, session: aiohttp.ClientSession) -> dict[str, str]:
        async with session.post(f"{self._url}/users", json={"username": "ann"}) as response:
            assert response.status == 201
            return {"Authorization": f"Bearer {(await response.json())['token']}"}

    async def _upload_on(self, session: aiohttp.ClientSession, transport: Transport) -> None:
        with contextlib.suppress(*GONE):
            while True:
                await self._upload(session, transport, noise(self._moments.choice([0.05, 0.4, 2.0]), channels=1))

    async def _trickle_on(self, session: aiohttp.ClientSession) -> None:
        """Keep an upload under way at every moment."""

        async def pieces(wav: bytes) -> AsyncIterator[bytes]:
            for start in range(0, len(wav), 20_000):
                yield wav[start : start + 20_000]
                await asyncio.sleep(0.02)

        with contextlib.suppress(*GONE):
            while True:
                await self._send(session, "PUT", "/records/slow.wav", pieces(noise(4, channels=1)))

    async def _upload(self, session: aiohttp.ClientSession, transport: Transport, wav: bytes) -> None:
        if transport == "multipart":
            content_type = {"Content-Type": "multipart/form-data; boundary=b"}
            await self._send(session, "POST", "/records", framed(wav, transport), content_type)
        elif transport == "raw":
            await self._send(session, "PUT", "/records/talk.wav", wav)
        else:
            await self._send(session, "PUT", "/records/talk.wav", chunks(wav))

    async def _send(
        self, session: aiohttp.ClientSession, method: str, path: str, body: Any, headers: dict[str, str] | None = None
    ) -> None:
        account = self._moments.choice(self._accounts)
        async with session.request(method, self._url + path, data=body, headers=account | (headers or {})) as response:
            answer = await response.read()
        self._promises.statuses["upload", response.status] += 1
        assert response.status == 201, answer
        record = json.loads(answer)
        self._promises.kept[UUID(record["id"])] = record["sha256"]
        self._owners[UUID(record["id"])] = account

    async def _delete_on(self, session: aiohttp.ClientSession) -> None:
        with contextlib.suppress(*GONE):
            while self._serving.process.poll() is None:
                await asyncio.sleep(0.05)
                own = sorted(self._owners.keys() & self._promises.kept.keys())
                if len(own) > 3:
                    await self._delete(session, self._moments.choice(own))

    async def _delete(self, session: aiohttp.ClientSession, record_id: UUID) -> None:
        self._promises.deleting[record_id] = self._promises.kept.pop(record_id)
        async with session.delete(f"{self._url}/records/{record_id}", headers=self._owners[record_id]) as response:
            await response.read()
        self._promises.statuses["delete", response.status] += 1
        assert response.status == 204
        del self._promises.deleting[record_id]
        self._promises.deleted.add(record_id)

    async def _download_on(self, session: aiohttp.ClientSession) -> None:
        """Download again and again; a complete answer must be the whole file."""
        with contextlib.suppress(*GONE):
            while self._serving.process.poll() is None:
                await asyncio.sleep(0.01)
                record_id = self._promises.pick(self._moments)
                if record_id is not None:
                    sha256 = self._promises.kept[record_id]
                    status, mp3 = await download(session, self._url, record_id)
                    if record_id in self._promises.kept:
                        assert (status, hashlib.sha256(mp3).hexdigest()) == (200, sha256)


async def chunks(wav: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(wav), 50_000):
        yield wav[start : start + 50_000]


async def download(session: aiohttp.ClientSession, url: str, record_id: UUID) -> tuple[int, bytes]:
    async with session.get(f"{url}/records/{record_id}.mp3") as response:
        return response.status, await response.read()


async def check_promises(serving: Serving, promises: Promises) -> None:
    """Check that every 201 is served byte for byte, every 204 is gone, and an unanswered deletion is one of the two."""
    url = f"http://127.0.0.1:{serving.port}"
    async with aiohttp.ClientSession() as session:
        for record_id, sha256 in promises.kept.items():
            status, mp3 = await download(session, url, record_id)
            assert (status, hashlib.sha256(mp3).hexdigest()) == (200, sha256)
        for record_id in promises.deleted:
            assert (await download(session, url, record_id))[0] == 404
        for record_id, sha256 in promises.deleting.items():
            status, mp3 = await download(session, url, record_id)
            assert (status, hashlib.sha256(mp3).hexdigest()) == (200, sha256) or status == 404


def check_house(serving: Serving, promises: Promises) -> None:
    """Check that rows and files match, and that the file of an unanswered upload is a whole MP3."""
    swept = run(serving.data_dir, "sweep", "--min-age-seconds", "0", "--force")
    assert swept.returncode == 0, swept.stderr
    files = serving.files()
    assert files == serving.rows() >= promises.kept.keys()
    assert not files & promises.deleted
    assert not list((serving.data_dir / "records" / "drafts").iterdir())
    for unanswered in files - promises.kept.keys() - promises.deleting.keys():
        mp3 = (serving.data_dir / "records" / unanswered.hex[:2] / f"{unanswered}.mp3").read_bytes()
        assert len(decode(mp3)) == info_header(mp3).sample_count > 0


async def live_and_die(data_dir: Path, promises: Promises, seed: int) -> None:
    """Serve under load until killed, and check that no process is left."""
    with serve(data_dir) as serving:
        await check_promises(serving, promises)
        check_house(serving, promises)
        life = Life(serving, promises, seed)
        started = asyncio.create_task(life.until_killed())
        family = serving.family()
        while not started.done():
            family |= serving.family()
            await asyncio.sleep(0.05)
        await started
        await until(lambda: not still_running(family), seconds=5, explain=lambda: still_running(family))
        assert "Traceback" not in serving.log(), serving.log()


async def die_and_come_back(data_dir: Path, seeds: range) -> None:
    promises = Promises()
    for seed in seeds:
        await live_and_die(data_dir, promises, seed)
    with serve(data_dir) as serving:
        await check_promises(serving, promises)
        check_house(serving, promises)
        await check_promises(serving, promises)
    assert promises.statuses["upload", 201] > 5 * len(seeds), promises.statuses
    assert promises.statuses["delete", 204] > 0, promises.statuses


@pytest.mark.timeout(180)
async def test_service_killed_at_any_moment_keeps_what_it_promised_and_nothing_else(tmp_path: Path) -> None:
    await die_and_come_back(tmp_path / "data", range(3))


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_service_killed_fifty_times_keeps_what_it_promised_and_nothing_else(tmp_path: Path) -> None:
    await die_and_come_back(tmp_path / "data", range(100, 150))


async def started_upload(serving: Serving, account: dict[str, str], transport: Transport, share: float) -> Any:
    """Send that share of an upload over a new connection; return its reader, its writer and the rest."""
    reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
    wav = noise(10, channels=1)
    body = framed(wav, transport)
    method, path = ("POST", "/records") if transport == "multipart" else ("PUT", "/records/talk.wav")
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: {account['Authorization']}"]
    lines += ["Transfer-Encoding: chunked"] if transport == "chunked" else [f"Content-Length: {len(body)}"]
    lines += ["Content-Type: multipart/form-data; boundary=b"] if transport == "multipart" else []
    end = int(len(body) * share)
    writer.write("\r\n".join([*lines, "", ""]).encode() + body[:end])
    await writer.drain()
    return reader, writer, body[end:]


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, str, dict[str, Any]]:
    """Return an answer's status, its head in lower case, and its JSON."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.partition("content-length:")[2].split()[0])
    return int(head.split()[1]), head, json.loads(await reader.readexactly(length))


async def test_sigterm_lets_uploads_of_each_kind_end_and_cuts_off_those_that_take_too_long(tmp_path: Path) -> None:
    with serve(tmp_path / "data", SHUTDOWN_SECONDS=8) as serving:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://127.0.0.1:{serving.port}/users", json={"username": "ann"}) as response,
        ):
            account = {"Authorization": f"Bearer {(await response.json())['token']}"}
        ending = [await started_upload(serving, account, transport, 0.5) for transport in TRANSPORTS]
        staying = [await started_upload(serving, account, transport, 0.5) for transport in TRANSPORTS]
        await until(lambda: len(serving.encoders()) == len(ending) + len(staying), explain=serving.log)
        family = serving.family()
        serving.process.terminate()
        await until(lambda: '"stopping"' in serving.log())
        assert f"Uploads under way: {len(ending + staying)}. They have 8 s; a second Ctrl-C ends" in serving.log()
        for _, writer, rest in ending:
            writer.write(rest)
        answers = [await answer_of(reader) for reader, _, _ in ending]
        assert [status for status, _, _ in answers] == [201] * 3, answers
        for reader, _, _ in staying:
            status, head, problem = await answer_of(reader)
            assert (status, problem["code"]) == (503, "shutting_down")
            assert "connection: close" in head
            assert "retry-after:" in head
        assert await asyncio.to_thread(serving.process.wait, 10) == 0
        assert not still_running(family)
        assert "Traceback" not in serving.log()
        for _, writer, _ in ending + staying:
            writer.close()
    with serve(tmp_path / "data") as again:
        assert again.files() == again.rows() == {UUID(record["id"]) for _, _, record in answers}
