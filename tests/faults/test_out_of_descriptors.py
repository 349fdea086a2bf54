"""Out of descriptors: new connections wait, and neither the log nor the processor is flooded."""

import contextlib
import logging
import os
import resource
import signal
import socket
import time
from pathlib import Path

import pytest

from service.web.listening import OutOfDescriptors
from tests.support.serving import serve
from tests.support.waiting import wait_until


def descriptors_of(pid: int) -> set[int]:
    return {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_connections_wait_and_one_line_says_why(tmp_path: Path, postgres_url: str) -> None:
    with serve(tmp_path / "data", DATABASE_URL=postgres_url) as serving, contextlib.ExitStack() as stack:
        pid = serving.process.pid
        _, most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (max(descriptors_of(pid)) + 6, most))
        for _ in range(200):
            stack.enter_context(contextlib.closing(socket.create_connection(("127.0.0.1", serving.port), 5)))
        wait_until(lambda: "Out of descriptors" in serving.log(), explain=serving.log)
        before, began = processor_seconds(pid), time.monotonic()
        wait_until(lambda: time.monotonic() - began > 2.5)  # asyncio tries again each second
        assert processor_seconds(pid) - before < 0.5
        assert serving.log().count("Out of descriptors") == 1
        assert "out of system resource" not in serving.log()
        assert "Traceback" not in serving.log()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, most))
        assert serving.request("GET", "/health/live")[0] == 200


def test_many_may_wait_for_their_turn_in_the_kernel(tmp_path: Path, postgres_url: str) -> None:
    """The backlog of the listening socket; while the service is stopped it accepts nothing."""
    with serve(tmp_path / "data", DATABASE_URL=postgres_url) as serving, contextlib.ExitStack() as stack:
        serving.process.send_signal(signal.SIGSTOP)
        try:
            for _ in range(400):
                stack.enter_context(contextlib.closing(socket.create_connection(("127.0.0.1", serving.port), 5)))
        finally:
            serving.process.send_signal(signal.SIGCONT)
        assert serving.request("GET", "/health/live")[0] == 200


@pytest.mark.parametrize(("seconds", "expected"), [(60, 1), (0, 3)])
def test_line_comes_once_in_so_many_seconds_and_others_pass(seconds: float, expected: int) -> None:
    filtering = OutOfDescriptors(seconds)
    words = "socket.accept() out of system resource\nsocket: <x>"
    records = [logging.LogRecord("asyncio", logging.ERROR, "", 0, words, (), None) for _ in range(3)]
    assert [filtering.filter(record) for record in records].count(True) == expected
    assert filtering.filter(logging.LogRecord("asyncio", logging.ERROR, "", 0, "other", (), None))
