"""Starts a program within limits, without new privileges, and for no longer than the thread lives that starts it."""

import ctypes
import itertools
import os
import resource
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from subprocess import Popen
from typing import Protocol

from service.audio.native import native_library

_NO_DESCRIPTOR = -1


@dataclass(frozen=True, slots=True)
class Command:
    """A program's path and arguments, and its limits by their names: "cpu" is what setrlimit(2) calls RLIMIT_CPU.

    Each limit is soft and hard.
    """

    arguments: Sequence[str]
    limits: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Descriptors:
    """What a program has open: its stdin, stdout and stderr and, under the same number as here, perhaps one more."""

    stdin: int
    stdout: int
    stderr: int
    more: int | None = None


class Process(Protocol):
    """A child process, with the methods of `subprocess.Popen`. The caller must reap it, by `poll` or `wait`."""

    pid: int

    def poll(self) -> int | None:
        """Return its exit status, or None if it still runs."""

    def kill(self) -> None:
        """Kill it, if it still runs."""

    def wait(self) -> int:
        """Wait until it has ended, and return its exit status."""


def start_process(command: Command, descriptors: Descriptors) -> Process:
    """Start a command in a process group of its own, without an environment. Raises OSError.

    The native library does it a millisecond sooner than util-linux' prlimit and setpriv.
    """
    library = native_library()
    if library is None:
        return _start_by_tools(command, descriptors)
    return _start_natively(library, command, descriptors)


def _start_natively(library: ctypes.CDLL, command: Command, descriptors: Descriptors) -> "_NativeProcess":
    arguments = [*map(os.fsencode, command.arguments), None]
    more = _NO_DESCRIPTOR if descriptors.more is None else descriptors.more
    limits = [(getattr(resource, f"RLIMIT_{name.upper()}"), value) for name, value in command.limits]
    pid = library.wavepress_start(
        (ctypes.c_char_p * len(arguments))(*arguments),
        (ctypes.c_int * 4)(descriptors.stdin, descriptors.stdout, descriptors.stderr, more),
        (ctypes.c_uint64 * (2 * len(limits)))(*itertools.chain.from_iterable(limits)),
        len(limits),
    )
    if pid < 0:
        raise OSError(-pid, os.strerror(-pid), command.arguments[0])
    return _NativeProcess(pid)


class _NativeProcess:
    """Fulfils `Process`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def poll(self) -> int | None:
        return self._reap(os.WNOHANG)

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        status = self._reap(0)
        if status is None:
            raise AssertionError("waitpid returned before the process had ended")
        return status

    def _reap(self, options: int) -> int | None:
        if self._status is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status


def _start_by_tools(command: Command, descriptors: Descriptors) -> Process:
    limits = [f"--{name}={value}:{value}" for name, value in command.limits]
    within_limits = [_tool("prlimit"), *limits, "--"]
    without_privileges = [_tool("setpriv"), "--no-new-privs", "--pdeathsig", "KILL", "--"]
    return Popen(  # noqa: S603 - our own command, no shell
        [*within_limits, *without_privileges, *command.arguments],
        stdin=descriptors.stdin,
        stdout=descriptors.stdout,
        stderr=descriptors.stderr,
        pass_fds=() if descriptors.more is None else (descriptors.more,),
        env={},
        cwd="/",
        process_group=0,  # not a session: Linux would share the CPU out by sessions, and niceness be in vain
    )


@cache
def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise FileNotFoundError(f"{name} is not installed; it belongs to util-linux")
    return path
