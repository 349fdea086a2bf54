"""Serves the front page, the lines for a terminal, and the sample that they name."""

from collections.abc import Mapping
from pathlib import Path

from aiohttp import hdrs, web

import service
from service.web.accept import PAGE, TEXT, preferred
from service.web.addresses import base_url
from service.web.app_keys import BODY_LIMITS, REGISTRATION, RESUME_SECONDS
from service.web.curl_lines import curl_lines
from service.web.html_page import root
from service.web.page_files import fill_template
from service.web.presentation import text_response
from service.web.security_headers import CONTENT_SECURITY_POLICY, page_policy
from service.web.sending import send_asset

_SAMPLE = Path(service.__file__).parent / "examples" / "talk.wav"
_SAMPLE_HEADERS: Mapping[str, str] = {hdrs.CONTENT_TYPE: "audio/wav", hdrs.CACHE_CONTROL: "public, max-age=3600"}
# wavesurfer puts this style into its shadow tree. A test in a browser fails if another version has another one.
_STYLE_OF_WAVESURFER = "'sha256-fF0LBso7Nz75zaFRDBUefBDvPe19hjaiDnnc8lt+2Js='"
PAGE_HEADERS: Mapping[str, str] = {
    CONTENT_SECURITY_POLICY: page_policy(
        script_src="'self'",
        style_src=f"'self' {_STYLE_OF_WAVESURFER}",
        connect_src="'self'",
        img_src="'self'",
        media_src="'self'",
    ),
    hdrs.CACHE_CONTROL: "no-cache",
}


async def front_page(request: web.Request) -> web.Response:
    """GET /: the page to record, send and listen, or the lines to do it from a terminal."""
    mode = request.app[REGISTRATION].policy.effective_mode
    url = base_url(request)
    lines = curl_lines(url, mode=mode)
    if preferred(request, TEXT, PAGE) is TEXT:
        return text_response(f"{lines}\n")
    page = fill_template(
        "index",
        root=root(request),
        url=url,
        lines=lines,
        registration=mode,
        max_bytes=request.app[BODY_LIMITS].max_upload_bytes,
        resume_seconds=int(request.app[RESUME_SECONDS]),
    )
    return web.Response(text=page, content_type="text/html", headers=PAGE_HEADERS)


async def sample(request: web.Request) -> web.StreamResponse:
    """GET /examples/talk.wav: a WAV to try the service with."""
    return await send_asset(request, _SAMPLE, _SAMPLE_HEADERS)
