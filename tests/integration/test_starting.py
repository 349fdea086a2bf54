"""A program is started within its limits, with nothing of ours, whether by util-linux' tools or by the library."""

import contextlib
import errno
import os
import re
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from service.audio import native
from service.audio.starting import Command, Descriptors, Process, start_process
from tests.support.ffmpegs import native_library
from tests.support.procfs import children, descriptors, executable_of, read
from tests.support.programs import output_of
from tests.support.waiting import until

PYTHON = sys.executable
LIMITS = (("cpu", 60), ("fsize", 1_000_000), ("nofile", 64), ("core", 0), ("as", 2**31))


@pytest.fixture(autouse=True, params=["tools", "library"])
def library(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    before = children()
    with native_library(tmp_path, is_there=request.param == "library"):
        yield
    assert children() == before


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[tuple[Process, int]]:
    """Start a program for the length of the block; yield it, and a pipe with what it says."""
    reading, writing = os.pipe()
    try:
        with Path(os.devnull).open("rb") as nothing:
            process = start_process(Command(arguments, LIMITS), Descriptors(nothing.fileno(), writing, writing))
    finally:
        os.close(writing)
    try:
        yield process, reading
    finally:
        process.kill()
        process.wait()
        os.close(reading)


def said(*arguments: str) -> str:
    """Run a program to its end, and return what it says."""
    with started(*arguments) as (process, reading), os.fdopen(os.dup(reading), encoding="utf-8") as output:
        text = output.read()
        assert process.wait() == 0, text
        return text


def of_python(expression: str) -> str:
    return said(PYTHON, "-ISc", f"import os, resource, signal, sys; print({expression})").strip()


def test_program_has_its_limits_soft_and_hard() -> None:
    for name, value in LIMITS:
        assert of_python(f"resource.getrlimit(resource.RLIMIT_{name.upper()})") == f"({value}, {value})"


def test_program_begins_without_what_is_ours() -> None:
    assert of_python("os.getcwd()") == "/"
    assert said("/usr/bin/env") == ""
    assert "NoNewPrivs:\t1\n" in said("/bin/cat", "/proc/self/status")


def test_program_is_in_a_group_of_its_own_in_our_session() -> None:
    with started("/bin/sleep", "60") as (process, _):
        assert (os.getpgid(process.pid), os.getsid(process.pid)) == (process.pid, os.getsid(0))


def test_program_has_no_descriptor_that_it_was_not_given(tmp_path: Path) -> None:
    """Also none that the program which started the service has left open."""
    with (tmp_path / "secret").open("wb") as secret:
        for number in (secret.fileno(), 900):
            os.dup2(secret.fileno(), number, inheritable=True)
        try:
            assert of_python("sorted(os.listdir('/proc/self/fd'))") == "['0', '1', '2', '3']"  # 3 lists them
        finally:
            os.close(900)


@pytest.mark.parametrize("number", [200, 900])
def test_one_more_descriptor_keeps_its_number(number: int) -> None:
    reading, writing = os.pipe()
    os.dup2(writing, number, inheritable=False)
    others = [os.dup2(writing, other, inheritable=True) for other in (number - 1, number + 1)]
    os.close(writing)
    script = f"import os; os.write({number}, ' '.join(sorted(os.listdir('/proc/self/fd'))).encode())"
    try:
        process = start_process(Command([PYTHON, "-ISc", script], LIMITS), Descriptors(0, 1, 2, number))
    finally:
        for descriptor in (number, *others):
            os.close(descriptor)
    with os.fdopen(reading, encoding="utf-8") as sound:
        assert set(sound.read().split()) == {"0", "1", "2", "3", str(number)}  # 3 lists them
    assert process.wait() == 0


CROSSED = """
import os, sys
from pathlib import Path
from service.audio import native
from service.audio.starting import Command, Descriptors, start_process

native.library_path = lambda: Path(sys.argv[1])
file, said = os.open(sys.argv[2], os.O_RDONLY), os.dup(1)
os.dup2(file, 1), os.dup2(said, 0)
start_process(Command(["/bin/cat"], (("core", 0),)), Descriptors(stdin=1, stdout=0, stderr=2)).wait()
"""


async def test_our_own_descriptors_may_have_the_numbers_of_the_programs(tmp_path: Path) -> None:
    """They do if the service was started with a closed stdin or stdout."""
    (tmp_path / "file").write_text("sound")
    assert await output_of(PYTHON, "-c", CROSSED, str(native.library_path()), str(tmp_path / "file")) == "sound"


def test_signals_are_as_a_program_expects_them() -> None:
    """Python ignores SIGPIPE and SIGXFSZ, and has handlers, which must not run in a child."""
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        status = dict(line.split(":", 1) for line in said("/bin/cat", "/proc/self/status").splitlines())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert (int(status["SigBlk"], 16), int(status["SigCgt"], 16)) == (0, 0)
    ignored = int(status["SigIgn"], 16)
    assert not ignored & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1)


def test_ours_stay_as_they_are() -> None:
    def ours() -> tuple[object, ...]:
        limits = [resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}")) for name, _ in LIMITS]
        signals = [line for line in read(os.getpid(), "status").splitlines() if line.startswith("Sig")]
        return limits, signals, Path.cwd(), os.getpgid(0), descriptors()

    before = ours()
    said("/bin/true")
    assert ours() == before


async def test_program_dies_with_the_thread_that_has_started_it() -> None:
    begun, ended = Future[Process](), threading.Event()

    def start() -> None:
        begun.set_result(start_process(Command(["/bin/sleep", "60"], LIMITS), Descriptors(0, 1, 2)))
        ended.wait()

    thread = threading.Thread(target=start)
    thread.start()
    process = begun.result()
    await until(lambda: executable_of(process.pid).endswith("/sleep"))
    assert process.poll() is None
    ended.set()
    thread.join()
    assert process.wait() == process.poll() == -signal.SIGKILL


@pytest.mark.parametrize("library", ["library"], indirect=True)
@pytest.mark.parametrize(
    ("program", "limit", "stdin", "expected"),
    [
        ("/missing", 64, 0, errno.ENOENT),
        ("/etc/passwd", 64, 0, errno.EACCES),
        ("/bin/true", 2**62, 0, errno.EPERM),
        ("/bin/true", 64, 999, errno.EBADF),
    ],
)
def test_library_says_why_a_program_cannot_be_started(program: str, limit: int, stdin: int, expected: int) -> None:
    with pytest.raises(OSError, match=re.escape(program)) as raised:
        start_process(Command([program], (("nofile", limit),)), Descriptors(stdin, 1, 2))
    assert raised.value.errno == expected
