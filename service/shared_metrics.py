"""The directory in which the workers of one service count together."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from service.metrics import MULTIPROCESS_VARIABLE


@contextlib.contextmanager
def shared_metrics(workers: int) -> Iterator[None]:
    """Let several workers have a directory for their metrics, and remove it at the end of the block.

    Starts this program again to make it, because it must be set before any import. A directory that the operator has
    set is used, and stays.
    """
    # The program that is started again keeps its number, and a worker has another.
    own_prefix = f"wavepress-metrics-{os.getpid()}-"
    directory = os.environ.get(MULTIPROCESS_VARIABLE)
    if workers > 1 and directory is None:
        os.environ[MULTIPROCESS_VARIABLE] = tempfile.mkdtemp(prefix=own_prefix)
        os.execv(sys.executable, [sys.executable, "-m", "service", *sys.argv[1:]])  # noqa: S606 - ourselves
    try:
        yield
    finally:
        if directory is not None and Path(directory).name.startswith(own_prefix):
            shutil.rmtree(directory, ignore_errors=True)
