"""Ctrl-C and SIGTERM at every moment before a command has done its work: no traceback, and no process stays."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from service.database.embedded import postgres
from tests.support.clusters import copy_cluster
from tests.support.procfs import Process, descendants, encoders, family, read, still_running
from tests.support.serving import ROOT, WAVEPRESS, environment, half_upload, noise, serve
from tests.support.waiting import wait_until

SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


class Command:
    """A command that runs, and leads a process group as on a terminal."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.family = set[Process]()

    def runs(self, word: str) -> bool:
        """Whether a process that it has started has that word in its command line."""
        return any(word in read(pid, "cmdline") for pid in descendants(self.process.pid))

    def interrupt(self, number: signal.Signals) -> tuple[int, str]:
        """Send a signal, as the terminal does, and return the exit code and what was said on stderr."""
        self.family = family(self.process.pid)
        os.killpg(self.process.pid, number)
        _, said = self.process.communicate(timeout=20)
        wait_until(lambda: not still_running(self.family), seconds=5, explain=lambda: still_running(self.family))
        return self.process.returncode, said


@contextmanager
def command(data_dir: Path, *arguments: str, **settings: object) -> Iterator[Command]:
    with subprocess.Popen(
        [*WAVEPRESS, *arguments],
        env=environment(data_dir, **settings),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield Command(process)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def silent_database() -> Iterator[str]:
    """The URL of a server that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"postgresql://ann@127.0.0.1:{server.getsockname()[1]}/wavepress"


@SIGNALS
@pytest.mark.parametrize("arguments", [("serve",), ("serve", "--workers", "2"), ("doctor",)], ids=" ".join)
def test_signal_while_python_reads_the_modules(
    tmp_path: Path, arguments: tuple[str, ...], number: signal.Signals
) -> None:
    with command(tmp_path / "data", *arguments) as begun:
        wait_until(lambda: "pydantic_core" in read(begun.process.pid, "maps"))
        assert begun.interrupt(number) == (128 + number, "")
    assert list(tmp_path.iterdir()) == []


@SIGNALS
@pytest.mark.parametrize("word", ["initdb", "-cexit_on_error=on", "--listen_addresses"])
def test_signal_during_the_first_start_leaves_nothing_half_made(
    tmp_path: Path, word: str, number: signal.Signals
) -> None:
    with command(tmp_path / "data", "serve") as begun:
        wait_until(lambda: begun.runs(word))
        assert begun.interrupt(number) == (128 + number, "")
    is_made = word == "--listen_addresses"
    assert sorted(path.name for path in tmp_path.glob("*/*")) == (["postgres", "postgres.lock"] if is_made else [])


@SIGNALS
@pytest.mark.parametrize("arguments", [("doctor",), ("users", "list")], ids=" ".join)
def test_signal_while_a_command_has_its_own_postgres(
    tmp_path: Path, arguments: tuple[str, ...], number: signal.Signals
) -> None:
    copy_cluster(tmp_path / "postgres")
    with command(tmp_path, *arguments) as begun:
        wait_until(lambda: begun.runs("--listen_addresses"))
        assert begun.interrupt(number) == (128 + number, "")


@SIGNALS
@pytest.mark.parametrize("arguments", [("migrate",), ("serve",), ("users", "list")], ids=" ".join)
def test_signal_while_the_database_is_silent(
    tmp_path: Path, arguments: tuple[str, ...], number: signal.Signals
) -> None:
    with silent_database() as url, command(tmp_path, *arguments, DATABASE_URL=url) as begun:
        wait_until(lambda: connected(begun.process.pid, url))
        status, said = begun.interrupt(number)
    assert status == 128 + number
    assert "Traceback" not in said


@SIGNALS
def test_signal_while_the_parts_are_opened_ends_the_start(tmp_path: Path, number: signal.Signals) -> None:
    with silent_database() as url, command(tmp_path, "serve", "--no-migrate", DATABASE_URL=url) as begun:
        wait_until(lambda: connected(begun.process.pid, url))
        before = time.monotonic()
        status, said = begun.interrupt(number)
    assert time.monotonic() - before < 2
    assert status == 0
    assert '"serving"' not in said


def test_second_signal_does_not_wait_for_an_upload_that_waits_for_the_database(tmp_path: Path) -> None:
    copy_cluster(tmp_path / "elsewhere")
    with (
        postgres(tmp_path / "elsewhere", options={"fsync": "off"}) as url,
        serve(tmp_path / "data", DATABASE_URL=url, SHUTDOWN_SECONDS=60) as serving,
        half_upload(serving, serving.create_user(), noise()) as running,
        stopped(descendants(os.getpid()) - descendants(serving.process.pid) - {serving.process.pid}),
    ):
        running.send_rest()
        wait_until(lambda: not encoders(serving.process.pid))
        time.sleep(0.5)  # now it tries to insert its row, for five seconds
        serving.process.send_signal(signal.SIGINT)
        wait_until(lambda: '"stopping"' in serving.log())
        serving.process.send_signal(signal.SIGINT)
        assert serving.process.wait(20) == 0


@contextmanager
def stopped(pids: set[int]) -> Iterator[None]:
    """Have processes stand still for the length of the block."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def connected(pid: int, url: str) -> bool:
    """Whether a process has a connection to the server of that URL."""
    port = int(url.rpartition(":")[2].partition("/")[0])
    rows = [row.split() for row in read(pid, "net/tcp").splitlines()[1:]]
    return any(int(row[2].rpartition(":")[2], 16) == port and row[3] == "01" for row in rows)
