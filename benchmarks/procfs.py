"""Reads of a process and its descendants what /proc knows: CPU time, memory, descriptors, threads."""

import contextlib
import os
import re
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def children(pid: int) -> set[int]:
    """Return the pids of all that live and were started by a process."""
    return {child for child, parent in _parents().items() if parent == pid}


def descendants(pid: int) -> set[int]:
    """Return the pids of all that live and descend from a process, itself not among them."""
    parents = _parents()
    found, newest = set[int](), {pid}
    while newest:
        newest = {child for child, parent in parents.items() if parent in newest}
        found |= newest
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, its living descendants and all of theirs that are reaped."""
    ticks = sum(int(field) for member in {pid} | descendants(pid) for field in stat(member)[11:15])
    return ticks / _TICKS_PER_SECOND


def encoders(pid: int) -> set[int]:
    """Return the pids of the ffmpegs below a process."""
    return {child for child in descendants(pid) if "libmp3lame" in read(child, "cmdline")}


def resident_bytes(pid: int) -> int:
    """Return the memory that a process has now, shared pages counted whole; 0 once it is gone."""
    return _kibibytes("VmRSS", read(pid, "status"))


def peak_resident_bytes(pid: int) -> int:
    """Return the most that `resident_bytes` was since the start or `forget_peak`; 0 once it is gone."""
    return _kibibytes("VmHWM", read(pid, "status"))


def forget_peak(pid: int) -> None:
    """Have the peak start anew from what is resident now."""
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
    """Return a file of those that tell of a process; nothing once it is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/{name}").read_text()
    return ""


def _parents() -> dict[int, int]:
    """Return the parent of every process."""
    stats = {int(place.name): stat(int(place.name)) for place in Path("/proc").glob("[0-9]*")}
    return {pid: int(fields[1]) for pid, fields in stats.items() if fields}


def _kibibytes(field: str, text: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
