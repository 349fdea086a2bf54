"""Runs one ffmpeg as a child process, and keeps the end of its stderr."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Self

_NICENESS = 10
# Only this much of the end of ffmpeg's stderr is kept.
_STDERR_BYTES = 4096


class FfmpegProcess:
    """An ffmpeg in a process group of its own. The caller of `start` must call `kill`, even if ffmpeg has ended."""

    def __init__(self, process: asyncio.subprocess.Process, stdin: socket.socket) -> None:
        assert process.stderr is not None  # noqa: S101 - opened as a pipe
        self.pid = process.pid
        self._process = process
        self._stdin = stdin
        self._last_words = b""
        self._listener = asyncio.create_task(self._listen(process.stderr))

    @classmethod
    async def start(cls, command: Sequence[str], stdout: int) -> Self:
        """Start a command that writes to the descriptor `stdout`. Raises OSError if it cannot be run."""
        stdin, its_stdin = _socket_pair()
        with contextlib.ExitStack() as after_failure, its_stdin:
            after_failure.enter_context(stdin)
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=its_stdin.fileno(),
                stdout=stdout,
                stderr=asyncio.subprocess.PIPE,
                env={},
                process_group=0,  # not a session: Linux divides the CPU by sessions, so niceness would have no effect
            )
            after_failure.pop_all()
        _yield_to_service(process.pid)
        return cls(process, stdin)

    async def write(self, samples: bytes) -> None:
        """Pass samples to ffmpeg and wait until they are taken. Raises ConnectionError if ffmpeg has ended."""
        await asyncio.get_running_loop().sock_sendall(self._stdin, samples)

    def end_input(self) -> None:
        """Tell ffmpeg that there are no more samples."""
        self._stdin.close()

    async def wait(self) -> int:
        """Wait until ffmpeg and its stderr have ended, and return its exit status. After a cancellation, wait again."""
        status = await self._process.wait()
        await asyncio.shield(self._listener)  # a cancelled wait must not lose the rest of stderr
        return status

    @property
    def last_words(self) -> str:
        """The end of what ffmpeg has written to its stderr."""
        return self._last_words.decode(errors="replace")

    async def kill(self) -> None:
        """Kill the process group and reap it, with SIGKILL: an ffmpeg that waits for input ignores other signals."""
        self._stdin.close()
        if self._process.returncode is None:  # else its number may belong to another process by now
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        await self.wait()

    async def _listen(self, stderr: asyncio.StreamReader) -> None:
        while words := await stderr.read(_STDERR_BYTES):
            self._last_words = (self._last_words + words)[-_STDERR_BYTES:]


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return our end and ffmpeg's end of its stdin.

    A pipe would wake us each time that ffmpeg reads from it. A socket wakes us only when three quarters of it are
    free, and asyncio writes to it without a copy. Together this halves the CPU that an upload takes in this process.
    """
    ours, its = socket.socketpair()
    ours.settimeout(0)
    return ours, its


def _yield_to_service(pid: int) -> None:
    """Give ffmpeg a lower priority than the service's own answers. Errors are ignored: only speed depends on it.

    ffmpeg hands each frame of sound from thread to thread. In the batch class, a thread that wakes up does not
    interrupt the others, which saves a few percent of the CPU. The process's first thread is listed first, and
    threads that it starts later inherit its priority.
    """
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.setpriority(os.PRIO_PROCESS, int(thread.name), _NICENESS)
            os.sched_setscheduler(int(thread.name), os.SCHED_BATCH, os.sched_param(0))
