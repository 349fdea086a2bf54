"""Answers an upload with the record that it has become."""

from collections.abc import Mapping

from aiohttp import hdrs, web

from service.uploads.intake import Taken
from service.web.incoming_upload import upload_headers
from service.web.presentation import json_or_text, record_json, record_url


def created(request: web.Request, taken: Taken, more_headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer with the record as JSON or, for scripts, its address as text: 201, or 200 for an earlier one."""
    url = record_url(request, taken.record)
    headers = upload_headers(taken)
    headers.update({hdrs.LOCATION: url} | dict(more_headers or {}))
    status = 200 if taken.is_replay else 201
    return json_or_text(request, record_json(request, taken.record), f"{url}\n", status=status, headers=headers)
