"""The command line as a person or a supervisor has it: real processes, started, stopped, killed, and started again."""

import hashlib
import http.client
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO
from uuid import UUID, uuid4

import numpy as np
import psycopg2
import pytest

from service.database.embedded import postgres
from tests.support.mp3s import decode
from tests.support.procfs import Process, encoders, family, read, still_running
from tests.support.waiting import wait_until
from tests.support.wavs import wav

ROOT = Path(__file__).parents[2]
# A shell's background jobs ignore SIGINT, and so do their children unless they are told otherwise. If the tests
# are killed, what they started ends too.
WAVEPRESS = ["setpriv", "--pdeathsig=TERM", "env", "--default-signal=INT", sys.executable, "-m", "service"]
RATE = 44_100
USES_CURL = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")

Headers = dict[str, str]


@cache
def noise(seconds: float = 12) -> bytes:
    """Return a WAV; half of its default length is enough for ffmpeg to have written some of the MP3."""
    samples = np.random.default_rng(5).uniform(-0.5, 0.5, (int(seconds * RATE), 2))
    return wav(samples, sample_rate=RATE, channels=2)


def environment(data_dir: Path, **settings: object) -> dict[str, str]:
    own = {"PORT": 0, "DATA_DIR": data_dir} | settings
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
    """A running `serve`, the leader of a process group of its own as in a terminal."""

    def __init__(self, process: subprocess.Popen[str], data_dir: Path, stderr: Path) -> None:
        assert process.stdout is not None
        self.process = process
        self.data_dir = data_dir
        self._stderr = stderr
        self.announcement = read_announcement(process.stdout)
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self.announcement)
        assert found, self.log()
        self.port = int(found[1])

    def log(self) -> str:
        return self._stderr.read_text()

    def family(self) -> set[Process]:
        return family(self.process.pid)

    def encoders(self) -> list[int]:
        """Return the ffmpegs that run and have written sound."""
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
        """Return the ids of all recordings on the disk; fails at any other file among them."""
        found = [path for path in (self.data_dir / "records").rglob("*") if path.is_file()]
        return {UUID(path.stem) for path in found}

    def rows(self) -> set[UUID]:
        with (
            postgres(self.data_dir / "postgres", share=True) as url,
            closing(psycopg2.connect(url)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT id::text FROM records")
            return {UUID(row[0]) for row in cursor.fetchall()}


def read_announcement(stdout: IO[str]) -> str:
    """Read up to the line that says how to stop it, or to the end."""
    lines = []
    for line in stdout:
        lines.append(line)
        if "Ctrl-C" in line:
            break
    return "".join(lines)


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
    """Serve for the length of the block; whatever is left of the service at its end is killed."""
    data_dir.mkdir(exist_ok=True)
    stderr = data_dir.parent / f"{uuid4()}.log"
    with (
        stderr.open("w") as log,
        subprocess.Popen(
            [*WAVEPRESS, "serve", *arguments],
            env=environment(data_dir, **settings),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield Serving(process, data_dir, stderr)
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


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A service that the tests of this module share; none of them stops it."""
    with serve(tmp_path_factory.mktemp("shared") / "data") as running:
        yield running


@USES_CURL
def test_three_lines_that_it_prints_make_a_user_and_an_mp3(serving: Serving, tmp_path: Path) -> None:
    lines = [line for line in serving.announcement.splitlines() if "curl" in line]
    script = "\n".join(lines)
    talk, mp3 = re.search(r"curl -\w*T (\S+)", script), re.search(r"curl -\w*o (\S+)", script)
    assert len(lines) == 3
    assert talk
    assert mp3
    (tmp_path / talk[1]).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / talk[1]).write_bytes(noise(seconds=1.5))
    shell = subprocess.run(["/bin/sh", "-e"], input=script, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (shell.returncode, shell.stderr) == (0, "")
    assert decode(tmp_path / mp3[1]).shape == (int(1.5 * RATE), 2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_it_in_good_order_and_its_data_is_there_again(tmp_path: Path, number: signal.Signals) -> None:
    with serve(tmp_path / "data") as first:
        user = first.create_user()
        kept = first.upload(user, noise(seconds=1))
        started = first.family()
        assert any("postgres" in read(pid, "cmdline") for pid, _ in started)
        # As a terminal does it: Ctrl-C is for the whole group.
        os.killpg(first.process.pid, number) if number == signal.SIGINT else first.process.send_signal(number)
        assert first.process.wait(20) == 0, first.log()
        assert not still_running(started)
        assert "Traceback" not in first.log()
    with serve(tmp_path / "data") as second:
        assert second.has(kept)
        assert second.upload(user, noise(seconds=1)).id != kept.id


def upload_until_it_dies(serving: Serving, user: Headers, kept: list[Kept]) -> None:
    """Upload one after the other; any answer but 201 raises."""
    with suppress(OSError, http.client.HTTPException):
        while True:
            kept.append(serving.upload(user, noise(seconds=0.2)))


def test_killed_amid_uploads_it_leaves_nothing_running_and_nothing_false(tmp_path: Path) -> None:
    kept: list[Kept] = []
    with ThreadPoolExecutor() as threads, serve(tmp_path / "data") as first:
        user = first.create_user()
        uploads = [threads.submit(upload_until_it_dies, first, user, kept) for _ in range(3)]
        with half_upload(first, user, noise()), half_upload(first, user, noise()):
            wait_until(lambda: len(kept) > 5, explain=first.log)
            started = first.family()
            first.process.kill()
            wait_until(lambda: not still_running(started), seconds=5, explain=lambda: still_running(started))
    for upload in uploads:
        upload.result()
    with serve(tmp_path / "data") as second:
        assert all(second.has(each) for each in kept)
        assert second.rows() <= second.files()
        swept = run(tmp_path / "data", "sweep", "--min-age-seconds", "0", "--force")
        assert swept.returncode == 0, swept.stderr
        assert second.files() == second.rows() >= {each.id for each in kept}


def test_sigterm_refuses_new_uploads_and_lets_the_running_one_end(tmp_path: Path) -> None:
    with serve(tmp_path / "data", SHUTDOWN_SECONDS=30) as first:
        user = first.create_user()
        started = first.family()
        with half_upload(first, user, noise()) as running:
            first.process.terminate()
            wait_until(lambda: '"stopping"' in first.log())
            status, headers, body = first.request("PUT", "/records/late.wav", noise(seconds=0.1), user)
            assert (status, headers["Connection"], json.loads(body)["code"]) == (503, "close", "shutting_down")
            assert int(headers["Retry-After"]) > 0
            running.send_rest()
            status, _, body = running.answer()
        assert status == 201
        assert first.process.wait(10) == 0
        assert not still_running(started)
    kept = Kept.of(body)
    with serve(tmp_path / "data") as second:
        assert second.has(kept)
        assert second.files() == second.rows() == {kept.id}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_second_signal_ends_a_running_upload_at_once(tmp_path: Path, number: signal.Signals) -> None:
    with serve(tmp_path / "data", SHUTDOWN_SECONDS=60) as serving:
        with half_upload(serving, serving.create_user(), noise()) as running:
            started = serving.family()
            serving.process.send_signal(number)
            wait_until(lambda: '"stopping"' in serving.log())
            assert serving.encoders()
            serving.process.send_signal(number)
            status, headers, body = running.answer()
        assert (status, headers["Connection"], json.loads(body)["code"]) == (503, "close", "shutting_down")
        assert serving.process.wait(10) == 0
        assert not still_running(started)
        assert not serving.files()
        assert "Traceback" not in serving.log()


def assert_plain_refusal(result: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    """Assert that it exited so, with one message on stderr that has those words."""
    said = [line for line in result.stderr.splitlines() if line.startswith("wavepress: ")]
    assert (result.returncode, result.stdout, len(said)) == (status, "", 1), result
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


@pytest.mark.parametrize(
    ("command", "setting", "value"),
    [
        ("serve", "PORT", "abc"),
        ("serve", "PUBLIC_URL", "nowhere"),
        ("migrate", "BIT_RATE", "128k"),
        ("sweep", "LOG_FORMAT", "xml"),
    ],
)
def test_bad_setting_is_named(tmp_path: Path, command: str, setting: str, value: str) -> None:
    result = run(tmp_path / "data", command, **{setting: value})
    assert_plain_refusal(result, 2, f"WAVEPRESS_{setting}", repr(value))
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("command", ["serve", "migrate", "sweep"])
def test_database_that_cannot_be_reached_is_said_so(tmp_path: Path, command: str) -> None:
    result = run(tmp_path / "data", command, DATABASE_URL="postgresql://127.0.0.1:1/wavepress")
    assert_plain_refusal(result, 1, "database", "Connection refused")


def test_port_in_use_is_said_so(serving: Serving, tmp_path: Path, database_url: str) -> None:
    result = run(tmp_path / "data", "serve", PORT=serving.port, DATABASE_URL=database_url)
    assert_plain_refusal(result, 1, str(serving.port), "in use")


def test_data_directory_that_cannot_be_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    assert_plain_refusal(run(tmp_path / "data", "serve"), 1, str(tmp_path / "data"))


def test_missing_ffmpeg_is_said_so(tmp_path: Path) -> None:
    result = run(tmp_path / "data", "serve", FFMPEG="/nowhere/ffmpeg")
    assert_plain_refusal(result, 2, "WAVEPRESS_FFMPEG", "/nowhere/ffmpeg")


def test_interrupt_amid_the_first_start_leaves_no_process_and_no_traceback(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*WAVEPRESS, "serve"], env=environment(tmp_path), cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            wait_until((tmp_path / "postgres.draft" / "PG_VERSION").exists)
            started = family(process.pid)
            os.killpg(process.pid, signal.SIGINT)
            _, stderr = process.communicate(timeout=20)
        finally:
            process.kill()
    wait_until(lambda: not still_running(started), seconds=5)
    assert b"Traceback" not in stderr


def test_migrate_says_what_it_did_and_leaves_no_process(tmp_path: Path) -> None:
    first, second = run(tmp_path / "data", "migrate"), run(tmp_path / "data", "migrate")
    assert (first.returncode, second.returncode) == (0, 0)
    assert re.fullmatch(r"Applied: 0001_\w+(, \d{4}_\w+)+\n", first.stdout)
    assert second.stdout == "The schema is up to date.\n"
    assert not [place for place in Path("/proc").glob("[0-9]*") if str(tmp_path) in read(int(place.name), "cmdline")]


def test_migrate_beside_a_running_service_leaves_it_running(serving: Serving) -> None:
    before = serving.family()
    assert run(serving.data_dir, "migrate").stdout == "The schema is up to date.\n"
    assert serving.create_user()
    assert still_running(before) >= {process for process in before if "postgres" in read(process[0], "cmdline")}


def make_orphan(data_dir: Path, age_seconds: float = 7200) -> Path:
    """Leave a file as a crash between its commit and its row would have left it."""
    record_id = uuid4()
    orphan = data_dir / "records" / record_id.hex[:2] / f"{record_id}.mp3"
    orphan.parent.mkdir(parents=True, exist_ok=True)
    orphan.write_bytes(b"sound")
    os.utime(orphan, (time.time() - age_seconds,) * 2)
    return orphan


def test_sweep_beside_a_running_service_removes_what_no_record_names(serving: Serving) -> None:
    kept = serving.upload(serving.create_user(), noise(seconds=0.1))
    orphan, young = make_orphan(serving.data_dir), make_orphan(serving.data_dir, age_seconds=0)
    rehearsal = run(serving.data_dir, "sweep", "--dry-run")
    assert re.fullmatch(r"\d+ files, 1 without a record, 1 would be removed\.\n", rehearsal.stdout), rehearsal
    assert orphan.exists()
    swept = run(serving.data_dir, "sweep")
    assert re.fullmatch(r"\d+ files, 1 without a record, 1 removed\.\n", swept.stdout), swept
    assert (orphan.exists(), young.exists()) == (False, True)
    assert serving.has(kept)
    young.unlink()


def test_sweep_without_a_service_refuses_many_until_it_is_forced(tmp_path: Path) -> None:
    run(tmp_path, "migrate")
    orphans = [make_orphan(tmp_path), make_orphan(tmp_path)]
    assert_plain_refusal(run(tmp_path, "sweep"), 1, "2 of 2 files", "--force")
    assert all(orphan.exists() for orphan in orphans)
    assert run(tmp_path, "sweep", "--force").stdout == "2 files, 2 without a record, 2 removed.\n"
    assert not any(orphan.exists() for orphan in orphans)


def test_doctor_beside_a_running_service_finds_all_well(serving: Serving) -> None:
    result = run(serving.data_dir, "doctor")
    assert (result.returncode, {line.rpartition(": ")[2] for line in result.stdout.splitlines()}) == (0, {"ok"}), result


def test_doctor_advises_on_what_is_not_well(tmp_path: Path) -> None:
    run(tmp_path, "migrate")
    result = run(tmp_path, "doctor", FFMPEG="/etc/passwd")
    assert result.returncode == 1
    assert re.search(r"^encoder: (?!ok).+\n    .*WAVEPRESS_FFMPEG", result.stdout, re.MULTILINE), result
    assert "Traceback" not in result.stderr


def test_help_names_the_commands(tmp_path: Path) -> None:
    result = run(tmp_path, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    for command in ("serve", "migrate", "sweep", "doctor"):
        assert re.search(rf"^\s+{command}\s+\w+", result.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("dance",),
        ("sweep", "--min-age-seconds", "old"),
        ("sweep", "--min-age-seconds", "nan"),
        ("sweep", "--min-age-seconds", "-1"),
    ],
)
def test_wrong_use_is_2_with_the_usage(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    result = run(tmp_path, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("usage: wavepress")


def test_doctor_runs_every_check(tmp_path: Path, database_url: str) -> None:
    result = run(tmp_path / "data", "doctor", DATABASE_URL=database_url)
    assert (result.returncode, result.stdout) == (0, "database: ok\nstorage: ok\nencoder: ok\npublic URL: ok\n")


def test_doctor_fails_with_advice(tmp_path: Path, empty_database_url: str) -> None:
    result = run(
        tmp_path / "data",
        "doctor",
        DATABASE_URL=empty_database_url,
        MIN_FREE_BYTES=str(2**60),
        HOST="0.0.0.0",  # noqa: S104 - nothing is bound
    )
    assert result.returncode == 1
    assert "wavepress migrate" in result.stdout
    assert "WAVEPRESS_DATA_DIR" in result.stdout
    assert "WAVEPRESS_PUBLIC_URL" in result.stdout
    assert "encoder: ok" in result.stdout


def test_service_takes_as_many_descriptors_as_it_may_have(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        with serve(tmp_path) as serving:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert resource.prlimit(serving.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_schema_is_left_alone_where_it_is_asked_for(tmp_path: Path) -> None:
    with serve(tmp_path, "--no-migrate") as serving, closing(serving.connect()) as connection:
        connection.request("GET", "/health/ready")
        ready = json.loads(connection.getresponse().read())
    assert "Run: wavepress migrate" in ready["detail"]
