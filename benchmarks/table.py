"""Rows of figures, each judged by its aim, as one table of text."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Aim:
    """What a figure should be."""

    text: str
    is_met_by: Callable[[float], bool]


def at_most(limit: float, unit: str = "x") -> Aim:
    """Aim for no more than a limit."""
    return Aim(f"<= {limit:g} {unit}", lambda figure: figure <= limit)


def at_least(limit: float, unit: str = "x") -> Aim:
    """Aim for no less than a limit."""
    return Aim(f">= {limit:g} {unit}", lambda figure: figure >= limit)


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured, for the service and for bare ffmpeg; `figure` is what the aim judges."""

    what: str
    service: str
    bare: str = ""
    figure: float | None = None
    unit: str = "x"
    aim: Aim | None = None

    def cells(self) -> tuple[str, ...]:
        """Return the row as the columns of `HEADINGS`."""
        figure = "" if self.figure is None else f"{self.figure:.3g} {self.unit}"
        if self.aim is None or self.figure is None:
            return self.what, self.service, self.bare, figure, "", ""
        verdict = "met" if self.aim.is_met_by(self.figure) else "MISSED"
        return self.what, self.service, self.bare, figure, self.aim.text, verdict


HEADINGS = ("", "wavepress", "bare ffmpeg", "figure", "aim", "")


def format_table(rows: Iterable[Row]) -> str:
    """Return the rows below their headings, in columns as wide as they must be."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
