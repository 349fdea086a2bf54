"""Names what is wrong with a request that aiohttp's parser does not take."""

import re

from service.errors import ServiceError
from service.refusals import BAD_REQUEST, LENGTH_REQUIRED, MISSING_HOST

_HEAD_OF_UPLOAD = re.compile(
    rb"(?:PUT|POST) [^\r\n]+ HTTP/1\.[01]\r\n(?P<fields>(?:[^\r\n]+\r\n)*)\r\n(?=.)", re.DOTALL
)
_LENGTH = re.compile(rb"^(?:content-length|transfer-encoding)[ \t]*:", re.IGNORECASE | re.MULTILINE)


def lacks_length(data: bytes) -> bool:
    """Return whether a request's head says nothing of a body although one follows, which then is not HTTP."""
    head = _HEAD_OF_UPLOAD.match(data)
    return head is not None and _LENGTH.search(head["fields"]) is None


def refusal_of(error: BaseException | None, *, without_length: bool) -> ServiceError:
    """Return what to tell the client about the error of aiohttp's parser."""
    if without_length:
        return LENGTH_REQUIRED()
    return MISSING_HOST() if "Missing 'Host'" in str(error) else BAD_REQUEST()
