"""The table of routes: which handler answers which method and path."""

import itertools
import re

from aiohttp import hdrs, web

from service.refusals import METHOD_NOT_ALLOWED, MP3_NOT_REPLACEABLE, NO_SUCH_ADDRESS, RECORD_NOT_FOUND
from service.web.app_keys import CAPABILITIES
from service.web.body import defer_continue
from service.web.routes import (
    docs,
    downloads,
    front_page,
    listen_page,
    older_apis,
    operations,
    page,
    records,
    uploads,
    users,
    waveforms,
)

_UUID = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_LIKE_MP3_ADDRESS = re.compile(r"/records/[^/]*\.mp3/?")
_MP3_ADDRESS = re.compile(rf"/records/{_UUID}\.mp3/?")

_ROUTES = [
    (hdrs.METH_GET, "/", front_page.front_page),
    (hdrs.METH_GET, "/page/{version:[0-9a-f]{16}}/{file:(?:vendor/)?[\\w.-]+}", page.page_file),
    (hdrs.METH_GET, f"/listen/{{record_id:{_UUID}}}", listen_page.listen_page),
    (hdrs.METH_GET, "/examples/talk.wav", front_page.sample),
    (hdrs.METH_GET, "/favicon.ico", docs.favicon),
    (hdrs.METH_GET, "/docs", docs.swagger_ui),
    (hdrs.METH_GET, "/docs/{asset}", docs.swagger_asset),
    (hdrs.METH_GET, "/openapi.json", docs.openapi),
    (hdrs.METH_GET, "/health", operations.ready),
    (hdrs.METH_GET, "/health/live", operations.live),
    (hdrs.METH_GET, "/health/ready", operations.ready),
    (hdrs.METH_POST, "/users", users.create_user),
    (hdrs.METH_GET, "/users/me", users.get_me),
    (hdrs.METH_DELETE, "/users/me", users.remove_me),
    (hdrs.METH_POST, "/users/me/token", users.renew_token),
    (hdrs.METH_GET, "/records", records.list_records),
    (hdrs.METH_POST, "/records", records.post_record),
    (hdrs.METH_PUT, "/records", records.put_record),
    (hdrs.METH_GET, f"/records/{{record_id:{_UUID}}}.mp3", downloads.download),
    (hdrs.METH_GET, f"/records/{{record_id:{_UUID}}}/peaks.json", waveforms.get_peaks_json),
    (hdrs.METH_GET, f"/records/{{record_id:{_UUID}}}/peaks.dat", waveforms.get_peaks_dat),
    (hdrs.METH_GET, f"/records/{{record_id:{_UUID}}}/waveform.svg", waveforms.get_waveform_svg),
    (hdrs.METH_DELETE, f"/records/{{record_id:{_UUID}}}.mp3", records.remove_record),
    (hdrs.METH_GET, f"/records/{{record_id:{_UUID}}}", records.get_record),
    (hdrs.METH_DELETE, f"/records/{{record_id:{_UUID}}}", records.remove_record),
    (hdrs.METH_PUT, f"/records/{{filename:(?!{_UUID}\\.mp3/?$)[^{{}}/]+}}", records.put_record),
    (hdrs.METH_GET, "/uploads", uploads.list_uploads),
    (hdrs.METH_POST, "/uploads", uploads.create_upload),
    (hdrs.METH_OPTIONS, "/uploads", uploads.describe_uploads),
    (hdrs.METH_GET, f"/uploads/{{upload_id:{_UUID}}}", uploads.look_at_upload),
    (hdrs.METH_HEAD, f"/uploads/{{upload_id:{_UUID}}}", uploads.ask_offset),
    (hdrs.METH_PATCH, f"/uploads/{{upload_id:{_UUID}}}", uploads.append_to_upload),
    (hdrs.METH_POST, f"/uploads/{{upload_id:{_UUID}}}", uploads.post_to_upload),
    (hdrs.METH_DELETE, f"/uploads/{{upload_id:{_UUID}}}", uploads.cancel_upload),
    (hdrs.METH_POST, "/user", older_apis.post_user_a),
    (hdrs.METH_POST, "/audiotrack", older_apis.post_audiotrack),
    (hdrs.METH_GET, "/audiotrack", older_apis.get_audiotrack),
    (hdrs.METH_POST, "/api_v1/users", users.create_user),
    (hdrs.METH_POST, "/api_v1/records", older_apis.post_record_b),
    (hdrs.METH_GET, "/api_v1/records", older_apis.get_record_b),
]

# Who has the address may read it. This also lets a browser play an address that is opened, in a sandbox without origin.
_CAPABILITIES = {
    *(front_page.sample, downloads.download, older_apis.get_audiotrack, older_apis.get_record_b),
    *(waveforms.get_peaks_json, waveforms.get_peaks_dat, waveforms.get_waveform_svg),
}


def add_routes(app: web.Application, *, with_metrics: bool) -> None:
    """Add every route, and after them one that refuses every other request without asking for its body.

    A slash at the end of an address never matters.
    """
    app[CAPABILITIES] = _CAPABILITIES
    metrics_route = (hdrs.METH_GET, "/metrics", operations.expose_metrics)
    routes = [*_ROUTES, metrics_route] if with_metrics else _ROUTES
    with_own_head = {path for method, path, _ in routes if method == hdrs.METH_HEAD}
    for method, path, handler in routes:
        is_for_head_too = method == hdrs.METH_GET and path not in with_own_head
        methods = [method, hdrs.METH_HEAD] if is_for_head_too else [method]
        for form, one in itertools.product(dict.fromkeys([path, f"{path.rstrip('/')}/"]), methods):
            app.router.add_route(one, form, handler, expect_handler=defer_continue)
    app.router.add_route(hdrs.METH_ANY, "/{anything:.*}", _refuse, expect_handler=defer_continue)


async def _refuse(request: web.Request) -> web.Response:
    """Answer 404 or 405. aiohttp would do so only after it has sent "100 Continue"."""
    own = request.match_info.route.resource
    allowed: set[str] = set()
    for resource in request.app.router.resources():
        if resource is not own:
            allowed |= (await resource.resolve(request))[1]
    if allowed and request.method == hdrs.METH_PUT and _MP3_ADDRESS.fullmatch(request.path):
        raise MP3_NOT_REPLACEABLE(allowed=", ".join(sorted(allowed)))
    if request.method in {hdrs.METH_GET, hdrs.METH_HEAD} and _LIKE_MP3_ADDRESS.fullmatch(request.path):
        raise RECORD_NOT_FOUND()  # a link that was cut
    if allowed:
        raise METHOD_NOT_ALLOWED(method=request.method, allowed=", ".join(sorted(allowed)))
    raise NO_SUCH_ADDRESS()
