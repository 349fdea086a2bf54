"""Uploads over a line that breaks at random places: each client goes on by itself, and nothing is sent twice."""

import asyncio
import json
import random
import subprocess
import wave
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tusclient.client import TusClient

from service.web.body import READ_AHEAD_BYTES
from tests.support.breaking_line import breaking_line
from tests.support.persistent_client import PersistentClient
from tests.support.readme import send_command
from tests.support.serving import RATE, ROOT, Headers, Serving, noise, serve
from tests.support.tools import require_tool, skip_or_fail
from tests.support.waiting import until

TUS_JS_CLIENT = "tus-js-client@4.3.1"
# A cut may come when the service has read so many bytes that its encoder has not taken yet: aiohttp reads on until it
# holds twice the read-ahead, 256 KiB at a time, and as much may be on its way to the encoder.
UNTAKEN_BYTES = 2 * (2 * READ_AHEAD_BYTES + 256 * 1024)


@dataclass(frozen=True)
class Sender:
    """What a client needs: a port, a token, and a WAV. `modules` tells where tus-js-client is installed."""

    port: int
    user: Headers
    wav: Path
    modules: Callable[[], Path]

    @property
    def token(self) -> str:
        return self.user["Authorization"].removeprefix("Bearer ")

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/uploads"


async def send_with_ietf_client(sender: Sender) -> str:
    record = await PersistentClient("ietf", lambda: sender.port, sender.user, sender.wav).send()
    return str(record["id"])


async def send_with_tuspy(sender: Sender) -> str:
    def send() -> str:
        with sender.wav.open("rb") as file:
            uploader = TusClient(sender.endpoint, headers=sender.user).uploader(
                file_stream=file,
                chunk_size=16_000_000,
                metadata={"filename": "talk.wav"},
                retries=400,
                retry_delay=0.02,
            )
            uploader.upload()
            return str(uploader.url).rpartition("/")[2]

    return await asyncio.to_thread(send)


async def send_with_tus_js_client(sender: Sender) -> str:
    program = ROOT / "tests/support/tus_client.mjs"
    arguments = [str(sender.modules()), sender.endpoint, sender.token, str(sender.wav)]
    printed = await run_to_end(require_tool("node"), str(program), *arguments)
    return printed.strip().rpartition("/")[2]


async def send_with_curl(sender: Sender) -> str:
    """Send the WAV with the shell function of README.md, which pauses for a second after each break."""
    require_tool("curl")
    printed = await run_to_end(*send_command(sender.port, sender.token, str(sender.wav)))
    return str(json.loads(printed)["id"])


async def run_to_end(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    printed, complaints = await process.communicate()
    assert process.returncode == 0, complaints.decode()
    return printed.decode()


CLIENTS: dict[str, Callable[[Sender], Awaitable[str]]] = {
    "ietf": send_with_ietf_client,
    "tus-js-client": send_with_tus_js_client,
    "tuspy": send_with_tuspy,
    "curl": send_with_curl,
}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serve(tmp_path_factory.mktemp("cuts") / "data") as serving:
        yield serving


@pytest.fixture(scope="module")
def tus_modules(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Install tus-js-client for the tests of this module, when the first of them needs it."""
    folder = tmp_path_factory.mktemp("modules")

    def installed() -> Path:
        if not (folder / "node_modules").exists():
            command = [require_tool("npm"), "install", "--ignore-scripts", "--no-audit", "--no-fund", TUS_JS_CLIENT]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
            if done.returncode != 0:
                skip_or_fail(f"tus-js-client cannot be installed: {done.stderr}")
        return folder

    return installed


def write_noise(path: Path, seconds: int) -> Path:
    """Write a WAV of so many seconds, without ever having it whole in memory."""
    second = noise(1)[44:]
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, RATE, 0, "NONE", ""))
        for _ in range(seconds):
            file.writeframesraw(second)
    return path


def bytes_read(serving: Serving) -> int:
    """Return how many bytes of bodies the service has read since it began, by its log."""
    lines = (json.loads(line) for line in serving.log().splitlines() if '"event": "request"' in line)
    return sum(line["bytes_in"] for line in lines if line["method"] in {"POST", "PATCH", "PUT"})


@pytest.mark.parametrize(
    ("seconds", "cut_count"),
    [pytest.param(30, 5, id="5 MB"), pytest.param(3000, 20, id="529 MB", marks=pytest.mark.long)],
)
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.timeout(900)
async def test_cut_upload_becomes_the_mp3_of_an_uncut_one(
    serving: Serving,
    tus_modules: Callable[[], Path],
    tmp_path: Path,
    client: str,
    seconds: int,
    cut_count: int,
) -> None:
    wav = write_noise(tmp_path / "talk.wav", seconds)
    size = wav.stat().st_size
    user = await asyncio.to_thread(serving.create_user)
    before = bytes_read(serving)
    uncut = await PersistentClient("ietf", lambda: serving.port, user, wav).send()
    await until(lambda: bytes_read(serving) == before + size)
    places = [random.Random(f"{client}{seconds}").randrange(10_000, size) for _ in range(cut_count)]
    async with breaking_line(serving.port, places) as line:
        record_id = await CLIENTS[client](Sender(line.port, user, wav, tus_modules))
        assert line.cut_count == cut_count
    status, _, body = await asyncio.to_thread(serving.request, "GET", f"/records/{record_id}", None, user)
    assert status == 200, body
    assert json.loads(body)["sha256"] == uncut["sha256"]
    most = size + max(size // 100, cut_count * UNTAKEN_BYTES)
    await until(lambda: bytes_read(serving) >= before + 2 * size)
    assert bytes_read(serving) - before - size <= most
