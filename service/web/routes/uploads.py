"""Routes for uploads under way: begin one that can be resumed, go on with it, look at it, end it."""

from email.utils import format_datetime
from uuid import UUID

from aiohttp import hdrs, web

from service.database.ended_uploads import find_ended_upload
from service.database.records import find_record
from service.errors import Conflict
from service.models import Record, User
from service.refusals import NOT_RESUMABLE, UPLOAD_NOT_FOUND, refusal_of
from service.uploads.intake import Taken
from service.uploads.live import LiveUpload, require_owner
from service.web.addresses import base_url
from service.web.app_keys import (
    BODY_LIMITS,
    DATABASE,
    LIVE_UPLOAD,
    LIVE_UPLOADS,
    RECORD,
    REMOVAL,
    RESUME_SECONDS,
    RESUMPTION,
    TRANSPORT,
)
from service.web.auth import authenticate
from service.web.incoming_upload import replay_headers
from service.web.presentation import json_response, upload_json
from service.web.record_answers import created
from service.web.resumable_protocols import (
    INTEROP_HEADER,
    TUS_EXTENSIONS,
    TUS_VERSION,
    Dialect,
    brings_bytes,
    declared_length,
    find_dialect,
    get_dialect,
    is_complete,
    read_creation,
    read_offset,
    require_append_type,
)
from service.web.resumable_upload import OfferedResumableUpload, attachment

_NO_STORE = {hdrs.CACHE_CONTROL: "no-store"}


async def create_upload(request: web.Request) -> web.Response:
    """POST /uploads, and uploads at other addresses whose headers say that they can be resumed."""
    dialect = get_dialect(request)
    request[TRANSPORT] = dialect.language
    creation = read_creation(request, dialect)
    offered = OfferedResumableUpload(request, dialect, creation, request.match_info.get("filename", ""))
    try:
        begun = await request.app[RESUMPTION].begin(offered)
    except Conflict as error:
        if "upload_id" not in error.facts or creation.is_whole:
            raise
        return _begun(request, UUID(str(error.facts["upload_id"])))  # the same upload, because it has the same key
    if isinstance(begun, Taken):
        return _ended(request, dialect, begun) if dialect.language == "ietf" else _begun(request, begun.record.id)
    request[LIVE_UPLOAD] = begun
    if dialect.language == "ietf":
        await _send_interim(request, dialect, begun)
    if dialect.language == "ietf" or brings_bytes(request) or begun.length == 0:
        taken = await _append(request, begun, 0, is_last=creation.is_whole)
        if taken is not None:
            return _ended(request, dialect, taken, status=201)
    return _begun(request, begun.id)


async def append_to_upload(request: web.Request) -> web.Response:
    """PATCH /uploads/{id}: more bytes; the last ones are answered with the record."""
    user = await authenticate(request)
    dialect = get_dialect(request)
    live = await _find_live(request, user)
    require_append_type(request, dialect)
    assert live.resumable is not None  # noqa: S101 - _find_live has looked
    offset, length = read_offset(request), declared_length(request)
    if length is not None:
        live.resumable.declare_length(length)
    is_last = dialect.language == "ietf" and is_complete(request, dialect)
    taken = await _append(request, live, offset, is_last=is_last)
    if taken is not None:
        return _ended(request, dialect, taken)
    return web.Response(status=204, headers=_NO_STORE)


async def post_to_upload(request: web.Request) -> web.Response:
    """POST /uploads/{id}: another method, for clients that can send only GET and POST (tus)."""
    methods = {hdrs.METH_PATCH: append_to_upload, hdrs.METH_DELETE: cancel_upload}
    handler = methods.get(request.headers.get("X-HTTP-Method-Override", "").upper())
    if handler is None:
        raise NOT_RESUMABLE()
    return await handler(request)


async def look_at_upload(request: web.Request) -> web.Response:
    """GET /uploads/{id}: how far it is; after its end 303 to its record, or how it failed."""
    user = await authenticate(request)
    live = request.app[LIVE_UPLOADS].find(_upload_id(request))
    if live is not None:
        return json_response(upload_json(request, require_owner(live, user)), headers=_NO_STORE)
    record = await _find_outcome(request, user)
    return web.Response(status=303, headers={hdrs.LOCATION: f"{base_url(request)}/records/{record.id}", **_NO_STORE})


async def ask_offset(request: web.Request) -> web.Response:
    """HEAD /uploads/{id}: at which byte to go on."""
    user = await authenticate(request)
    dialect = find_dialect(request) or Dialect("ietf")
    status = 200 if dialect.language == "tus" else 204
    live = request.app[LIVE_UPLOADS].find(_upload_id(request))
    if live is not None:
        live = await _find_live(request, user)
        assert live.resumable is not None  # noqa: S101 - _find_live has looked
        await live.resumable.settle()
        return web.Response(status=status, headers=_NO_STORE)
    record = await _find_outcome(request, user)
    headers = {
        "Upload-Offset": str(record.source_size),
        "Upload-Length": str(record.source_size),
        dialect.complete_header: dialect.complete_value(is_complete=True),
        hdrs.CONTENT_LOCATION: f"/records/{record.id}",
    }
    return web.Response(status=status, headers=headers | _NO_STORE)


