"""The two languages of resumable uploads: tus 1.0, and the IETF's draft "Resumable Uploads for HTTP"."""

# Sources: tus.io/protocols/resumable-upload, draft-ietf-httpbis-resumable-upload.

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import hdrs, web

from service.refusals import (
    INVALID_UPLOAD_HEADER,
    MALFORMED_UPLOAD_METADATA,
    NOT_RESUMABLE,
    UNSUPPORTED_TUS_VERSION,
    UNSUPPORTED_TYPE,
)

TUS_VERSION = "1.0.0"
TUS_EXTENSIONS = "creation,creation-with-upload,creation-defer-length,expiration,termination"
INTEROP_HEADER = "Upload-Draft-Interop-Version"
# Version 3 is that of iOS 17, version 8 that of iOS 26. The form without a version is the final one.
_INTEROP_VERSIONS = {"3", "4", "5", "6", "7", "8"}
# Until this version, an append had no media type of its own.
_FIRST_INTEROP_WITH_TYPE = 6
_OFFSET_TYPE, _PARTIAL_TYPE = "application/offset+octet-stream", "application/partial-upload"
_NUMBER = re.compile(r"[0-9]{1,18}")
_LONGEST_METADATA = 16 * 1024

Language = Literal["tus", "ietf"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a client speaks; `interop` is the version of the draft that it names, or None.

    `takes_interim` says whether it knows what an interim answer means: not if it names a version that we do not know.
    """

    language: Language
    interop: str | None = None
    takes_interim: bool = False

    @property
    def complete_header(self) -> str:
        """The header that says whether the upload is complete; in version 3, whether it is not."""
        return "Upload-Incomplete" if self.interop == "3" else "Upload-Complete"

    def complete_value(self, *, is_complete: bool) -> str:
        """Return the value of that header."""
        return "?1" if is_complete != (self.interop == "3") else "?0"


@dataclass(frozen=True, slots=True)
class Creation:
    """What the first request of a resumable upload says.

    `length` is in bytes, or None if the client does not know it yet. `is_whole` says that this request brings all of
    it. `parameters` are those of the upload, as a query has them, if the language has a place of its own for them.
    """

    length: int | None
    is_whole: bool
    parameters: Mapping[str, str] = field(default_factory=dict)


def find_dialect(request: web.Request) -> Dialect | None:
    """Return what the client speaks, or None if this is not about a resumable upload.

    Raises PreconditionFailed for a version of tus that we do not speak.
    """
    if "Tus-Resumable" in request.headers:
        if request.headers["Tus-Resumable"] != TUS_VERSION:
            raise UNSUPPORTED_TUS_VERSION()
        return Dialect("tus")
    interop = request.headers.get(INTEROP_HEADER)
    known = interop if interop in _INTEROP_VERSIONS else None
    if {"Upload-Complete", "Upload-Incomplete"} & set(request.headers):
        version = "3" if "Upload-Incomplete" in request.headers else known
        return Dialect("ietf", version, takes_interim=interop is None or known is not None)
    return None


def get_dialect(request: web.Request) -> Dialect:
    """Return what the client speaks. Raises MalformedRequest if nothing says so."""
    dialect = find_dialect(request)
    if dialect is None:
        raise NOT_RESUMABLE()
    return dialect


def read_creation(request: web.Request, dialect: Dialect) -> Creation:
    """Read the first request's headers. Raises MalformedRequest."""
    length = _number(request, "Upload-Length")
    if dialect.language == "tus":
        is_deferred = request.headers.get("Upload-Defer-Length") == "1"
        if (length is None) != is_deferred:
            raise INVALID_UPLOAD_HEADER(name="Upload-Length", rule="a number, or Upload-Defer-Length is 1")
        return Creation(length, is_whole=False, parameters=_metadata(request.headers.get("Upload-Metadata", "")))
    is_whole = is_complete(request, dialect)
    if is_whole and length is None:
        length = request.content_length
    return Creation(length, is_whole)


def is_complete(request: web.Request, dialect: Dialect) -> bool:
    """Return whether nothing follows the request's bytes, as the IETF's clients say. Raises MalformedRequest."""
    value = request.headers.get(dialect.complete_header, "").strip()
    if value not in {"?0", "?1"}:
        raise INVALID_UPLOAD_HEADER(name=dialect.complete_header, rule="?0 or ?1")
    return value == dialect.complete_value(is_complete=True)


def read_offset(request: web.Request) -> int:
    """Return at which byte a request goes on. Raises MalformedRequest."""
    offset = _number(request, "Upload-Offset")
    if offset is None:
        raise INVALID_UPLOAD_HEADER(name="Upload-Offset", rule="the number of bytes before those of this request")
    return offset


def declared_length(request: web.Request) -> int | None:
    """Return the length that a later request declares, or None. Raises MalformedRequest."""
    return _number(request, "Upload-Length")


def brings_bytes(request: web.Request) -> bool:
    """Return whether a creation of tus brings bytes of the upload already."""
    return request.content_type == _OFFSET_TYPE and request.can_read_body


def require_append_type(request: web.Request, dialect: Dialect) -> None:
    """Raise UnsupportedMedia if a PATCH has a media type that is not its language's."""
    is_untyped = dialect.interop is not None and int(dialect.interop) < _FIRST_INTEROP_WITH_TYPE
    wanted = _OFFSET_TYPE if dialect.language == "tus" else _PARTIAL_TYPE
    if request.content_type != wanted and not is_untyped:
        declared = request.content_type if hdrs.CONTENT_TYPE in request.headers else "A PATCH without a Content-Type"
        raise UNSUPPORTED_TYPE(declared=f"{declared} (for an append it is {wanted})")


def _number(request: web.Request, name: str) -> int | None:
    text = request.headers.get(name)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text.strip()):
        raise INVALID_UPLOAD_HEADER(name=name, rule="a number of bytes")
    return int(text)


def _metadata(text: str) -> dict[str, str]:
    """Return the pairs of Upload-Metadata. A key without a value stands for itself."""
    if len(text) > _LONGEST_METADATA:
        raise MALFORMED_UPLOAD_METADATA()
    pairs: dict[str, str] = {}
    for pair in filter(None, map(str.strip, text.split(","))):
        key, _, value = pair.partition(" ")
        try:
            pairs[key] = base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise MALFORMED_UPLOAD_METADATA() from None
    return pairs
