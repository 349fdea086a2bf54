"""The command line as a person sees it on a terminal."""

import os
import pty
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.serving import ROOT, WAVEPRESS, environment


class Terminal:
    """A command whose input and output are a terminal."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process = process
        self._descriptor = descriptor
        self._shown = b""

    def text(self) -> str:
        """Return what the terminal has shown so far."""
        with suppress(BlockingIOError, OSError):  # nothing new, or EIO once the command has ended
            while piece := os.read(self._descriptor, 65_536):
                self._shown += piece
        return self._shown.decode().replace("\r\n", "\n")


@contextmanager
def on_terminal(data_dir: Path, *arguments: str, **settings: object) -> Iterator[Terminal]:
    """Run one command on a terminal; if it still runs at the end of the block, it is killed."""
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    try:
        with subprocess.Popen(
            [*WAVEPRESS, *arguments],
            env=environment(data_dir, **settings),
            cwd=ROOT,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        ) as process:
            os.close(slave)
            try:
                yield Terminal(process, master)
            finally:
                process.kill()
    finally:
        os.close(master)
