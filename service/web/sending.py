"""Sends a file's bytes: aiohttp's FileResponse for one on this machine, piece by piece for any other."""

import asyncio
import contextlib
import socket
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from pathlib import Path

from aiohttp import ETag, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_request import BaseRequest
from multidict import CIMultiDict

from service.errors import Unavailable
from service.storage import RemoteFile

_CHUNK_BYTES = 256 * 1024


def give_up_on_stalled_reader(request: web.Request, seconds: float) -> None:
    """Have the kernel end the connection of a client that takes nothing for so long; sendfile waits for ever."""
    connection = request.get_extra_info("socket")
    if connection is not None and connection.family in {socket.AF_INET, socket.AF_INET6}:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))


async def local_file_response(path: Path, wanted: range | None, headers: Mapping[str, str]) -> web.FileResponse:
    """Answer with a file, or with the wanted bytes of it. Raises FileNotFoundError."""
    if not await asyncio.to_thread(path.is_file):
        raise FileNotFoundError(path)
    return _LocalFileResponse(path, wanted, headers)


async def send_remote_file(
    request: web.Request, file: RemoteFile, size: int, wanted: range | None, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Send a file of `size` bytes, or the wanted bytes of it. Raises FileNotFoundError and Unavailable."""
    span = range(size) if wanted is None else wanted
    response = web.StreamResponse(
        status=HTTPStatus.OK if wanted is None else HTTPStatus.PARTIAL_CONTENT,
        headers={**headers, hdrs.ACCEPT_RANGES: "bytes"},
    )
    if wanted is not None:
        response.headers[hdrs.CONTENT_RANGE] = f"bytes {span.start}-{span.stop - 1}/{size}"
    response.content_length = len(span)
    is_head = request.method == hdrs.METH_HEAD
    async with contextlib.aclosing(file.read(span.start, span.start + 1 if is_head else span.stop)) as pieces:
        piece = await anext(pieces)  # as long as no byte is sent, what this raises has an answer of its own
        await response.prepare(request)
        if is_head:
            return response
        try:
            await response.write(piece)
            async for piece in pieces:
                await response.write(piece)
        except (Unavailable, FileNotFoundError) as error:
            if request.transport is not None:
                request.transport.abort()  # a length is promised: the client has to see that this is not all
            raise ConnectionResetError("the store broke off") from error
    return response


class _LocalFileResponse(web.FileResponse):
    """A FileResponse that keeps the validators it is given, and sends the range that it is given.

    FileResponse makes its own validators of mtime and size, which differ from copy to copy of a file.
    """

    def __init__(self, path: Path, wanted: range | None, headers: Mapping[str, str]) -> None:
        super().__init__(path, chunk_size=_CHUNK_BYTES, headers=headers)
        self._wanted = wanted

    @property
    def etag(self) -> ETag | None:
        return super().etag

    @etag.setter
    def etag(self, value: object) -> None:
        pass

    @property
    def last_modified(self) -> datetime | None:
        return super().last_modified

    @last_modified.setter
    def last_modified(self, value: object) -> None:
        pass

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        try:
            return await super().prepare(request.clone(headers=self._remaining_headers(request)))
        except TimeoutError as error:  # the kernel's: the reader took nothing for too long
            raise ConnectionResetError("the reader stalled") from error

    def _remaining_headers(self, request: BaseRequest) -> CIMultiDict[str]:
        """Return the request's headers with what is settled already left out."""
        settled = (hdrs.IF_MATCH, hdrs.IF_NONE_MATCH, hdrs.IF_MODIFIED_SINCE, hdrs.IF_UNMODIFIED_SINCE)
        headers = CIMultiDict(request.headers)
        for name in (*settled, hdrs.IF_RANGE, hdrs.RANGE, hdrs.ACCEPT_ENCODING):
            headers.popall(name, None)
        if self._wanted is not None:
            headers[hdrs.RANGE] = f"bytes={self._wanted.start}-{self._wanted.stop - 1}"
        return headers
