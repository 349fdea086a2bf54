"""Draws waveforms: as audiowaveform's JSON, and as pictures."""

import json
from dataclasses import dataclass
from xml.sax.saxutils import escape

from service.audio.peaks import Outline

_LOWEST, _HEIGHT_OF_SOUND = -128, 256
# A silent sound is still a line, so that one sees where it is.
_LEAST_THICKNESS = 1


@dataclass(frozen=True, slots=True)
class Style:
    """How a picture looks: its size in pixels, and its colours as SVG has them; `background` may be None."""

    width: int
    height: int
    color: str
    background: str | None


def peaks_json(dat: bytes) -> bytes:
    """Return a waveform as audiowaveform's JSON, version 2."""
    outline = Outline.parse(dat)
    document = {
        "version": 2,
        "channels": 1,
        "sample_rate": outline.sample_rate,
        "samples_per_pixel": outline.samples_per_point,
        "bits": 8,
        "length": len(outline.points),
        "data": [value for point in outline.points for value in point],
    }
    return f"{json.dumps(document, separators=(',', ':'))}\n".encode()


def waveform_svg(dat: bytes, title: str, style: Style) -> bytes:
    """Return a picture of a waveform, with at most one point for each pixel of its width."""
    columns = _columns(Outline.parse(dat).points, style.width)
    scale = style.height / _HEIGHT_OF_SOUND
    tops = [style.height - (high - _LOWEST + 1) * scale for _, high in columns]
    bottoms = [
        max(style.height - (low - _LOWEST) * scale, top + _LEAST_THICKNESS)
        for (low, _), top in zip(columns, tops, strict=True)
    ]
    step = style.width / max(len(columns), 1)
    outline = [(place * step, y) for place, y in enumerate(tops)]
    outline += [(place * step, y) for place, y in reversed(list(enumerate(bottoms)))]
    path = "L".join(f"{x:.4g} {y:.4g}" for x, y in outline)
    ground = f'<rect width="100%" height="100%" fill="{style.background}"/>' if style.background else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{style.width}" height="{style.height}" '
        f'viewBox="0 0 {style.width} {style.height}" preserveAspectRatio="none" role="img">'
        f"<title>{escape(title)}</title>{ground}"
        f'<path fill="{style.color}" d="{f"M{path}Z" if columns else ""}"/></svg>\n'
    ).encode()


def _columns(points: tuple[tuple[int, int], ...], width: int) -> list[tuple[int, int]]:
    """Return the lowest and the highest of each column, of which there are as many as pixels, or as points if fewer."""
    count = min(width, len(points))
    spans = (points[place * len(points) // count : (place + 1) * len(points) // count] for place in range(count))
    return [(min(low for low, _ in span), max(high for _, high in span)) for span in spans]
