"""Serves MP3s: conditions, ranges and names."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from pathlib import Path

import structlog
from aiohttp import hdrs, web

from service.ids import shortened
from service.models import Record
from service.refusals import PRECONDITION_FAILED, RECORD_NOT_FOUND
from service.web.app_keys import DOWNLOAD, STORAGE
from service.web.byte_range import requested_range
from service.web.conditions import date_of
from service.web.digests import repr_digest
from service.web.listening import send_broadcast
from service.web.presentation import content_disposition
from service.web.record_or_upload import record_or_upload
from service.web.sending import send_local_file, send_remote_file

log = structlog.stdlib.get_logger()

_YEAR_SECONDS = 31_536_000


async def download(request: web.Request) -> web.StreamResponse:
    """GET /records/{id}.mp3: the MP3, without a token, because nobody can guess the address.

    It is there from the moment that its upload's header has been read.
    """
    found = await record_or_upload(request)
    if isinstance(found, web.StreamResponse):
        return found
    if isinstance(found, Record):
        return await mp3_response(request, found)
    request[DOWNLOAD] = True
    return await send_broadcast(request, found.broadcast, _file_headers(request, found.filename))


async def mp3_response(request: web.Request, record: Record) -> web.StreamResponse:
    """Answer with the record's MP3, as much of it as the request's conditions and range ask for.

    Raises PreconditionFailed, RangeNotSatisfiable, NotFound if the storage has lost the file, and Unavailable.
    """
    request[DOWNLOAD] = True
    last_modified = record.created_at.replace(microsecond=0)
    headers = {
        hdrs.ETAG: f'"{record.sha256}"',
        hdrs.LAST_MODIFIED: format_datetime(last_modified.astimezone(UTC), usegmt=True),
        "Repr-Digest": repr_digest(record.sha256),
        hdrs.CACHE_CONTROL: kept_for(record),
    }
    if _is_known(request, record, last_modified):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    wanted = _wanted_range(request, record, headers)
    headers.update(_file_headers(request, record.filename))
    file = request.app[STORAGE].locate(record.id)
    try:
        if isinstance(file, Path):
            return await send_local_file(request, file, wanted, headers)
        return await send_remote_file(request, file, record.size, wanted, headers)
    except FileNotFoundError as error:
        log.error("file_missing", record=shortened(str(record.id)))
        raise RECORD_NOT_FOUND() from error


def _file_headers(request: web.Request, filename: str) -> Mapping[str, str]:
    disposition = content_disposition(filename, "attachment" if _is_to_be_saved(request) else "inline")
    return {hdrs.CONTENT_TYPE: "audio/mpeg", hdrs.CONTENT_DISPOSITION: disposition}


def _is_to_be_saved(request: web.Request) -> bool:
    """Return whether `?download=1` asks a browser to save the MP3. It would play it."""
    return request.query.get("download", "0").lower() not in {"0", "false", "no"}


def kept_for(record: Record) -> str:
    """Return the Cache-Control of what never changes: for a year, or as long as the record is there."""
    seconds = _YEAR_SECONDS
    if record.expires_at is not None:
        left = (record.expires_at - datetime.now(UTC)).total_seconds()
        seconds = max(0, min(int(left), _YEAR_SECONDS))
    return f"private, max-age={seconds}, immutable"


def _is_known(request: web.Request, record: Record, last_modified: datetime) -> bool:
    """Return whether the client has the MP3 already, by its conditions in the order of RFC 9110 13.2.2.

    Raises PreconditionFailed if it asks for another version.
    """
    if request.if_match is not None:
        is_wanted = any(etag.value in {"*", record.sha256} and not etag.is_weak for etag in request.if_match)
    else:
        is_wanted = (unmodified_since := date_of(request, hdrs.IF_UNMODIFIED_SINCE)) is None or (
            last_modified <= unmodified_since
        )
    if not is_wanted:
        raise PRECONDITION_FAILED()
    if request.if_none_match is not None:
        return any(etag.value in {"*", record.sha256} for etag in request.if_none_match)
    modified_since = date_of(request, hdrs.IF_MODIFIED_SINCE)
    return modified_since is not None and last_modified <= modified_since


def _wanted_range(request: web.Request, record: Record, headers: Mapping[str, str]) -> range | None:
    is_same_version = request.headers.get(hdrs.IF_RANGE) in {None, headers[hdrs.ETAG], headers[hdrs.LAST_MODIFIED]}
    return requested_range(request, record.size) if is_same_version else None
