"""Serves the page of one recording, for anyone who has its link."""

from datetime import UTC
from uuid import UUID

from aiohttp import web

from service.durations import clock
from service.errors import NotFound
from service.models import Record
from service.names import stem
from service.refusals import RECORDING_GONE
from service.uploads.live import LiveUpload
from service.web.addresses import base_url
from service.web.app_keys import LIVE_UPLOADS
from service.web.html_page import root
from service.web.page_files import fill_template
from service.web.record_or_upload import record_or_upload
from service.web.routes.front_page import PAGE_HEADERS

_HEADERS = {**PAGE_HEADERS, "X-Robots-Tag": "noindex"}


async def listen_page(request: web.Request) -> web.StreamResponse:
    """GET /listen/{id}: the recording's title, date, length, waveform and player, also while it arrives."""
    live = request.app[LIVE_UPLOADS].find(UUID(request.match_info["record_id"]))
    if live is not None:
        return _page(request, live, live.progress.expected_duration)
    try:
        found = await record_or_upload(request)
    except NotFound as error:
        raise RECORDING_GONE() from error
    if isinstance(found, web.StreamResponse):
        return found
    return _page(request, found, found.duration if isinstance(found, Record) else found.progress.expected_duration)


def _page(request: web.Request, found: Record | LiveUpload, duration: float | None) -> web.Response:
    created = found.created_at.astimezone(UTC)
    length = "A recording" if duration is None else f"A recording of {clock(int(duration))}"
    page = fill_template(
        "listen",
        root=root(request),
        id=found.id,
        filename=found.filename,
        title=stem(found.filename),
        description=f"{length}, {created:%d %B %Y}",
        duration="" if duration is None else duration,
        created=created.isoformat(),
        live="1" if isinstance(found, LiveUpload) else "",
        url=f"{base_url(request)}/listen/{found.id}",
        mp3=f"{base_url(request)}/records/{found.id}.mp3",
    )
    return web.Response(text=page, content_type="text/html", headers=_HEADERS)
