"""Reads of this machine's /proc what a test must know of processes and descriptors."""

import contextlib
import os
from pathlib import Path

from benchmarks import procfs

Process = tuple[int, str]  # its pid, and the time of its birth, for a pid may be used again


def children(pid: int | None = None) -> set[int]:
    """Return a process's children, or this one's; those that are dead and not reaped are among them."""
    return procfs.children(pid or os.getpid())


def family(pid: int) -> set[Process]:
    """Return a process and all that descend from it."""
    return running({pid} | procfs.descendants(pid))


def running(pids: set[int]) -> set[Process]:
    """Return those that run, of which a zombie is none: whoever adopts a dead child may not reap it."""
    stats = {pid: procfs.stat(pid) for pid in pids}
    return {(pid, fields[19]) for pid, fields in stats.items() if fields and fields[0] not in "ZX"}


def still_running(processes: set[Process]) -> set[Process]:
    """Return those that run as of yet, and are not others under the same pids."""
    return processes & running({pid for pid, _ in processes})


def executable_of(pid: int) -> str:
    """Return the path of a process's program, until its exec that of its predecessor; "" once it is gone."""
    return _target(Path(f"/proc/{pid}/exe"))


def descriptors() -> set[tuple[int, str]]:
    """Return the descriptors that this process has open, each with what it is of, for a number may be used again."""
    links = Path("/proc/self/fd").iterdir()
    return {(int(link.name), target) for link in links if (target := _target(link))}


def _target(link: Path) -> str:
    """Return where a link leads, which may be gone by now."""
    with contextlib.suppress(OSError):
        return str(link.readlink())
    return ""
