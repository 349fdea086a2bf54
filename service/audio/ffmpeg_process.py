"""One ffmpeg as a child process: samples in at its stdin, its last words kept, and never left running."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from subprocess import Popen
from typing import Self

from service.audio.spawner import Spawner

_NICENESS = 10
# ffmpeg's last words are kept, a flood of them is not.
_STDERR_BYTES = 4096


class FfmpegProcess:
    """An ffmpeg in a process group of its own. The caller that starts it must `kill` it, however it has ended."""

    def __init__(self, process: Popen[bytes], stdin: socket.socket, stderr: int) -> None:
        self.pid = process.pid
        self._process = process
        self._stdin = stdin
        self._stderr = stderr
        self._last_words = b""
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self._silent: asyncio.Future[None] = self._loop.create_future()
        # asyncio's own subprocesses cost a thread each before Python 3.12, and must be started by the loop's thread.
        self._pidfd = os.pidfd_open(process.pid)
        self._loop.add_reader(self._pidfd, self._reap)
        self._loop.add_reader(stderr, self._listen)

    @classmethod
    async def start(cls, spawner: Spawner, command: Sequence[str], stdout: int) -> Self:
        """Start a command that writes to the descriptor `stdout`. Raises OSError if it cannot be run."""
        stdin, its_stdin = _socket_pair()
        stderr, its_stderr = os.pipe()
        os.set_blocking(stderr, False)
        with contextlib.ExitStack() as after_failure, contextlib.ExitStack() as always:
            after_failure.callback(os.close, stderr)
            after_failure.enter_context(stdin)
            always.callback(os.close, its_stderr)
            always.enter_context(its_stdin)
            process = await spawner.start(command, stdin=its_stdin.fileno(), stdout=stdout, stderr=its_stderr)
            after_failure.pop_all()
        _yield_to_service(process.pid)
        return cls(process, stdin, stderr)

    async def write(self, samples: bytes) -> None:
        """Hand samples on and wait until they are taken. Raises ConnectionError once ffmpeg has ended."""
        await asyncio.get_running_loop().sock_sendall(self._stdin, samples)

    def end_input(self) -> None:
        """Tell ffmpeg that there are no more samples."""
        self._stdin.close()

    async def wait(self) -> int:
        """Wait until ffmpeg has ended and said its last words, and return its exit status."""
        status = await asyncio.shield(self._ended)  # a caller that loses patience may wait again
        await asyncio.shield(self._silent)
        return status

    @property
    def last_words(self) -> str:
        """The end of what ffmpeg has said on its stderr."""
        return self._last_words.decode(errors="replace")

    async def kill(self) -> None:
        """Kill the process group and reap it: SIGKILL, because ffmpeg that waits for input heeds nothing less."""
        self._stdin.close()
        if not self._ended.done():  # once it is reaped, its number may be anybody's
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        await self.wait()

    def _reap(self) -> None:
        status = self._process.poll()
        if status is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._ended.set_result(status)

    def _listen(self) -> None:
        words = os.read(self._stderr, _STDERR_BYTES)
        self._last_words = (self._last_words + words)[-_STDERR_BYTES:]
        if not words:
            self._loop.remove_reader(self._stderr)
            os.close(self._stderr)
            self._silent.set_result(None)


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
