"""Finds the WAV in a request's body: the whole of it, or the first file of a form."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from aiohttp import hdrs, web

from service.names import clean_filename
from service.refusals import NO_FILE, UNSUPPORTED_TYPE
from service.web.app_keys import BODY_LIMITS
from service.web.body import Body
from service.web.multipart import Form

WAV_TYPES = {"audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"}
# What clients declare if they do not know the type. The WAV's first bytes decide.
UNTOLD_TYPES = {"", "application/octet-stream"}


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
    """Return whether the body is declared as a form."""
    return request.content_type == "multipart/form-data"


def declared_type(request: web.Request) -> str:
    """Return the body's declared type in lower case; empty if there is none."""
    return request.content_type if hdrs.CONTENT_TYPE in request.headers else ""


def raw_wav(request: web.Request, filename: str = "") -> SentWav:
    """Take the whole body as the WAV. Raises Unprocessable for a bad file name."""
    pieces = Body(request, request.app[BODY_LIMITS]).pieces()
    return SentWav(clean_filename(filename), declared_type(request), pieces)


async def form_wav(request: web.Request) -> SentWav:
    """Read a form up to its first file.

    Raises MalformedRequest for a body that is not a multipart form, and Unprocessable for a form without a file
    and for a bad file name.
    """
    form = Form.of(request)
    file = await form.next_file()
    if file is None:
        raise NO_FILE()
    return SentWav(clean_filename(file.filename), file.declared_type, form.pieces(file), form.fields)


def require_wav_type(declared: str) -> None:
    """Raise UnsupportedMedia if the declared type is not that of a WAV."""
    if declared not in WAV_TYPES | UNTOLD_TYPES:
        raise UNSUPPORTED_TYPE(declared=declared)
