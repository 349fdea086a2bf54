"""What every measurement gets: a fresh service, a place for files, and how thorough to be."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks.running import Running
from benchmarks.sounds import make_wav

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bench:
    """A service for this measurement alone, and a directory for WAVs that all measurements share."""

    service: Running
    directory: Path
    is_quick: bool

    def shortened(self, count: int) -> int:
        """Return a number of rounds, seconds or uploads, or a fifth of it in a quick run."""
        return -(-count // 5) if self.is_quick else count

    def wav(self, seconds: int) -> Path:
        """Return a WAV of that length."""
        return make_wav(self.directory, seconds)


def run_at_once(work: Callable[[int], T], count: int, at_a_time: int) -> list[T]:
    """Call `work` with each number below `count`, some at a time, and return the results. Raises what it raises."""
    with ThreadPoolExecutor(at_a_time) as threads:
        return list(threads.map(work, range(count)))
