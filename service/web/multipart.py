"""Reads a multipart form in order: fields, one file, more fields."""

import warnings
from collections.abc import AsyncIterator, Awaitable
from typing import Self, TypeVar, cast

from aiohttp import BodyPartReader, MultipartReader, StreamReader, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.multipart import BadContentDispositionHeader, BadContentDispositionParam

from service.refusals import (
    FIELD_TOO_LONG,
    MALFORMED_MULTIPART,
    NESTED_MULTIPART,
    SECOND_FILE,
    TRANSFER_ENCODED,
    UNEXPECTED_FILE,
)
from service.web.app_keys import BODY_LIMITS
from service.web.body import ENVELOPE_BYTES, PIECE_BYTES, Body

T = TypeVar("T")

# Python would keep the text of each warning about a client's malformed form for ever.
warnings.simplefilter("ignore", BadContentDispositionHeader)
warnings.simplefilter("ignore", BadContentDispositionParam)

_LONGEST_FIELD = 8 * 1024
_PLAIN_ENCODINGS = {"", "binary", "8bit", "7bit"}


class FormFile:
    """The file of a form: its name, its declared type in lower case (empty if there is none), and its reader."""

    def __init__(self, part: BodyPartReader) -> None:
        self.part = part
        self.filename = (part.filename or "").encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        self.declared_type = part.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()


class Form:
    """A multipart form under way. `fields` holds the fields that have been read so far.

    Every method raises MalformedRequest for a form that is broken or too large, and as `Body` does.
    """

    def __init__(self, reader: MultipartReader, body: Body, max_upload_bytes: int) -> None:
        self.fields: dict[str, str] = {}
        self._reader = reader
        self._body = body
        self._max_upload_bytes = max_upload_bytes

    @classmethod
    def of(cls, request: web.Request) -> Self:
        """Return the form of a request, without reading any of it. Raises MalformedRequest."""
        limits = request.app[BODY_LIMITS]
        body = Body(request, limits)
        body.allowance = ENVELOPE_BYTES
        try:
            # The reader only uses the methods of a stream that Body has.
            reader = MultipartReader(request.headers, cast("StreamReader", body))
        except (ValueError, AssertionError, LookupError) as error:
            raise MALFORMED_MULTIPART() from error
        return cls(reader, body, limits.max_upload_bytes)

    async def next_file(self) -> FormFile | None:
        """Read fields up to the next file. Returns None if the form ends before one."""
        while (part := await _parsed(self._reader.next())) is not None:
            if not isinstance(part, BodyPartReader):
                raise NESTED_MULTIPART()
            if part.headers.get(hdrs.CONTENT_TRANSFER_ENCODING, "").lower() not in _PLAIN_ENCODINGS:
                raise TRANSFER_ENCODED()
            if part.filename is not None:
                return FormFile(part)
            self.fields[part.name or ""] = await _read_field(part)
        return None

    async def pieces(self, file: FormFile) -> AsyncIterator[bytes]:
        """Yield the file, then read the rest of the form, which must be whole before anything is kept."""
        self._body.allowance = self._max_upload_bytes + ENVELOPE_BYTES
        while not file.part.at_eof():
            if piece := await _parsed(file.part.read_chunk(PIECE_BYTES)):
                yield piece
        self._body.allowance = ENVELOPE_BYTES
        if await self.next_file() is not None:
            raise SECOND_FILE()
        async for _ in self._body.pieces():
            pass


async def read_fields(request: web.Request) -> dict[str, str]:
    """Return the fields of a form that has no file. Raises MalformedRequest."""
    form = Form.of(request)
    if await form.next_file() is not None:
        raise UNEXPECTED_FILE()
    return form.fields


async def _read_field(part: BodyPartReader) -> str:
    content = b""
    while not part.at_eof():
        content += await _parsed(part.read_chunk(_LONGEST_FIELD))
        if len(content) > _LONGEST_FIELD:
            raise FIELD_TOO_LONG(max_bytes=_LONGEST_FIELD)
    return content.decode("utf-8", "replace")


async def _parsed(parsing: Awaitable[T]) -> T:
    """Translate what aiohttp's multipart reader raises for malformed input."""
    try:
        return await parsing
    except (ValueError, AssertionError, LookupError, RuntimeError, HttpProcessingError) as error:
        raise MALFORMED_MULTIPART() from error
