"""Answers the requests of a resumable upload, in the client's language."""

from email.utils import format_datetime
from http import HTTPStatus
from uuid import UUID

from aiohttp import hdrs, web

from service.uploads.intake import Taken
from service.uploads.live import LiveUpload
from service.web.addresses import base_url
from service.web.app_keys import BODY_LIMITS, LIVE_UPLOAD, RESUME_SECONDS
from service.web.incoming_upload import upload_headers
from service.web.record_answers import created
from service.web.resumable_protocols import INTEROP_HEADER, TUS_EXTENSIONS, TUS_VERSION, Dialect, find_dialect

NO_STORE = {hdrs.CACHE_CONTROL: "no-store"}


async def send_interim(request: web.Request, dialect: Dialect, live: LiveUpload) -> None:
    """Tell the address before the end: 104. aiohttp has no call for interim responses."""
    version = {INTEROP_HEADER: dialect.interop} if dialect.interop is not None else {}
    headers = {hdrs.LOCATION: _upload_url(request, live.id), "Upload-Limit": upload_limit(request), **version}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    await request.writer.write(f"HTTP/1.1 104 Upload Resumption Supported\r\n{lines}\r\n".encode())
    request.writer.output_size = 0  # nothing of the answer itself has been sent


def begun(request: web.Request, upload_id: UUID) -> web.Response:
    """Answer the first request, if the upload is not whole yet: with its address."""
    return web.Response(status=201, headers={hdrs.LOCATION: _upload_url(request, upload_id), **NO_STORE})


def ended(request: web.Request, dialect: Dialect, taken: Taken, status: int = 204) -> web.Response:
    """Answer the last request: with the record or, in tus, with its address."""
    complete = {dialect.complete_header: dialect.complete_value(is_complete=True)}
    if dialect.language == "ietf":
        return created(request, taken, complete)
    headers = upload_headers(taken)
    headers.update(NO_STORE | {hdrs.CONTENT_LOCATION: f"/records/{taken.record.id}"})
    live = request.get(LIVE_UPLOAD)
    if live is not None and live.resumable is not None:
        headers["Upload-Offset"] = str(live.resumable.offset)
    if status == HTTPStatus.CREATED:  # the first request brought everything
        headers[hdrs.LOCATION] = _upload_url(request, taken.record.id)
    return web.Response(status=status, headers=headers)


def described(request: web.Request) -> web.Response:
    """Answer OPTIONS: what is possible, in both languages."""
    headers = {
        "Tus-Resumable": TUS_VERSION,
        "Tus-Version": TUS_VERSION,
        "Tus-Extension": TUS_EXTENSIONS,
        "Tus-Max-Size": str(request.app[BODY_LIMITS].max_upload_bytes),
        "Upload-Limit": upload_limit(request),
    }
    return web.Response(status=204, headers=headers)


def _upload_url(request: web.Request, upload_id: UUID) -> str:
    return f"{base_url(request)}/uploads/{upload_id}"


def upload_limit(request: web.Request) -> str:
    """Return the value of the header Upload-Limit."""
    seconds = int(request.app[RESUME_SECONDS])
    return f"max-size={request.app[BODY_LIMITS].max_upload_bytes}, max-age={seconds}"


async def tell_upload(request: web.Request, response: web.StreamResponse) -> None:
    """Add what clients of resumable uploads need to know, also to refusals. A handler of on_response_prepare."""
    if "Tus-Resumable" in request.headers and "/uploads" in request.path:
        response.headers["Tus-Resumable"] = TUS_VERSION
        if response.status == 412:  # noqa: PLR2004 - another version was asked for
            response.headers["Tus-Version"] = TUS_VERSION
    live = request.get(LIVE_UPLOAD)
    if live is None or live.resumable is None or live.ended.is_set():
        return
    dialect = find_dialect(request) or Dialect("ietf")
    response.headers["Upload-Offset"] = str(live.resumable.offset)
    if live.resumable.length is not None:
        response.headers["Upload-Length"] = str(live.resumable.length)
    if dialect.language == "tus":
        response.headers["Upload-Expires"] = format_datetime(live.resumable.resumable_until, usegmt=True)
        if live.resumable.length is None:
            response.headers["Upload-Defer-Length"] = "1"
    else:
        is_whole = live.resumable.is_whole
        response.headers[dialect.complete_header] = dialect.complete_value(is_complete=is_whole)
        response.headers["Upload-Limit"] = upload_limit(request)
