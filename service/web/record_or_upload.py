"""Finds what a capability address is about: a record, or an upload that is under way in this process or another one."""

from uuid import UUID

from aiohttp import web

from service.database.leases import find_whereabouts
from service.database.records import find_record
from service.models import Record
from service.refusals import RECORD_NOT_FOUND
from service.uploads.live import LiveUpload
from service.web.app_keys import DATABASE, LIVE_UPLOADS
from service.web.relay import answer_from


async def record_or_upload(request: web.Request) -> Record | LiveUpload | web.StreamResponse:
    """Return the record of the address, or its upload from the moment that the WAV's header has been read.

    If another process has the upload, return the answer of that process. Raises NotFound and Unavailable.
    """
    record_id = UUID(request.match_info["record_id"])
    live = request.app[LIVE_UPLOADS].find(record_id)
    if live is not None and live.broadcast.is_open:
        return live
    record = await find_record(request.app[DATABASE], record_id)
    if record is not None:
        return record
    holder, has_record = await find_whereabouts(request.app[DATABASE], record_id)
    answer = await answer_from(request, holder)
    if answer is not None:
        return answer
    record = await find_record(request.app[DATABASE], record_id) if has_record else None
    if record is None:
        raise RECORD_NOT_FOUND()
    return record  # its upload has ended just now
