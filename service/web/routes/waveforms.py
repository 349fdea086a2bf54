"""Routes for waveforms: data for players, and a picture for pages, mails and wikis."""

import hashlib
import re

from aiohttp import hdrs, web

from service.database.records import find_peaks
from service.models import Record
from service.names import stem
from service.refusals import INVALID_COLOR, INVALID_PICTURE_SIZE, NO_WAVEFORM
from service.uploads.live import LiveUpload
from service.web.app_keys import DATABASE
from service.web.record_or_upload import record_or_upload
from service.web.routes.downloads import kept_for
from service.web.waveform_picture import Style, peaks_json, waveform_svg

_COLOR = re.compile(r"#[0-9a-fA-F]{3,4}|#[0-9a-fA-F]{6}|#[0-9a-fA-F]{8}|[a-zA-Z]{3,20}")
_WIDTH, _HEIGHT, _LARGEST = 800, 100, 4000
# It has enough contrast on white and on black.
_DEFAULT_COLOR = "#4b7bec"


async def get_peaks_json(request: web.Request) -> web.StreamResponse:
    """GET /records/{id}/peaks.json: the waveform for players such as wavesurfer.js and Peaks.js."""
    found = await record_or_upload(request)
    if isinstance(found, web.StreamResponse):
        return found
    return _answer(request, found, peaks_json(await _peaks(request, found)), "application/json")


async def get_peaks_dat(request: web.Request) -> web.StreamResponse:
    """GET /records/{id}/peaks.dat: the same as an audiowaveform data file."""
    found = await record_or_upload(request)
    if isinstance(found, web.StreamResponse):
        return found
    return _answer(request, found, await _peaks(request, found), "application/octet-stream")


async def get_waveform_svg(request: web.Request) -> web.StreamResponse:
    """GET /records/{id}/waveform.svg: a picture of it."""
    style = Style(
        _pixels(request, "width", _WIDTH),
        _pixels(request, "height", _HEIGHT),
        _color(request, "color") or _DEFAULT_COLOR,
        _color(request, "background"),
    )
    found = await record_or_upload(request)
    if isinstance(found, web.StreamResponse):
        return found
    picture = waveform_svg(await _peaks(request, found), stem(found.filename), style)
    return _answer(request, found, picture, "image/svg+xml")


async def _peaks(request: web.Request, found: Record | LiveUpload) -> bytes:
    """Return the waveform as a data file: so far, if the upload is under way. Raises NotFound."""
    if isinstance(found, LiveUpload):
        peaks = found.progress.waveform()
    else:
        peaks = await find_peaks(request.app[DATABASE], found.id)
    if peaks is None:
        raise NO_WAVEFORM()
    return peaks


def _answer(request: web.Request, found: Record | LiveUpload, content: bytes, content_type: str) -> web.Response:
    headers = {hdrs.CACHE_CONTROL: "no-store"}
    if isinstance(found, Record):
        version = hashlib.sha256(content).hexdigest()
        headers = {hdrs.ETAG: f'"{version}"', hdrs.CACHE_CONTROL: kept_for(found)}
        if request.if_none_match and any(etag.value in {"*", version} for etag in request.if_none_match):
            return web.Response(status=304, headers=headers)
    return web.Response(body=content, content_type=content_type, headers=headers)


def _pixels(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not re.fullmatch("[1-9][0-9]{0,3}", text) or int(text) > _LARGEST:
        raise INVALID_PICTURE_SIZE(name=name, most=_LARGEST)
    return int(text)


def _color(request: web.Request, name: str) -> str | None:
    text = request.query.get(name)
    if text is not None and not _COLOR.fullmatch(text):
        raise INVALID_COLOR(name=name)
    return text
