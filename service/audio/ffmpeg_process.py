"""One ffmpeg as a child process: samples in at its stdin, its last words kept, and never left running."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Self

_NICENESS = 10
# ffmpeg's last words are kept, a flood of them is not.
_STDERR_BYTES = 4096


class FfmpegProcess:
    """An ffmpeg in a process group of its own. Who starts it must `kill` it, however it has ended."""

    def __init__(self, process: asyncio.subprocess.Process, stdin: socket.socket) -> None:
        assert process.stderr is not None  # noqa: S101 - opened as a pipe
        self.pid = process.pid
        self._process = process
        self._stdin = stdin
        self._last_words = b""
        self._listener = asyncio.create_task(self._listen(process.stderr))

    @classmethod
    async def start(cls, command: Sequence[str], stdout: int) -> Self:
        """Start a command that writes to the descriptor `stdout`. Raises OSError where it cannot be run."""
        stdin, its_stdin = _socket_pair()
        with contextlib.ExitStack() as after_failure, its_stdin:
            after_failure.enter_context(stdin)
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=its_stdin.fileno(),
                stdout=stdout,
                stderr=asyncio.subprocess.PIPE,
                env={},
                process_group=0,  # not a session: Linux would share the CPU out by sessions, and niceness be in vain
            )
            after_failure.pop_all()
        _yield_to_service(process.pid)
        return cls(process, stdin)

    async def write(self, samples: bytes) -> None:
        """Hand samples on and wait until they are taken. Raises ConnectionError once ffmpeg has ended."""
        await asyncio.get_running_loop().sock_sendall(self._stdin, samples)

    def end_input(self) -> None:
        """Tell ffmpeg that there are no more samples."""
        self._stdin.close()

    async def wait(self) -> int:
        """Wait until ffmpeg has ended and said its last words, and return its exit status."""
        status = await self._process.wait()
        await asyncio.shield(self._listener)  # whoever loses patience may wait again
        return status

    @property
    def last_words(self) -> str:
        """The end of what ffmpeg has said on its stderr."""
        return self._last_words.decode(errors="replace")

    async def kill(self) -> None:
        """Kill the process group and reap it: SIGKILL, because ffmpeg that waits for input heeds nothing less."""
        self._stdin.close()
        if self._process.returncode is None:  # once it is reaped, its number may be anybody's
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        await self.wait()

    async def _listen(self, stderr: asyncio.StreamReader) -> None:
        while words := await stderr.read(_STDERR_BYTES):
            self._last_words = (self._last_words + words)[-_STDERR_BYTES:]


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return our end and ffmpeg's of its stdin.

    A pipe would wake us whenever ffmpeg has read from it; a socket does when three quarters of it are free again,
    and asyncio writes to it without a copy. Together that halves what an upload costs this process.
    """
    ours, its = socket.socketpair()
    ours.settimeout(0)
    return ours, its


def _yield_to_service(pid: int) -> None:
    """Let the service's own answers go before encoding; best effort, for it is about fairness and thrift alone.

    ffmpeg hands each frame of sound from thread to thread. In the batch class one that is woken lets the others
    finish what they are at, which saves a few percent of the CPU. The process's first thread is listed first, and
    those that it starts later are as it is.
    """
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.setpriority(os.PRIO_PROCESS, int(thread.name), _NICENESS)
            os.sched_setscheduler(int(thread.name), os.SCHED_BATCH, os.sched_param(0))
