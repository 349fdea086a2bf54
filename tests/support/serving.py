"""The service as a person or a supervisor runs it: a real process that is started, stopped and killed."""

import hashlib
import http.client
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np

from service.database.embedded import postgres
from tests.support.clusters import copy_cluster
from tests.support.database import query
from tests.support.ffmpegs import FFMPEG
from tests.support.procfs import Process, encoders, family
from tests.support.waiting import wait_until
from tests.support.wavs import wav

ROOT = Path(__file__).parents[2]
# A shell's background jobs ignore SIGINT, and their children inherit that unless `env` resets it. `setpriv` ends
# the service if the tests are killed.
AS_IN_A_TERMINAL = ["setpriv", "--pdeathsig=TERM", "env", "--default-signal=INT"]
WAVEPRESS = [*AS_IN_A_TERMINAL, sys.executable, "-m", "service"]
RATE = 44_100
Headers = dict[str, str]


@cache
def noise(seconds: float = 12, channels: int = 2) -> bytes:
    """Return a WAV of noise; after half of the default length, ffmpeg has written some of the MP3."""
    samples = np.random.default_rng(5).uniform(-0.5, 0.5, (int(seconds * RATE), channels))
    return wav(samples, sample_rate=RATE, channels=channels)


def environment(data_dir: Path, **settings: object) -> dict[str, str]:
    own = {"PORT": 0, "DATA_DIR": data_dir, "FFMPEG": FFMPEG} | settings
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WAVEPRESS_")}
    return inherited | {f"WAVEPRESS_{name}": str(value) for name, value in own.items()}


def run(data_dir: Path, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [*WAVEPRESS, *arguments],
        env=environment(data_dir, **settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@dataclass(frozen=True)
class Kept:
    """A recording that was answered with 201."""

    id: UUID
    sha256: str

    @classmethod
    def of(cls, body: bytes) -> "Kept":
        record = json.loads(body)
        return cls(UUID(record["id"]), record["sha256"])


class Serving:
    """A running `serve` that leads its own process group, as on a terminal."""

    def __init__(self, process: subprocess.Popen[str], data_dir: Path, log: Path) -> None:
        self.process = process
        self.data_dir = data_dir
        self._log = log
        wait_until(lambda: self._address() or process.poll() is not None, explain=self.log)
        found = self._address()
        assert found, self.log()
        self.port = int(found[1])

    def log(self) -> str:
        """Return everything that it has logged so far."""
        return self._log.read_text()

    def _address(self) -> re.Match[str] | None:
        return re.search(r'"url": "http://127\.0\.0\.1:(\d+)"', self.log())

    def family(self) -> set[Process]:
        return family(self.process.pid)

    def encoders(self) -> list[int]:
        """Return the ffmpegs that run and have written some sound."""
        return [pid for pid in encoders(self.process.pid) if self._draft_size(pid) > 0]

    def _draft_size(self, pid: int) -> int:
        with suppress(FileNotFoundError, ProcessLookupError):
            return Path(f"/proc/{pid}/fd/1").stat().st_size
        return 0

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Headers | None = None
    ) -> tuple[int, Headers, bytes]:
        with closing(self.connect()) as connection:
            connection.request(method, path, body, headers or {})
            return answer(connection)

    def create_user(self) -> Headers:
        status, _, body = self.request("POST", "/users?username=ann")
        assert status == 201
        return {"Authorization": f"Bearer {json.loads(body)['token']}"}

    def upload(self, user: Headers, wav_file: bytes) -> Kept:
        status, _, body = self.request("PUT", "/records/talk.wav", wav_file, user)
        assert status == 201, body
        return Kept.of(body)

    def has(self, kept: Kept) -> bool:
        status, _, body = self.request("GET", f"/records/{kept.id}.mp3")
        return status == 200 and hashlib.sha256(body).hexdigest() == kept.sha256

    def files(self) -> set[UUID]:
        """Return the ids of all recordings on the disk; fails if there is any other file."""
        found = [path for path in (self.data_dir / "records").rglob("*") if path.is_file()]
        return {UUID(path.stem) for path in found}

    def rows(self) -> set[UUID]:
        with postgres(self.data_dir / "postgres", share=True) as url:
            return {UUID(row[0]) for row in query(url, "SELECT id::text FROM records")}


class HalfUpload:
    """An upload of which half has been sent."""

    def __init__(self, serving: Serving, user: Headers, wav_file: bytes) -> None:
        self._rest = wav_file[len(wav_file) // 2 :]
        self._connection = serving.connect()
        self._connection.putrequest("PUT", "/records/half.wav")
        for name, value in (user | {"Content-Length": str(len(wav_file))}).items():
            self._connection.putheader(name, value)
        self._connection.endheaders(wav_file[: len(wav_file) // 2])

    def send_rest(self) -> None:
        self._connection.send(self._rest)

    def answer(self) -> tuple[int, Headers, bytes]:
        return answer(self._connection)

    def close(self) -> None:
        self._connection.close()


def answer(connection: http.client.HTTPConnection) -> tuple[int, Headers, bytes]:
    with connection.getresponse() as response:
        return response.status, dict(response.headers), response.read()


@contextmanager
def serve(data_dir: Path, *arguments: str, **settings: object) -> Iterator[Serving]:
    """Serve for the length of the block; at its end the service is stopped, and killed if need be.

    If `data_dir` is not there yet, it gets the database of a first start.
    """
    if not data_dir.exists():
        data_dir.mkdir()
        copy_cluster(data_dir / "postgres")
    with started([*WAVEPRESS, "serve", *arguments], ROOT, data_dir, **settings) as serving:
        yield serving


@contextmanager
def started(command: list[str], directory: Path, data_dir: Path, **settings: object) -> Iterator[Serving]:
    """Do the same as `serve` with another command, in another directory."""
    data_dir.mkdir(exist_ok=True)
    output = data_dir.parent / f"{uuid4()}.log"
    with (
        output.open("w") as log,
        subprocess.Popen(
            command,
            env=environment(data_dir, **settings),
            cwd=directory,
            stdout=log,
            stderr=log,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield Serving(process, data_dir, output)
        finally:
            if process.poll() is None:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(5)
            process.kill()


@contextmanager
def half_upload(serving: Serving, user: Headers, wav_file: bytes) -> Iterator[HalfUpload]:
    """Send half of a WAV and wait until some of it is encoded."""
    encoder_count = len(serving.encoders())
    with closing(HalfUpload(serving, user, wav_file)) as upload:
        wait_until(lambda: len(serving.encoders()) > encoder_count, explain=serving.log)
        yield upload
