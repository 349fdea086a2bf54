"""Starts ffmpegs from a thread that is confined, so that they are confined from their first instruction on."""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from subprocess import Popen

from service.audio.confinement import Confinement
from service.cancellation import to_the_end


@dataclass(eq=False)
class Spawner:
    """Starts processes that are confined to `confinement`.

    The thread also keeps a slow start away from the event loop. It lives as long as the service does: what it has
    started dies with it. `parts` are those of the confinement that hold, once something has been started.
    """

    confinement: Confinement
    parts: list[str] = field(default_factory=list)
    # Those that are not used any more stay: what they have started would die with them.
    _threads: list[ThreadPoolExecutor] = field(default_factory=list)
    _places: list[tuple[int, int]] = field(default_factory=list)

    async def start(self, command: Sequence[str], *, stdin: int, stdout: int, stderr: int) -> Popen[bytes]:
        """Start a command in a process group of its own, without an environment. Raises OSError.

        A cancellation leaves no process behind.
        """
        thread = await asyncio.to_thread(self._confined_thread)
        starting = asyncio.get_running_loop().run_in_executor(thread, _start, command, stdin, stdout, stderr)
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            await _give_up(starting)
            raise

    def _confined_thread(self) -> ThreadPoolExecutor:
        """Return the thread; a new one if a writable directory has been made anew, which the old one does not know."""
        places = [(state.st_dev, state.st_ino) for state in map(os.stat, self.confinement.writable)]
        if not self._threads or places != self._places:
            thread = ThreadPoolExecutor(1, "spawner")
            self.parts = thread.submit(self.confinement.apply).result()
            self._threads.append(thread)
            self._places = places
        return self._threads[-1]


def _start(command: Sequence[str], stdin: int, stdout: int, stderr: int) -> Popen[bytes]:
    return Popen(  # noqa: S603 - our own command, no shell
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
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
