"""Reads which bytes of a file a request asks for."""

import re

from aiohttp import hdrs, web

from service.refusals import RANGE_NOT_SATISFIABLE

_BYTE_RANGE = re.compile(r"bytes=([0-9]{1,18})?-([0-9]{1,18})?", re.IGNORECASE)


def requested_range(request: web.Request, size: int) -> range | None:
    """Return the bytes that a request asks for, of a file with `size` bytes; None: all. Raises RangeNotSatisfiable."""
    wanted = request.headers.getall(hdrs.RANGE, [])
    if len(wanted) != 1 or request.method != hdrs.METH_GET:
        return None
    return byte_range(wanted[0], size)


def byte_range(wanted: str, size: int) -> range | None:
    """Return the bytes that a Range header asks for, of a file with `size` bytes.

    None means the whole file: RFC 9110 says to ignore any other header. Raises RangeNotSatisfiable.
    """
    found = _BYTE_RANGE.fullmatch(wanted)
    if found is None or found.groups() == (None, None):
        return None
    first, last = (int(number) if number is not None else None for number in found.groups())
    if first is not None and last is not None and last < first:
        return None
    if first is None:
        first, last = size - min(last or 0, size), None
    if first >= size:
        raise RANGE_NOT_SATISFIABLE(size=size)
    return range(first, size if last is None else min(last + 1, size))
