"""Formats rows of figures as a table of text, and judges each figure by its aim."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import compress


@dataclass(frozen=True, slots=True)
class Aim:
    """What a figure should be."""

    text: str
    is_met_by: Callable[[float], bool]


def at_most(limit: float, unit: str = "x") -> Aim:
    """Aim for no more than a limit."""
    return Aim(f"<= {_digits(limit)} {unit}".rstrip(), lambda figure: figure <= limit)


def at_least(limit: float, unit: str = "x") -> Aim:
    """Aim for no less than a limit."""
    return Aim(f">= {_digits(limit)} {unit}".rstrip(), lambda figure: figure >= limit)


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured, for the service and for bare ffmpeg; `figure` is what the aim judges.

    If `is_noisy`, other load on the machine changes the figure so much that a missed aim is only printed.
    """

    what: str
    service: str
    bare: str = ""
    figure: float | None = None
    unit: str = "x"
    aim: Aim | None = None
    is_noisy: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the figure is what it should be; a row without an aim cannot miss it."""
        return self.aim is None or self.figure is None or self.aim.is_met_by(self.figure)

    def cells(self) -> tuple[str, ...]:
        """Return the row as the columns of `HEADINGS`."""
        figure = "" if self.figure is None else f"{_digits(self.figure)} {self.unit}".rstrip()
        if self.aim is None or self.figure is None:
            return self.what, self.service, self.bare, figure, "", ""
        verdict = "met" if self.is_met else "missed, which load may explain" if self.is_noisy else "MISSED"
        return self.what, self.service, self.bare, figure, self.aim.text, verdict


def _digits(number: float) -> str:
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:.0f}"  # noqa: PLR2004 - there 3g would write 1e+03


HEADINGS = ("", "wavepress", "bare ffmpeg", "figure", "aim", "")


def report(rows: Sequence[Row]) -> None:
    """Print the rows as a table; exit with 1 if an aim is missed, except those of noisy rows."""
    print(format_table(rows))
    missed = [row.what.strip() for row in rows if not row.is_met and not row.is_noisy]
    if missed:
        raise SystemExit(f"missed: {'; '.join(missed)}")


def format_table(rows: Iterable[Row]) -> str:
    """Return the rows below their headings, in aligned columns. Columns that no row fills are left out."""
    cells = [row.cells() for row in rows]
    filled = [any(column) for column in zip(*cells, strict=True)]
    lines = [tuple(compress(line, filled)) for line in (HEADINGS, *cells)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
