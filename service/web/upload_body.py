"""Finds the WAV in a request's body: the whole of it, or the first file of a form."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from aiohttp import hdrs, web

from service.names import clean_filename
from service.refusals import NO_FILE, UNSUPPORTED_TYPE
from service.web.app_keys import BODY_LIMITS
from service.web.body import Body
from service.web.disposition import parameter, parse_disposition
from service.web.media_types import may_be_wav
from service.web.multipart import Form


@dataclass(frozen=True, slots=True)
class SentWav:
    """A WAV on its way: its name, its declared type in lower case, its bytes, and the fields of the form around it.

    `fields` are those that have been read so far. Those after the file are added before `pieces` ends.
    """

    filename: str
    declared_type: str
    pieces: AsyncIterator[bytes]
    fields: Mapping[str, str] = field(default_factory=dict)


def is_form(request: web.Request) -> bool:
    """Return whether the body is declared as a form. OkHttp declares multipart/mixed unless it is told otherwise."""
    return request.content_type.startswith("multipart/")


def declared_type(request: web.Request) -> str:
    """Return the body's declared type in lower case; empty if there is none."""
    return request.content_type if hdrs.CONTENT_TYPE in request.headers else ""


def raw_wav(request: web.Request, filename: str = "") -> SentWav:
    """Take the whole body as the WAV, under the name in Content-Disposition if `filename` is empty.

    Raises Unprocessable for a bad file name.
    """
    name = filename or _name_in_header(request) or ""
    pieces = Body(request, request.app[BODY_LIMITS]).pieces()
    return SentWav(clean_filename(name), declared_type(request), pieces)


async def form_wav(request: web.Request, filename: str = "") -> SentWav:
    """Read a form up to its first file. If `filename` is empty, the file's own name counts.

    Raises MalformedRequest for a body that is not a multipart form, UnsupportedMedia if its only files are of another
    type, and Unprocessable for a form without a file and for a bad file name.
    """
    form = Form.of(request)
    file = await form.next_file()
    if file is None:
        raise UNSUPPORTED_TYPE(declared=form.skipped[0]) if form.skipped else NO_FILE()
    pieces = form.pieces(file)
    return SentWav(clean_filename(filename or file.filename or ""), file.declared_type, pieces, form.fields)


def require_wav_type(declared: str) -> None:
    """Raise UnsupportedMedia if the declared type cannot be that of a WAV."""
    if not may_be_wav(declared):
        raise UNSUPPORTED_TYPE(declared=declared)


def _name_in_header(request: web.Request) -> str | None:
    return parameter(parse_disposition(request.headers.get(hdrs.CONTENT_DISPOSITION, "")), "filename")
