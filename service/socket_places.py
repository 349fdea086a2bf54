"""Finds places for Unix sockets: the kernel limits how long a socket's path may be."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MAX_PATH_BYTES = 107
_TEMPORARY = "wavepress-12345678"


def may_hold_a_socket(directory: Path, name: str) -> bool:
    """Return whether the path of a socket of that name in the directory is short enough."""
    return len(os.fsencode(directory / name)) <= _MAX_PATH_BYTES


@contextmanager
def socket_directory(name: str) -> Iterator[Path]:
    """Yield a temporary directory, of mode 700, that may hold a socket of that name."""
    is_short = may_hold_a_socket(Path(tempfile.gettempdir(), _TEMPORARY), name)  # TMPDIR may be long
    parent = None if is_short else "/tmp"  # noqa: S108 - the name below it is random
    with tempfile.TemporaryDirectory(prefix="wavepress-", dir=parent, ignore_cleanup_errors=True) as directory:
        yield Path(directory)
