"""The dates of conditional requests (RFC 9110 13.1)."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from aiohttp import web


def date_of(request: web.BaseRequest, header: str) -> datetime | None:
    """Return the date in a header, or None if there is none that can be read: RFC 9110 has it ignored then.

    aiohttp's own properties raise OverflowError for a year that no computer has.
    """
    try:
        date = parsedate_to_datetime(request.headers.get(header, ""))
    except (ValueError, OverflowError, TypeError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
