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
from queue import SimpleQueue
from subprocess import Popen
from typing import Self

from service.audio.confinement import Confinement
from service.cancellation import to_the_end


@dataclass(eq=False)
class Spawner:
    """Starts processes, each in a confinement of its own, so that none reaches what another has open.

    `parts` are those of the confinement that hold, once a thread has been confined.
    """

    confinement: Confinement
    parts: list[str] = field(default_factory=list)

    def starter(self) -> "Starter":
        """Begin to confine a thread, which can start one process. Raises OSError if the system has no thread left."""
        return Starter(self)


class Starter:
    """A confined thread that starts one process, and lives as long as that: what it has started dies with the service.

    The end of the block ends a thread that has started none.
    """

    def __init__(self, spawner: Spawner) -> None:
        self._spawner = spawner
        self._orders = SimpleQueue[Callable[[], Popen[bytes]] | None]()
        self._started = Future[Popen[bytes]]()
        try:
            threading.Thread(target=self._run, name="spawner", daemon=True).start()
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, str(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._orders.put(None)

    async def start(
        self, command: Sequence[str], *, stdin: int, stdout: int, stderr: int, more: Sequence[int] = ()
    ) -> Popen[bytes]:
        """Start a command in a process group of its own, without an environment. Raises OSError.

        It has the descriptors `more`, too, under their numbers.

        A cancellation leaves no process behind.
        """
        self._orders.put(partial(_start, command, stdin=stdin, stdout=stdout, stderr=stderr, more=more))
        starting = asyncio.wrap_future(self._started)
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            await _give_up(starting)
            raise

    def _run(self) -> None:
        try:
            self._spawner.parts = self._spawner.confinement.apply()
            start = self._orders.get()
            if start is None:
                return
            process = start()
        except Exception as error:  # noqa: BLE001 - the caller gets it
            self._started.set_exception(error)
            return
        self._started.set_result(process)
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
