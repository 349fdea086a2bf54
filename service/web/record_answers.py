"""Answers an upload with the record that it has become."""

from collections.abc import Mapping

from aiohttp import hdrs, web

from service.uploads.intake import Taken
from service.web.incoming_upload import replay_headers
from service.web.presentation import json_response, record_json, record_url


def created(request: web.Request, taken: Taken, more_headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer with the record as JSON or, for scripts, its address as text: 201, or 200 for an earlier one."""
    url = record_url(request, taken.record)
    status = 200 if taken.is_replay else 201
    headers = {hdrs.LOCATION: url} | replay_headers(taken) | dict(more_headers or {})
    if request.headers.get(hdrs.ACCEPT, "").partition(";")[0].strip().lower() == "text/plain":
        return web.Response(status=status, text=f"{url}\n", headers=headers)
    return json_response(record_json(request, taken.record), status=status, headers=headers)
