"""Finds the upload that a request names, or what has become of it."""

from http import HTTPStatus
from uuid import UUID

from aiohttp import web

from service.database.ended_uploads import find_ended_upload
from service.database.records import find_record
from service.errors import ServiceError
from service.models import Record, User
from service.refusals import DATABASE_UNAVAILABLE, NOT_RESUMABLE, UPLOAD_NOT_FOUND, refusal_of
from service.uploads.live import LiveUpload, require_owner
from service.web.app_keys import DATABASE, LIVE_UPLOAD, LIVE_UPLOADS


def upload_id(request: web.Request) -> UUID:
    """Return the id of the upload in the request's address."""
    return UUID(request.match_info["upload_id"])


def find_resumable(request: web.Request, user: User) -> LiveUpload | None:
    """Return the resumable upload that the request names, or None if it is not under way here.

    Raises NotFound if it is another user's, and MalformedRequest if it comes in one request.
    """
    live = request.app[LIVE_UPLOADS].find(upload_id(request))
    if live is None:
        return None
    if require_owner(live, user).resumable is None:
        raise NOT_RESUMABLE()
    request[LIVE_UPLOAD] = live
    return live


async def find_outcome(request: web.Request, user: User) -> Record:
    """Return the record that an ended upload has made. Raises its refusal if it has failed, and NotFound."""
    wanted = upload_id(request)
    record = await find_record(request.app[DATABASE], wanted)
    if record is not None and record.user_id == user.id:
        return record
    failed = await find_ended_upload(request.app[DATABASE], wanted, user.id)
    if failed is None:
        raise UPLOAD_NOT_FOUND()
    raise refusal_of(failed.code, failed.detail, failed.body_offset)


async def find_outcome_for_sender(request: web.Request, user: User) -> Record:
    """Do the same for a client that means to go on.

    If the upload failed for a reason of ours, NotFound makes it begin again. At 503 it would ask again and again.
    """
    try:
        return await find_outcome(request, user)
    except ServiceError as error:
        if error.status < HTTPStatus.INTERNAL_SERVER_ERROR or error.code == DATABASE_UNAVAILABLE.code:
            raise
        raise UPLOAD_NOT_FOUND() from None
