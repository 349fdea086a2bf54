"""Measures in rounds, so that other load on the machine affects all, and takes medians, which leave out its peaks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

T = TypeVar("T")


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


def compare(ours: Callable[[], Sample], bares: Mapping[T, Callable[[], Sample]], rounds: int) -> dict[T, Comparison]:
    """Run all of them in every round, each time beginning with another one; compare `ours` with each of `bares`."""
    pairs: dict[T, list[tuple[Sample, Sample]]] = {name: [] for name in bares}
    turns = [None, *bares]
    for number in range(rounds):
        first = number % len(turns)
        samples = {name: ours() if name is None else bares[name]() for name in turns[first:] + turns[:first]}
        for name in bares:
            pairs[name].append((samples[None], samples[name]))
    return {name: Comparison(found) for name, found in pairs.items()}
