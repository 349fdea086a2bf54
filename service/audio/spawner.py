"""Starts ffmpegs from threads that are confined, so that they are confined from their first instruction on."""

import asyncio
import contextlib
import errno
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from subprocess import Popen

from service.audio.confinement import Confinement
from service.cancellation import to_the_end


@dataclass(eq=False)
class Spawner:
    """Starts processes, each in a confinement of its own, so that none reaches what another has open.

    A process has a thread for as long as it runs: what a thread has started dies with the service. `parts` are those
    of the confinement that hold, once something has been started.
    """

    confinement: Confinement
    parts: list[str] = field(default_factory=list)

    async def start(
        self, command: Sequence[str], *, stdin: int, stdout: int, stderr: int, more: Sequence[int] = ()
    ) -> Popen[bytes]:
        """Start a command in a process group of its own, without an environment. Raises OSError.

        It has the descriptors `more`, too, under their numbers.

        A cancellation leaves no process behind.
        """
        started = Future[Popen[bytes]]()
        start = partial(_start, command, stdin=stdin, stdout=stdout, stderr=stderr, more=more)
        thread = threading.Thread(target=self._run, args=(started, start), name="spawner", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system has no thread left
            raise OSError(errno.EAGAIN, str(error)) from error
        starting = asyncio.wrap_future(started)
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            await _give_up(starting)
            raise

    def _run(self, started: Future[Popen[bytes]], start: Callable[[], Popen[bytes]]) -> None:
        try:
            self.parts = self.confinement.apply()
            process = start()
        except Exception as error:  # noqa: BLE001 - the caller gets it
            started.set_exception(error)
            return
        started.set_result(process)
        with contextlib.suppress(ChildProcessError):  # somebody else has reaped it
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def _start(command: Sequence[str], *, stdin: int, stdout: int, stderr: int, more: Sequence[int]) -> Popen[bytes]:
    return Popen(  # noqa: S603 - our own command, no shell
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=more,
        env={},
        cwd="/",
        process_group=0,  # not a session: Linux would share the CPU out by sessions, and niceness be in vain
    )


async def _give_up(starting: asyncio.Future[Popen[bytes]]) -> None:
    try:
        process = await to_the_end(starting)
    except OSError:
        return
    process.kill()
    process.wait()
