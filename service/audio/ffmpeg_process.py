"""Runs one ffmpeg as a child process, and keeps the end of its stderr."""

import asyncio
import contextlib
import os
import signal
import socket
from pathlib import Path
from typing import Self

from service.audio.decoded_sound import DecodedSound
from service.audio.spawner import Starter
from service.audio.starting import Command, Descriptors, Process

_NICENESS = 10
# The kernel doubles it for its own needs, and takes less if net.core.wmem_max is less.
_STDIN_BYTES = 256 * 1024
# Only this much of the end of ffmpeg's stderr is kept.
_STDERR_BYTES = 4096
# The rest of its words, if any, is there when it has been killed.
_SILENCE_SECONDS = 1.0


class FfmpegProcess:
    """An ffmpeg in a process group of its own. The caller of `start` must call `kill`, even if ffmpeg has ended."""

    def __init__(self, process: Process, stdin: socket.socket, stderr: int) -> None:
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
    async def start(cls, starter: Starter, command: Command, stdout: int, sound: DecodedSound | None) -> Self:
        """Start a command that writes to the descriptor `stdout`, and what it decodes to `sound`, if that is wanted.

        Raises OSError if it cannot be run; then nothing is left of it.
        """
        stdin, its_stdin = _socket_pair()
        stderr, its_stderr = os.pipe()
        os.set_blocking(stderr, False)
        with contextlib.ExitStack() as after_failure, contextlib.ExitStack() as always:
            after_failure.callback(os.close, stderr)
            after_failure.enter_context(stdin)
            always.callback(os.close, its_stderr)
            always.enter_context(its_stdin)
            more = None if sound is None else sound.descriptor
            process = await starter.start(command, Descriptors(its_stdin.fileno(), stdout, its_stderr, more))
            after_failure.callback(process.wait)
            after_failure.callback(process.kill)
            if sound is not None:
                sound.hand_over()
            _yield_to_service(process.pid)
            started = cls(process, stdin, stderr)
            after_failure.pop_all()
        return started

    def write_at_once(self, samples: bytes) -> memoryview:
        """Pass ffmpeg what there is room for, and return the rest. Raises ConnectionError if ffmpeg has ended."""
        try:
            return memoryview(samples)[self._stdin.send(samples) :]
        except BlockingIOError:
            return memoryview(samples)

    async def write(self, samples: memoryview) -> None:
        """Pass samples to ffmpeg and wait until they are taken. Raises ConnectionError if ffmpeg has ended."""
        await self._loop.sock_sendall(self._stdin, samples)

    def end_input(self) -> None:
        """Tell ffmpeg that there are no more samples."""
        self._stdin.close()

    async def wait(self) -> int:
        """Wait until ffmpeg and its stderr have ended, and return its exit status. After a cancellation, wait again."""
        status = await asyncio.shield(self._ended)
        await asyncio.shield(self._silent)  # a cancelled wait must not lose the rest of stderr
        return status

    @property
    def last_words(self) -> str:
        """The end of what ffmpeg has written to its stderr."""
        return self._last_words.decode(errors="replace")

    async def kill(self) -> None:
        """Kill ffmpeg and its group and reap it, with SIGKILL: an ffmpeg that waits for input ignores other signals."""
        self._stdin.close()
        if not self._ended.done():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)  # it may have left its group
        await asyncio.shield(self._ended)
        if not self._silent.done():
            await asyncio.wait({self._silent}, timeout=_SILENCE_SECONDS)
        if not self._silent.done():  # a child that has left the group holds stderr open
            self._end_of_words()

    def _reap(self) -> None:
        # What it has started must not outlive it. Until it is reaped, its number is nobody else's.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        status = self._process.poll()
        if status is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._ended.set_result(status)

    def _listen(self) -> None:
        words = os.read(self._stderr, _STDERR_BYTES)
        self._last_words = (self._last_words + words)[-_STDERR_BYTES:]
        if not words:
            self._end_of_words()

    def _end_of_words(self) -> None:
        self._loop.remove_reader(self._stderr)
        os.close(self._stderr)
        self._silent.set_result(None)


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return our end and ffmpeg's end of its stdin.

    A pipe would wake us each time that ffmpeg reads from it. A socket wakes us only when three quarters of it are
    free, and asyncio writes to it without a copy. Together this halves the CPU that an upload takes in this process.
    With room for a whole piece, we rarely have to wait for a part of one.
    """
    ours, its = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _STDIN_BYTES)
    ours.settimeout(0)
    return ours, its


def _yield_to_service(pid: int) -> None:
    """Give ffmpeg a lower priority than the service's own answers. Errors are ignored: only speed depends on it.

    From version 7 on, ffmpeg hands each frame from thread to thread. In the batch class, a thread that wakes up
    does not interrupt the others, which saves a few percent of the CPU. The process's first thread is listed first, and
    threads that it starts later inherit its priority.
    """
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.setpriority(os.PRIO_PROCESS, int(thread.name), _NICENESS)
            os.sched_setscheduler(int(thread.name), os.SCHED_BATCH, os.sched_param(0))