async def cancel_upload(request: web.Request) -> web.Response:
    """DELETE /uploads/{id}: the upload ends, and nothing is left of it."""
    user = await authenticate(request)
    live = require_owner(request.app[LIVE_UPLOADS].find(_upload_id(request)), user)
    await live.cancel()
    record = await find_record(request.app[DATABASE], live.id)
    if record is not None:  # it was too late to stop it
        await request.app[REMOVAL].delete_record(record.id)
    return web.Response(status=204)


async def list_uploads(request: web.Request) -> web.Response:
    """GET /uploads: the owner's uploads under way, newest first."""
    user = await authenticate(request)
    uploads = request.app[LIVE_UPLOADS].of_user(user.id)
    return json_response({"uploads": [upload_json(request, upload) for upload in uploads]}, headers=_NO_STORE)


async def describe_uploads(request: web.Request) -> web.Response:
    """OPTIONS /uploads: what is possible, in both languages."""
    headers = {
        "Tus-Resumable": TUS_VERSION,
        "Tus-Version": TUS_VERSION,
        "Tus-Extension": TUS_EXTENSIONS,
        "Tus-Max-Size": str(request.app[BODY_LIMITS].max_upload_bytes),
        "Upload-Limit": _upload_limit(request),
    }
    return web.Response(status=204, headers=headers)


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
        response.headers["Upload-Limit"] = _upload_limit(request)


async def _append(request: web.Request, live: LiveUpload, offset: int, *, is_last: bool) -> Taken | None:
    byte_count = request.content_length if request.can_read_body else 0
    taken = await request.app[RESUMPTION].append(live, attachment(request, is_last=is_last), offset, byte_count)
    if taken is not None:
        request[RECORD] = taken.record
    return taken


async def _find_live(request: web.Request, user: User) -> LiveUpload:
    """Return the resumable upload that the request names. Raises its refusal if it has failed, and NotFound."""
    live = request.app[LIVE_UPLOADS].find(_upload_id(request))
    if live is None:
        await _find_outcome(request, user)
        raise UPLOAD_NOT_FOUND()
    if require_owner(live, user).resumable is None:
        raise NOT_RESUMABLE()
    request[LIVE_UPLOAD] = live
    return live


async def _find_outcome(request: web.Request, user: User) -> Record:
    """Return the record that an ended upload has made. Raises its refusal if it has failed, and NotFound."""
    upload_id = _upload_id(request)
    record = await find_record(request.app[DATABASE], upload_id)
    if record is not None and record.user_id == user.id:
        return record
    ended = await find_ended_upload(request.app[DATABASE], upload_id, user.id)
    if ended is None:
        raise UPLOAD_NOT_FOUND()
    raise refusal_of(ended.code, ended.detail, ended.body_offset)


async def _send_interim(request: web.Request, dialect: Dialect, live: LiveUpload) -> None:
    """Tell the address before the end: 104. aiohttp has no call for interim responses."""
    version = {INTEROP_HEADER: dialect.interop} if dialect.interop is not None else {}
    headers = {hdrs.LOCATION: _upload_url(request, live.id), "Upload-Limit": _upload_limit(request), **version}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    await request.writer.write(f"HTTP/1.1 104 Upload Resumption Supported\r\n{lines}\r\n".encode())
    request.writer.output_size = 0  # nothing of the answer itself has been sent


def _begun(request: web.Request, upload_id: UUID) -> web.Response:
    return web.Response(status=201, headers={hdrs.LOCATION: _upload_url(request, upload_id), **_NO_STORE})


def _ended(request: web.Request, dialect: Dialect, taken: Taken, status: int = 204) -> web.Response:
    """Answer the last request: with the record or, in tus, with its address."""
    complete = {dialect.complete_header: dialect.complete_value(is_complete=True)}
    if dialect.language == "ietf":
        return created(request, taken, complete)
    headers = {hdrs.CONTENT_LOCATION: f"/records/{taken.record.id}", "Upload-Offset": str(taken.record.source_size)}
    if status == 201:  # noqa: PLR2004 - a creation that brought everything
        headers[hdrs.LOCATION] = _upload_url(request, taken.record.id)
    return web.Response(status=status, headers=headers | replay_headers(taken) | _NO_STORE)


def _upload_url(request: web.Request, upload_id: UUID) -> str:
    return f"{base_url(request)}/uploads/{upload_id}"


def _upload_limit(request: web.Request) -> str:
    seconds = int(request.app[RESUME_SECONDS])
    return f"max-size={request.app[BODY_LIMITS].max_upload_bytes}, max-age={seconds}"


def _upload_id(request: web.Request) -> UUID:
    return UUID(request.match_info["upload_id"])
