"""Starts ffmpegs from threads that are confined, so that they are confined from their first instruction on."""

import asyncio
import contextlib
import errno
import os
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Self

from service.audio.confinement import Confinement
from service.audio.starting import Command, Descriptors, Process, start_process
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
        self._orders = SimpleQueue[tuple[Command, Descriptors] | None]()
        self._started = Future[Process]()
        try:
            threading.Thread(target=self._run, name="spawner", daemon=True).start()
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, str(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._orders.put(None)

    async def start(self, command: Command, descriptors: Descriptors) -> Process:
        """Start a command, as `start_process` does. Raises OSError. A cancellation leaves no process behind."""
        self._orders.put((command, descriptors))
        starting = asyncio.wrap_future(self._started)
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            await _give_up(starting)
            raise

    def _run(self) -> None:
        try:
            self._spawner.parts = self._spawner.confinement.apply()
            order = self._orders.get()
            if order is None:
                return
            process = start_process(*order)
        except Exception as error:  # noqa: BLE001 - the caller gets it
            self._started.set_exception(error)
            return
        self._started.set_result(process)
        with contextlib.suppress(ChildProcessError):  # somebody else has reaped it
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


async def _give_up(starting: asyncio.Future[Process]) -> None:
    try:
        process = await to_the_end(starting)
    except OSError:
        return
    process.kill()
    process.wait()
