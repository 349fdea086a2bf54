"""Routes for uploads under way: begin one that can be resumed, go on with it, look at it, end it."""

from uuid import UUID

from aiohttp import HttpVersion11, hdrs, web

from service.database.records import find_record
from service.errors import Conflict
from service.models import Record
from service.refusals import NOT_RESUMABLE, UPLOAD_COMPLETED, UPLOAD_NOT_FOUND
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
    RESUMPTION,
    TRANSPORT,
)
from service.web.auth import authenticate
from service.web.body import Body, check_headers
from service.web.presentation import json_or_text, json_response, lines, upload_json
from service.web.relay import held_elsewhere, uploads_elsewhere
from service.web.resumable_answers import NO_STORE, begun, described, ended, send_interim
from service.web.resumable_protocols import (
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
from service.web.upload_outcome import find_outcome, find_outcome_for_sender, find_resumable, upload_id
from service.web.upload_parameters import keeps_incomplete


async def create_upload(request: web.Request) -> web.Response:
    """POST /uploads, and uploads at other addresses whose headers say that they can be resumed."""
    dialect = get_dialect(request)
    request[TRANSPORT] = dialect.language
    creation = read_creation(request, dialect)
    offered = OfferedResumableUpload(request, dialect, creation, request.match_info.get("filename", ""))
    try:
        live = await request.app[RESUMPTION].begin(offered)
    except Conflict as error:
        running = error.facts.get("upload_id")
        if not isinstance(running, UUID) or creation.is_whole:
            raise
        return begun(request, running)  # the same upload, because it has the same key
    if isinstance(live, Taken):
        return ended(request, dialect, live) if dialect.language == "ietf" else begun(request, live.record.id)
    request[LIVE_UPLOAD] = live
    del request[TRANSPORT]  # the request that ends the upload counts it
    if (
        dialect.takes_interim and request.can_read_body and request.version >= HttpVersion11
    ):  # else the answer itself follows at once
        await send_interim(request, dialect, live)
    if dialect.language == "ietf" or brings_bytes(request) or live.length == 0:
        taken = await _append(request, live, None, is_last=creation.is_whole)
        if taken is not None:
            return ended(request, dialect, taken, status=201)
    return begun(request, live.id)


@held_elsewhere
async def append_to_upload(request: web.Request) -> web.StreamResponse:
    """PATCH /uploads/{id}: more bytes; the last ones are answered with the record."""
    user = await authenticate(request)
    dialect = get_dialect(request)
    live = find_resumable(request, user)
    if live is None:
        return await _repeated(request, dialect, await find_outcome_for_sender(request, user))
    require_append_type(request, dialect)
    check_headers(request, request.app[BODY_LIMITS])
    assert live.resumable is not None  # noqa: S101 - find_resumable has looked
    offset, length = read_offset(request), declared_length(request)
    if length is not None:
        live.resumable.declare_length(length)
    is_last = dialect.language == "ietf" and is_complete(request, dialect)
    taken = await _append(request, live, offset, is_last=is_last)
    return web.Response(status=204, headers=NO_STORE) if taken is None else ended(request, dialect, taken)


async def post_to_upload(request: web.Request) -> web.StreamResponse:
    """POST /uploads/{id}: another method, for clients that can send only GET and POST (tus)."""
    methods = {hdrs.METH_PATCH: append_to_upload, hdrs.METH_DELETE: cancel_upload}
    handler = methods.get(request.headers.get("X-HTTP-Method-Override", "").upper())
    if handler is None:
        raise NOT_RESUMABLE()
    return await handler(request)


@held_elsewhere
async def look_at_upload(request: web.Request) -> web.StreamResponse:
    """GET /uploads/{id}: how far it is; after its end 303 to its record, or how it failed."""
    user = await authenticate(request)
    live = request.app[LIVE_UPLOADS].find(upload_id(request))
    if live is not None:
        return json_response(upload_json(request, require_owner(live, user)), headers=NO_STORE)
    record = await find_outcome(request, user)
    return web.Response(status=303, headers={hdrs.LOCATION: f"{base_url(request)}/records/{record.id}", **NO_STORE})


@held_elsewhere
async def ask_offset(request: web.Request) -> web.StreamResponse:
    """HEAD /uploads/{id}: at which byte to go on."""
    user = await authenticate(request)
    dialect = find_dialect(request) or Dialect("ietf")
    status = 200 if dialect.language == "tus" else 204
    live = find_resumable(request, user)
    if live is not None:
        assert live.resumable is not None  # noqa: S101 - find_resumable has looked
        await live.resumable.settle()
        if not live.ended.is_set():
            return web.Response(status=status, headers=NO_STORE)
    record = await find_outcome_for_sender(request, user)
    if record.source_size is None:  # of a version without uploads that can be resumed
        raise UPLOAD_NOT_FOUND()
    headers = {
        "Upload-Offset": str(record.source_size),
        "Upload-Length": str(record.source_size),
        dialect.complete_header: dialect.complete_value(is_complete=True),
        hdrs.CONTENT_LOCATION: f"/records/{record.id}",
    }
    return web.Response(status=status, headers=headers | NO_STORE)


@held_elsewhere
async def cancel_upload(request: web.Request) -> web.StreamResponse:
    """DELETE /uploads/{id}: the upload ends, and nothing is left of it, or with `?incomplete=keep` what has arrived."""
    user = await authenticate(request)
    live = require_owner(request.app[LIVE_UPLOADS].find(upload_id(request)), user)
    if keeps_incomplete(request):
        await live.cut_short()
        return web.Response(status=204)
    await live.cancel()
    record = await find_record(request.app[DATABASE], live.id)
    if record is not None:  # it was too late to stop it
        await request.app[REMOVAL].delete_record(record.id)
    return web.Response(status=204)


async def list_uploads(request: web.Request) -> web.Response:
    """GET /uploads: the owner's uploads under way, newest first; as text, a line with address and name for each."""
    user = await authenticate(request)
    own = [upload_json(request, upload) for upload in request.app[LIVE_UPLOADS].of_user(user.id)]
    everywhere = own + await uploads_elsewhere(request, user)
    uploads = sorted(everywhere, key=lambda upload: str(upload["created_at"]), reverse=True)
    return json_or_text(request, {"uploads": uploads}, lines(uploads), headers=NO_STORE)


async def describe_uploads(request: web.Request) -> web.Response:
    """OPTIONS /uploads: what is possible, in both languages."""
    return described(request)


async def _append(request: web.Request, live: LiveUpload, offset: int | None, *, is_last: bool) -> Taken | None:
    """Add the request's bytes at that offset; it is None for the request that created the upload."""
    byte_count = request.content_length if request.can_read_body else 0
    resumption, part = request.app[RESUMPTION], attachment(request, is_last=is_last)
    try:
        if offset is None:
            taken = await resumption.append_first(live, part, byte_count)
        else:
            taken = await resumption.append(live, part, offset, byte_count)
    finally:
        if live.ended.is_set():
            request[TRANSPORT] = get_dialect(request).language
    if taken is not None:
        request[RECORD] = taken.record
    return taken


async def _repeated(request: web.Request, dialect: Dialect, record: Record) -> web.Response:
    """Answer the last request again, for a client that has lost the answer. Raises MalformedRequest for any other."""
    if read_offset(request) != record.source_size or await Body(request, request.app[BODY_LIMITS]).read(1):
        raise UPLOAD_COMPLETED()
    return ended(request, dialect, Taken(record, is_replay=True))
