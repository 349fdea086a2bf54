"""Reads a part of a multipart form, and tells whether it is a field or a file."""

import warnings
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

from aiohttp import BodyPartReader, hdrs
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.multipart import BadContentDispositionHeader, BadContentDispositionParam

from service.refusals import FIELD_TOO_LONG, MALFORMED_MULTIPART, NESTED_MULTIPART, TRANSFER_ENCODED
from service.web.disposition import parameter, parse_disposition
from service.web.media_types import is_sound, may_be_wav, media_type

T = TypeVar("T")

# aiohttp parses the disposition of each first part, too. Python would keep the text of each of its warnings for ever.
warnings.simplefilter("ignore", BadContentDispositionHeader)
warnings.simplefilter("ignore", BadContentDispositionParam)

_LONGEST_FIELD = 8 * 1024
_PLAIN_ENCODINGS = {"", "binary", "8bit", "7bit"}
_CONTAINERS = {b"RIFF", b"RF64", b"BW64"}
_WAV_START_BYTES = 12


class FormPart:
    """A part of a form: its name and file name (None if it has none), its declared type, and how it is read.

    The declared type is in lower case, and empty if there is none.
    """

    def __init__(self, reader: BodyPartReader) -> None:
        disposition = parse_disposition(reader.headers.get(hdrs.CONTENT_DISPOSITION, ""))
        self.name = parameter(disposition, "name") or ""
        self.filename = parameter(disposition, "filename")
        if self.filename is not None and "filename*" not in disposition:
            self.filename = self.filename.replace("%22", '"')  # so browsers and curl write a quote, and nothing else
        self.declared_type = media_type(reader.headers.get(hdrs.CONTENT_TYPE, ""))
        self._reader = reader
        self._start = b""

    async def start(self, size: int) -> bytes:
        """Return the first `size` bytes or more, or all of it if it is shorter. They are read again with the rest."""
        while len(self._start) < size and not self._reader.at_eof():
            self._start += await parsed(self._reader.read_chunk(_LONGEST_FIELD))
        return self._start

    async def text(self) -> str:
        """Return the whole part as the text of a field. Raises MalformedRequest if it is too long for one."""
        content = b""
        async for piece in self.pieces(_LONGEST_FIELD):
            content += piece
            if len(content) > _LONGEST_FIELD:
                raise FIELD_TOO_LONG(max_bytes=_LONGEST_FIELD)
        return content.decode("utf-8", "replace")

    async def pieces(self, size: int) -> AsyncIterator[bytes]:
        """Yield the part in pieces of at most `size` bytes or so."""
        if self._start:
            yield self._start
        while not self._reader.at_eof():
            if piece := await parsed(self._reader.read_chunk(size)):
                yield piece
                del piece  # else it would stay until the next one comes

    def check(self) -> None:
        """Raise MalformedRequest if the part is a form itself, or is encoded."""
        content_type = self._reader.headers.get(hdrs.CONTENT_TYPE, "").lower()
        # Android's clients declare single parts as multipart/form-data. Those have no boundary.
        is_form = self.declared_type == "multipart/form-data" and "boundary" not in content_type
        if self.declared_type.startswith("multipart/") and not is_form:
            raise NESTED_MULTIPART()
        if self._reader.headers.get(hdrs.CONTENT_TRANSFER_ENCODING, "").lower() not in _PLAIN_ENCODINGS:
            raise TRANSFER_ENCODED()

    async def is_blank(self) -> bool:
        """Return whether this is a file input that was left blank: browsers send it without a name and bytes."""
        return self.filename == "" and not await self.start(1)

    async def is_file(self) -> bool:
        """Return whether this is a file: it has a file name, declares sound, or begins as a WAV does."""
        if self.filename is not None or is_sound(self.declared_type):
            return True
        start = await self.start(_WAV_START_BYTES)
        return start[:4] in _CONTAINERS and start[8:12] == b"WAVE"

    @property
    def is_aside(self) -> bool:
        """Whether this file is clearly not meant as the recording: neither its type nor its name says so."""
        named_wav = (self.filename or "").lower().endswith(".wav")
        return not (may_be_wav(self.declared_type) or is_sound(self.declared_type) or named_wav)


async def parsed(parsing: Awaitable[T]) -> T:
    """Translate what aiohttp's multipart reader raises for malformed input to MalformedRequest."""
    try:
        return await parsing
    except (ValueError, AssertionError, LookupError, RuntimeError, HttpProcessingError) as error:
        raise MALFORMED_MULTIPART() from error
