"""Reads what /proc knows of processes: CPU time, memory, descriptors, threads, descendants."""

import contextlib
import os
import re
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

Process = tuple[int, str]  # its pid and its start time, because a pid may be used again


def children(pid: int | None = None) -> set[int]:
    """Return the pids of a process's children, by default this process's, including dead ones that are not reaped."""
    own = os.getpid() if pid is None else pid
    return {child for child, parent in _parents().items() if parent == own}


def descendants(pid: int) -> set[int]:
    """Return the pids of all living descendants of a process."""
    parents = _parents()
    found, newest = set[int](), {pid}
    while newest:
        newest = {child for child, parent in parents.items() if parent in newest}
        found |= newest
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, of its living descendants, and of all reaped children of these."""
    ticks = sum(int(field) for member in {pid} | descendants(pid) for field in stat(member)[11:15])
    return ticks / _TICKS_PER_SECOND


def encoders(pid: int) -> set[int]:
    """Return the pids of the ffmpegs that descend from a process."""
    return {child for child in descendants(pid) if "libmp3lame" in read(child, "cmdline")}


def resident_bytes(pid: int) -> int:
    """Return the memory that a process has now, shared pages counted whole; 0 once it is gone."""
    return _kibibytes("VmRSS", read(pid, "status"))


def peak_resident_bytes(pid: int) -> int:
    """Return the most that `resident_bytes` was since the start or `forget_peak`; 0 once it is gone."""
    return _kibibytes("VmHWM", read(pid, "status"))


def forget_peak(pid: int) -> None:
    """Reset the peak to the memory that is resident now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def proportional_bytes(pid: int) -> int:
    """Return the memory that a process has now, shared pages divided among their users; 0 once it is gone."""
    return _kibibytes("Pss", read(pid, "smaps_rollup"))


def descriptor_count(pid: int) -> int:
    """Return how many descriptors a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def thread_count(pid: int) -> int:
    """Return how many threads a process has; 0 once it is gone."""
    found = re.search(r"^Threads:\s+(\d+)$", read(pid, "status"), re.MULTILINE)
    return int(found[1]) if found else 0


def available_bytes() -> int:
    """Return the memory that the machine could still give to programs."""
    return _kibibytes("MemAvailable", Path("/proc/meminfo").read_text())


def stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on, which is the third; none once it is gone."""
    return read(pid, "stat").rpartition(")")[2].split()


def read(pid: int, name: str) -> str:
    """Return the text of a file in /proc/PID; "" once the process is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/{name}").read_text()
    return ""


def family(pid: int) -> set[Process]:
    """Return a process and all of its descendants."""
    return running({pid} | descendants(pid))


def running(pids: set[int]) -> set[Process]:
    """Return the processes that run; a zombie does not, because the process that adopts it may never reap it."""
    stats = {pid: stat(pid) for pid in pids}
    return {(pid, fields[19]) for pid, fields in stats.items() if fields and fields[0] not in "ZX"}


def still_running(processes: set[Process]) -> set[Process]:
    """Return those that still run, and not other processes with the same pids."""
    return processes & running({pid for pid, _ in processes})


def executable_of(pid: int) -> str:
    """Return the path of a process's program, which is its parent's until it calls exec; "" once it is gone."""
    return _target(Path(f"/proc/{pid}/exe"))


def descriptors() -> set[tuple[int, str]]:
    """Return this process's open descriptors, each with its target, because a number may be used again."""
    links = Path("/proc/self/fd").iterdir()
    return {(int(link.name), target) for link in links if (target := _target(link))}


def _parents() -> dict[int, int]:
    """Return the parent of every process."""
    stats = {int(place.name): stat(int(place.name)) for place in Path("/proc").glob("[0-9]*")}
    return {pid: int(fields[1]) for pid, fields in stats.items() if fields}


def _kibibytes(field: str, text: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _target(link: Path) -> str:
    """Return the target of a link; "" if the link is gone."""
    with contextlib.suppress(OSError):
        return str(link.readlink())
    return ""
