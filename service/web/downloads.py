"""Serves MP3s: ranges, conditions and names, on top of aiohttp's FileResponse."""

import asyncio
import re
import socket
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from uuid import UUID

import structlog
from aiohttp import ETag, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_request import BaseRequest
from multidict import CIMultiDict

from service.errors import NotFound
from service.models import Record
from service.records import find_record
from service.web.digests import repr_digest
from service.web.keys import BODY_LIMITS, DATABASE, STORAGE
from service.web.presentation import content_disposition

log = structlog.stdlib.get_logger()

_CHUNK_BYTES = 256 * 1024
_BYTE_RANGE = re.compile(r"bytes=([0-9]{1,18})?-([0-9]{1,18})?", re.IGNORECASE)
_UNSATISFIABLE = f"bytes={2**63 - 1}-"


async def download(request: web.Request) -> web.StreamResponse:
    """GET /records/{id}.mp3: whoever knows the unguessable address may have the MP3."""
    record = await find_record(request.app[DATABASE], UUID(request.match_info["record_id"]))
    if record is None:
        raise no_such_record()
    return await mp3_response(request, record)


def no_such_record() -> NotFound:
    """Return the refusal for a record that is not there, or not the caller's."""
    return NotFound("record_not_found", "There is no such record.")


async def mp3_response(request: web.Request, record: Record) -> web.StreamResponse:
    """Answer with the record's MP3, as much of it as the request's conditions and range ask for.

    Raises NotFound where the storage has lost the file.
    """
    last_modified = record.created_at.replace(microsecond=0)
    headers = {
        hdrs.ETAG: f'"{record.sha256}"',
        hdrs.LAST_MODIFIED: format_datetime(last_modified.astimezone(UTC), usegmt=True),
        "Repr-Digest": repr_digest(record.sha256),
        hdrs.CACHE_CONTROL: "private, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    if (status := _condition_status(request, record, last_modified)) is not None:
        return web.Response(status=status, headers=headers)
    path = request.app[STORAGE].path(record.id)
    if not await asyncio.to_thread(path.is_file):
        log.error("file_missing", record=f"{record.id.hex[:8]}...")
        raise no_such_record()
    headers[hdrs.CONTENT_TYPE] = "audio/mpeg"
    headers[hdrs.CONTENT_DISPOSITION] = content_disposition(record.filename)
    _give_up_on_stalled_readers(request, request.app[BODY_LIMITS].stall_seconds)
    return _Mp3Response(path, chunk_size=_CHUNK_BYTES, headers=headers)


def _give_up_on_stalled_readers(request: web.Request, seconds: float) -> None:
    """Have the kernel end the connection of a client that takes nothing for so long; sendfile waits for ever."""
    connection = request.get_extra_info("socket")
    if connection is not None and connection.family in {socket.AF_INET, socket.AF_INET6}:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))


class _Mp3Response(web.FileResponse):
    """A FileResponse that keeps the validators it is given, and heeds ranges as RFC 9110 has it.

    FileResponse makes its own of mtime and size, which differ from copy to copy of a file.
    """

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
        """Return the request's headers without the settled conditions, and with a range only where it counts."""
        settled = (hdrs.IF_MATCH, hdrs.IF_NONE_MATCH, hdrs.IF_MODIFIED_SINCE, hdrs.IF_UNMODIFIED_SINCE)
        headers = CIMultiDict(request.headers)
        for name in (*settled, hdrs.IF_RANGE, hdrs.RANGE, hdrs.ACCEPT_ENCODING):
            headers.popall(name, None)
        if_range = request.headers.get(hdrs.IF_RANGE)
        is_same_version = if_range in {None, self.headers[hdrs.ETAG], self.headers[hdrs.LAST_MODIFIED]}
        wanted = request.headers.getall(hdrs.RANGE, [])
        single = _single_range(wanted[0]) if len(wanted) == 1 else None
        if single is not None and is_same_version and request.method == hdrs.METH_GET:
            headers[hdrs.RANGE] = single
        return headers


def _condition_status(request: web.Request, record: Record, last_modified: datetime) -> int | None:
    """Evaluate the request's conditions in the order of RFC 9110 13.2.2; None where the MP3 is to be sent."""
    if request.if_match is not None:
        if not any(etag.value in {"*", record.sha256} and not etag.is_weak for etag in request.if_match):
            return HTTPStatus.PRECONDITION_FAILED
    elif request.if_unmodified_since is not None and last_modified > request.if_unmodified_since:
        return HTTPStatus.PRECONDITION_FAILED
    if request.if_none_match is not None:
        if any(etag.value in {"*", record.sha256} for etag in request.if_none_match):
            return HTTPStatus.NOT_MODIFIED
    elif request.if_modified_since is not None and last_modified <= request.if_modified_since:
        return HTTPStatus.NOT_MODIFIED
    return None


def _single_range(wanted: str) -> str | None:
    """Return the one byte range asked for; None where RFC 9110 has the header ignored."""
    found = _BYTE_RANGE.fullmatch(wanted)
    if found is None or found.groups() == (None, None):
        return None
    first, last = found.groups()
    if first is not None and last is not None and int(last) < int(first):
        return None
    return _UNSATISFIABLE if first is None and int(last) == 0 else found.group()
