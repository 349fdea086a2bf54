"""Measures in pairs, so that other load on the machine affects both, and takes medians, which leave out its peaks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Sample:
    """The seconds that some work took: on the clock, and of CPU in all processes together."""

    wall_seconds: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Samples of the same work done by the service and by bare ffmpeg, pair by pair."""

    pairs: Sequence[tuple[Sample, Sample]]

    @property
    def wall_seconds(self) -> tuple[float, float]:
        """The medians: of the service, of bare ffmpeg."""
        ours, bare = zip(*self.pairs, strict=True)
        return median(sample.wall_seconds for sample in ours), median(sample.wall_seconds for sample in bare)

    @property
    def cpu_seconds(self) -> tuple[float, float]:
        """The medians: of the service, of bare ffmpeg."""
        ours, bare = zip(*self.pairs, strict=True)
        return median(sample.cpu_seconds for sample in ours), median(sample.cpu_seconds for sample in bare)

    @property
    def wall_ratio(self) -> float:
        """The median of the pairs' ratios; above 1 the service is slower."""
        return median(ours.wall_seconds / bare.wall_seconds for ours, bare in self.pairs)

    @property
    def cpu_ratio(self) -> float:
        """The median of the pairs' ratios; above 1 the service takes more."""
        return median(ours.cpu_seconds / bare.cpu_seconds for ours, bare in self.pairs)


def compare(ours: Callable[[], Sample], bare: Callable[[], Sample], rounds: int) -> Comparison:
    """Run both in every round: `ours` first in even rounds, `bare` first in odd ones."""
    pairs = []
    for number in range(rounds):
        if number % 2:
            second = bare()
            pairs.append((ours(), second))
        else:
            pairs.append((ours(), bare()))
    return Comparison(pairs)
