"""Sends files: those on this machine by aiohttp's FileResponse, all others piece by piece."""

import asyncio
import contextlib
import errno
from collections.abc import Callable, Mapping
from http import HTTPStatus
from io import FileIO
from pathlib import Path
from typing import cast

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_request import BaseRequest

from service.errors import Unavailable
from service.storage import RemoteFile
from service.storage.draft_files import unavailable
from service.storage.reading import open_kept_file
from service.web.app_keys import SENT_BYTES
from service.web.conditions import date_of

_CHUNK_BYTES = 64 * 1024
# What the kernel reports of a reader that has taken nothing for too long. It is the last ICMP message, if one came.
_LOST_NETWORK = frozenset({errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN})


async def send_asset(request: web.Request, path: Path, headers: Mapping[str, str]) -> web.StreamResponse:
    """Send a file on this machine as FileResponse does. Raises FileNotFoundError and Unavailable."""
    return await _send(request, path, lambda file: _Asset(file, headers))


async def send_local_file(
    request: web.Request, path: Path, wanted: range | None, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Send a file on this machine, or the wanted bytes of it. Raises FileNotFoundError and Unavailable.

    The caller has checked the request's conditions and its range, and `headers` has the validators.
    """
    return await _send(request, path, lambda file: _JudgedFile(file, wanted, headers))


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
        piece = await anext(pieces)  # before the first byte is sent, so that an error still gets its own answer
        await response.prepare(request)
        if is_head:
            return response
        try:
            await send_piece(response, request, piece)
            async for piece in pieces:
                await send_piece(response, request, piece)
        except (Unavailable, FileNotFoundError) as error:
            raise broken_off(request, "the store broke off") from error
    return response


async def own_file_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Restore a file's own headers, which FileResponse has replaced. This is a handler of on_response_prepare."""
    if isinstance(response, _OpenFile):
        response.take_over()


async def _send(
    request: web.Request, path: Path, make_response: Callable[[FileIO], web.FileResponse]
) -> web.StreamResponse:
    with await asyncio.to_thread(open_kept_file, path) as file:
        response = make_response(file)
        try:
            await response.prepare(request)
        except ConnectionError:
            raise
        except OSError as error:
            if error.errno in _LOST_NETWORK:
                raise broken_off(request, "the reader took nothing for too long") from error
            unavailable(f"a kept file cannot be read: {error.strerror}")
            raise broken_off(request, "the disk broke off") from error
        except RuntimeError as error:
            if request.transport is not None and not request.transport.is_closing():
                raise
            raise broken_off(request, "the reader has gone") from error
    return response


async def send_piece(response: web.StreamResponse, request: web.Request, piece: bytes) -> None:
    """Send a piece and wait until the kernel has all of it; write() alone lets two pieces gather here."""
    await response.write(piece)
    await request.writer.drain()
    request[SENT_BYTES] = request.get(SENT_BYTES, 0) + len(piece)


def broken_off(request: web.Request, reason: str) -> ConnectionResetError:
    """End the connection, so that the client sees that the body is not whole, and return the error to raise."""
    if request.transport is not None:
        request.transport.abort()
    return ConnectionResetError(reason)


class _OpenFile(web.FileResponse):
    """A FileResponse for a file that is open already.

    FileResponse opens it again, by its path in /proc. If that fails, FileResponse would answer 404 or 403 with the
    file's own headers, and caches would keep that answer. This class raises Unavailable instead.
    """

    _answers = frozenset({200, 206, 304, 412, 416})

    def __init__(self, file: FileIO, headers: Mapping[str, str]) -> None:
        super().__init__(f"/proc/self/fd/{file.fileno()}", chunk_size=_CHUNK_BYTES, headers=headers)
        self._file = file

    def set_status(self, status: int, reason: str | None = None) -> None:
        if status not in self._answers:
            raise unavailable(f"an open file cannot be opened again: FileResponse says {status}")
        super().set_status(status, reason)

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        # aiohttp prepares whatever a handler returns, and FileResponse fails if it is prepared twice.
        return None if self.prepared else await super().prepare(request)

    def take_over(self) -> None:
        """Close our file: FileResponse has opened its own, and is about to send the headers."""
        self._file.close()


class _Asset(_OpenFile):
    """An open file of our own, for which FileResponse judges the request's conditions."""

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        return await super().prepare(cast("BaseRequest", _DatedRequest(request)))


class _DatedRequest:
    """A request for FileResponse, with those of its dates that can be read."""

    def __init__(self, request: BaseRequest) -> None:
        self._request = request
        self.if_modified_since = date_of(request, hdrs.IF_MODIFIED_SINCE)
        self.if_unmodified_since = date_of(request, hdrs.IF_UNMODIFIED_SINCE)

    def __getattr__(self, name: str) -> object:
        return getattr(self._request, name)


class _JudgedFile(_OpenFile):
    """The wanted part of an open file. FileResponse does not get to see the request's conditions."""

    _answers = frozenset({200, 206})

    def __init__(self, file: FileIO, wanted: range | None, headers: Mapping[str, str]) -> None:
        super().__init__(file, headers)
        self._wanted = wanted
        self._own_headers = headers

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        return await super().prepare(cast("BaseRequest", _JudgedRequest(request, self._wanted)))

    def take_over(self) -> None:
        # FileResponse makes ETag and Last-Modified from the file's mtime, which differs from copy to copy.
        super().take_over()
        self.headers.update(self._own_headers)


class _JudgedRequest:
    """A request for FileResponse: without conditions, and with one range or none."""

    if_match = None
    if_none_match = None
    if_modified_since = None
    if_unmodified_since = None
    if_range = None

    def __init__(self, request: BaseRequest, wanted: range | None) -> None:
        self._request = request
        self.http_range = slice(None) if wanted is None else slice(wanted.start, wanted.stop)

    def __getattr__(self, name: str) -> object:
        return getattr(self._request, name)
