"""Reads a multipart form in order: fields, one file, more fields."""

import re
from collections.abc import AsyncIterator, Mapping
from typing import Self, cast

from aiohttp import BodyPartReader, MultipartReader, StreamReader, hdrs, web
from aiohttp.helpers import parse_mimetype
from multidict import CIMultiDict, CIMultiDictProxy

from service.errors import MalformedRequest
from service.refusals import (
    MALFORMED_MULTIPART,
    MISSING_BOUNDARY,
    SECOND_FILE,
    TOO_MANY_FIELDS,
    UNEXPECTED_FILE,
    UNSUPPORTED_TYPE,
)
from service.web.app_keys import BODY_LIMITS
from service.web.body import ENVELOPE_BYTES, Body
from service.web.form_part import FormPart, parsed
from service.web.part_reader import PartReader

# How much the files of another type may have, such as a description in JSON or a picture. They are not kept.
_LARGEST_SKIPPED = 2**20
_SKIPPED_PIECE_BYTES = 8 * 1024
_MEDIA_TYPE = re.compile(r"^[^;]*")
# As much as is read from a connection at once.
PIECE_BYTES = 256 * 1024


class Form:
    """A multipart form under way. `fields` holds the fields that have been read so far.

    Every method raises MalformedRequest for a form that is broken or too large, and as `Body` does.
    """

    def __init__(self, reader: MultipartReader, body: Body, max_upload_bytes: int) -> None:
        self.fields: dict[str, str] = {}
        # The declared types of the files that were skipped.
        self.skipped: list[str] = []
        self._reader = reader
        self._body = body
        self._max_upload_bytes = max_upload_bytes
        self._skippable = _LARGEST_SKIPPED
        self._has_begun = False

    @classmethod
    def of(cls, request: web.Request) -> Self:
        """Return the form of a request, without reading any of it. Raises MalformedRequest."""
        limits = request.app[BODY_LIMITS]
        body = Body(request, limits)
        body.allowance = ENVELOPE_BYTES
        try:
            reader = _reader(request.headers, body)
        except (ValueError, AssertionError, LookupError) as error:
            raise MALFORMED_MULTIPART() from error
        return cls(reader, body, limits.max_upload_bytes)

    async def next_file(self) -> FormPart | None:
        """Read up to the next file, past fields, blank file inputs and files of a clearly different type.

        Returns None if the form ends before one.
        """
        while (part := await self._next_part()) is not None:
            part.check()
            if await part.is_blank():
                continue
            if not await part.is_file():
                self.fields[part.name] = await part.text()
            elif part.is_aside:
                await self._skip(part)
            else:
                return part
        return None

    async def pieces(self, file: FormPart) -> AsyncIterator[bytes]:
        """Yield the file, then read the rest of the form, which must be whole before anything is kept."""
        # The piece that is too much is passed on, too: who counts the WAV's bytes says so, or keeps those before it.
        self._body.allowance = self._max_upload_bytes + PIECE_BYTES + ENVELOPE_BYTES
        async for piece in file.pieces(PIECE_BYTES):
            yield piece
            del piece  # else it would stay until the next one comes
        self._body.allowance = ENVELOPE_BYTES
        if await self.next_file() is not None:
            raise SECOND_FILE()
        async for _ in self._body.pieces():
            pass

    async def _next_part(self) -> FormPart | None:
        try:
            reader = await parsed(self._reader.next())
        except MalformedRequest as error:
            if error.code == TOO_MANY_FIELDS.code and not self._has_begun:
                raise MALFORMED_MULTIPART() from error  # what fills the room in front of the first part is no preamble
            raise
        self._has_begun = True
        return None if reader is None else FormPart(cast("BodyPartReader", reader))

    async def _skip(self, part: FormPart) -> None:
        self.skipped.append(part.declared_type)
        async for piece in part.pieces(_SKIPPED_PIECE_BYTES):
            self._skippable -= len(piece)
            if self._skippable < 0:
                raise UNSUPPORTED_TYPE(declared=part.declared_type)
            self._body.allowance += len(piece)


async def read_fields(request: web.Request) -> dict[str, str]:
    """Return the fields of a form that has no file. Raises MalformedRequest."""
    form = Form.of(request)
    if await form.next_file() is not None or form.skipped:
        raise UNEXPECTED_FILE()
    return form.fields


def _reader(headers: Mapping[str, str], body: Body) -> MultipartReader:
    """Return aiohttp's reader for a body; it only uses the methods of a stream that Body has."""
    boundary = parse_mimetype(headers[hdrs.CONTENT_TYPE]).parameters.get("boundary")
    if not boundary:
        raise MISSING_BOUNDARY()

    def as_part(part_headers: CIMultiDictProxy[str], content: StreamReader, **_limits: object) -> PartReader:
        return PartReader(f"--{boundary}".encode(), part_headers, content)

    # Of a multipart/form-data, aiohttp would take a first field `_charset_` for its own, and stumble over what follows.
    plain = CIMultiDict({hdrs.CONTENT_TYPE: _MEDIA_TYPE.sub("multipart/mixed", headers[hdrs.CONTENT_TYPE], count=1)})
    reader = MultipartReader(plain, cast("StreamReader", body))
    reader.part_reader_cls = PartReader
    # By itself, aiohttp reads a part that declares a multipart type as a form.
    reader.multipart_reader_cls = cast("type[MultipartReader]", as_part)
    return reader
