"""Finds places for Unix sockets: the kernel limits how long a socket's path may be."""

import os
import tempfile

_MAX_PATH_BYTES = 107
_TEMPORARY = "wavepress-12345678"


def may_hold_a_socket(directory: str, name: str) -> bool:
    """Return whether the path of a socket of that name in the directory is short enough."""
    return len(os.fsencode(f"{directory}/{name}")) <= _MAX_PATH_BYTES


def make_socket_directory(name: str) -> str:
    """Make a temporary directory, of mode 700, that may hold a socket of that name. The caller removes it."""
    is_short = may_hold_a_socket(f"{tempfile.gettempdir()}/{_TEMPORARY}", name)  # TMPDIR may be long
    parent = None if is_short else "/tmp"  # noqa: S108 - the name below it is random
    return tempfile.mkdtemp(prefix="wavepress-", dir=parent)
