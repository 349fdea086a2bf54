"""Chooses between JSON, text and a page by what a request's Accept header prefers."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from aiohttp import hdrs, web

JSON = ("application/json", "application/problem+json")
TEXT = ("text/plain",)
PAGE = ("text/html", "application/xhtml+xml")
_QUALITY = re.compile(r"\s*q\s*=\s*([01]?(?:\.[0-9]{0,3})?)\s*", re.IGNORECASE)


class _Preference(NamedTuple):
    """How much a media type is wanted, ordered: by quality, then by how exactly it is named, then by its place."""

    quality: float
    exactness: int
    place: int


_UNWANTED = _Preference(0, 0, 0)


def prefers_text(request: web.Request) -> bool:
    """Return whether the client wants text rather than JSON. One that names neither gets JSON."""
    return preferred(request, JSON, TEXT) is TEXT


def preferred(request: web.Request, *forms: tuple[str, ...]) -> tuple[str, ...]:
    """Return which of the forms the client prefers; the first one if it has no preference, or wants none of them.

    Of two that it wants equally, the one that it names, or names first, wins: clients list what they want in front.
    """
    if hdrs.ACCEPT not in request.headers:
        return forms[0]
    return _preferred(",".join(request.headers.getall(hdrs.ACCEPT)), forms)


@lru_cache(maxsize=256)  # a program sends the same header each time, and most programs send the same one
def _preferred(header: str, forms: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    accepted = list(_media_ranges(header))
    return max(forms, key=lambda form: max(_preference(media_type, accepted) for media_type in form))


def _media_ranges(header: str) -> Iterator[tuple[str, float]]:
    for entry in header.lower().split(","):
        media_range, *parameters = entry.split(";")
        found = next(filter(None, map(_QUALITY.fullmatch, parameters)), None)
        yield media_range.strip(), float(found[1] or 1) if found and found[1] != "." else 1.0


def _preference(media_type: str, accepted: list[tuple[str, float]]) -> _Preference:
    """Return the preference in the range that matches the type most exactly, whatever the others say."""
    kind = media_type.partition("/")[0]
    for exactness, names in ((2, {media_type}), (1, {f"{kind}/*"}), (0, {"*/*", "*"})):
        for place, (name, quality) in enumerate(accepted):
            if name in names and quality > 0:
                return _Preference(quality, exactness, -place if exactness else 0)
            if name in names:
                return _UNWANTED
    return _UNWANTED
