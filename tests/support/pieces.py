"""Bodies in pieces, as a network may deliver them."""

from collections.abc import Iterable
from itertools import pairwise


def split(body: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Return the body in pieces; some of them may be empty."""
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    return [body[start:stop] for start, stop in pairwise(places)]
