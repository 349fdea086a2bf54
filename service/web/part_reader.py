"""Finds where a part of a multipart form ends."""

import warnings

from aiohttp import BodyPartReader, StreamReader
from multidict import CIMultiDictProxy


class PartReader(BodyPartReader):
    """aiohttp's reader of a part, except that it keeps back only what may be the start of the boundary.

    aiohttp's keeps the newest piece back. If the client dies, that sound is lost. It also copies each piece twice.
    """

    def __init__(self, boundary: bytes, headers: CIMultiDictProxy[str], content: StreamReader, **_: object) -> None:
        super().__init__(boundary, headers, content, subtype="form-data")
        self._delimiter = b"\r\n" + boundary
        # The line break behind the headers is not the part's own, but may begin the delimiter: then the part is empty.
        self._kept, self._foreign_bytes = b"\r\n", 2

    async def read_chunk(self, size: int = BodyPartReader.chunk_size) -> bytes:
        """Return the next bytes, `size` or a few more, and b"" only at the end. Raises ValueError if it has no end."""
        content = b""
        while not content and not self._at_eof:
            piece = await self._content.read(size)
            if not piece:
                raise ValueError("a part ends without its boundary")
            content = self._content_in(self._kept + piece)
        return content

    def _content_in(self, window: bytes) -> bytes:
        """Return what is surely the part's, keep what may be, and put back what is not."""
        end = window.find(self._delimiter)
        if end >= 0:
            self._at_eof, self._kept = True, b""
            self._put_back(window[end + len(b"\r\n") :])
        else:
            end = self._possible_delimiter(window)
            self._kept = window[end:]
        content = window[self._foreign_bytes : end]
        if end:
            self._foreign_bytes = 0
        return content

    def _possible_delimiter(self, window: bytes) -> int:
        """Return where a delimiter may begin whose rest has not come yet, or the end."""
        start = window.rfind(b"\r", -len(self._delimiter))  # it has no other
        return start if start >= 0 and self._delimiter.startswith(window[start:]) else len(window)

    def _put_back(self, rest: bytes) -> None:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # aiohttp's reader does so, too
            self._content.unread_data(rest)
