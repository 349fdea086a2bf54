"""Finds the WAV in a request, raw or in a form, and the fields around it."""

import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar, cast

from aiohttp import BodyPartReader, MultipartReader, StreamReader, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.multipart import BadContentDispositionHeader, BadContentDispositionParam

from service.errors import MalformedRequest, Unprocessable, UnsupportedMedia
from service.names import clean_filename
from service.web.app_keys import BODY_LIMITS
from service.web.body import ENVELOPE_BYTES, PIECE_BYTES, Body

T = TypeVar("T")

# What a client writes into a form is no warning to us, and Python would keep each one's text for ever.
warnings.simplefilter("ignore", BadContentDispositionHeader)
warnings.simplefilter("ignore", BadContentDispositionParam)

WAV_TYPES = {"audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"}
# What clients declare that know nothing better; the first bytes decide.
UNTOLD_TYPES = {"", "application/octet-stream"}

_LONGEST_FIELD = 8 * 1024
_PLAIN_ENCODINGS = {"", "binary", "8bit", "7bit"}


@dataclass(frozen=True, slots=True)
class UploadBody:
    """A WAV under way: its name, its declared type, its pieces, and the form's fields.

    Fields that come after the file are in `fields` once `pieces` has ended; `check` is called then and may
    still refuse the upload.
    """

    filename: str
    content_type: str
    pieces: AsyncIterator[bytes]
    fields: dict[str, str] = field(default_factory=dict)
    check: Callable[[], None] = lambda: None


def open_raw(request: web.Request, filename: str = "") -> UploadBody:
    """Take the whole body for the WAV. Raises Unprocessable for a bad file name."""
    body = Body(request, request.app[BODY_LIMITS])
    return UploadBody(clean_filename(filename), declared_type(request), body.pieces())


def declared_type(request: web.Request) -> str:
    """Return the body's declared type in lower case; empty where there is none."""
    return request.content_type if hdrs.CONTENT_TYPE in request.headers else ""


async def open_multipart(request: web.Request) -> UploadBody:
    """Read a form up to its first file.

    Raises MalformedRequest for what is no multipart form, and Unprocessable for one without a file.
    """
    limits = request.app[BODY_LIMITS]
    body = Body(request, limits)
    body.allowance = ENVELOPE_BYTES
    reader = _reader(request, body)
    fields: dict[str, str] = {}
    file = await _next_file(reader, fields)
    if file is None:
        raise Unprocessable("no_file", "The form has no file. Send the WAV as a part with a file name.")
    body.allowance = limits.max_upload_bytes + ENVELOPE_BYTES
    filename = (file.filename or "").encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    declared = file.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
    return UploadBody(clean_filename(filename), declared, _file_pieces(reader, file, body, fields), fields)


async def read_form(request: web.Request) -> dict[str, str]:
    """Return the fields of a form that has no file. Raises MalformedRequest."""
    body = Body(request, request.app[BODY_LIMITS])
    body.allowance = ENVELOPE_BYTES
    fields: dict[str, str] = {}
    if await _next_file(_reader(request, body), fields) is not None:
        raise MalformedRequest("unexpected_file", "This form takes no file.")
    return fields


def require_wav_type(content_type: str) -> None:
    """Raise UnsupportedMedia where the declared type is another than a WAV's."""
    if content_type not in WAV_TYPES | UNTOLD_TYPES:
        raise UnsupportedMedia(
            "unsupported_type",
            f"{content_type} is not taken. Send audio/wav, multipart/form-data, or PUT the file.",
        )


def _reader(request: web.Request, body: Body) -> MultipartReader:
    try:
        # It asks of its stream no more than Body has.
        return MultipartReader(request.headers, cast("StreamReader", body))
    except (ValueError, AssertionError, LookupError) as error:
        raise _malformed() from error


def _malformed() -> MalformedRequest:
    return MalformedRequest("malformed_multipart", "The body is no well-formed multipart/form-data.")


async def _parsed(parsing: Awaitable[T]) -> T:
    """Translate what aiohttp's multipart reader raises for malformed input."""
    try:
        return await parsing
    except (ValueError, AssertionError, LookupError, RuntimeError, HttpProcessingError) as error:
        raise _malformed() from error


async def _next_file(reader: MultipartReader, fields: dict[str, str]) -> BodyPartReader | None:
    """Read fields into `fields` up to the next file, if there is one."""
    while (part := await _parsed(reader.next())) is not None:
        if not isinstance(part, BodyPartReader):
            raise MalformedRequest("nested_multipart", "A part is a multipart of its own. Send one flat form.")
        if part.headers.get(hdrs.CONTENT_TRANSFER_ENCODING, "").lower() not in _PLAIN_ENCODINGS:
            raise MalformedRequest("transfer_encoded", "Send the parts in binary, without Content-Transfer-Encoding.")
        if part.filename is not None:
            return part
        fields[part.name or ""] = await _read_field(part)
    return None


async def _read_field(part: BodyPartReader) -> str:
    content = b""
    while not part.at_eof():
        content += await _parsed(part.read_chunk(_LONGEST_FIELD))
        if len(content) > _LONGEST_FIELD:
            raise MalformedRequest(
                "field_too_long",
                f"A field has more than {_LONGEST_FIELD} bytes. If it is the WAV, give the part a file name.",
            )
    return content.decode("utf-8", "replace")


async def _file_pieces(
    reader: MultipartReader, file: BodyPartReader, body: Body, fields: dict[str, str]
) -> AsyncIterator[bytes]:
    """Yield the file, then read what is behind it: the form must be whole before anything is kept."""
    while not file.at_eof():
        if piece := await _parsed(file.read_chunk(PIECE_BYTES)):
            yield piece
    body.allowance = ENVELOPE_BYTES
    if await _next_file(reader, fields) is not None:
        raise MalformedRequest("second_file", "The form has a second file. Send one file a request.")
    async for _ in body.pieces():
        pass
