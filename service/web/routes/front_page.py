"""Serves the front page, which tells people how to use the service, and the sample that it names."""

import html
from collections.abc import Mapping
from pathlib import Path

from aiohttp import hdrs, web

import service
from service.web.addresses import base_url
from service.web.app_keys import REGISTRATION
from service.web.curl_lines import curl_lines
from service.web.html_page import html_page
from service.web.sending import send_asset

_SAMPLE = Path(service.__file__).parent / "examples" / "talk.wav"
_SAMPLE_HEADERS: Mapping[str, str] = {hdrs.CONTENT_TYPE: "audio/wav", hdrs.CACHE_CONTROL: "public, max-age=3600"}
_BODY = """<h1>wavepress</h1>
<p>Send a WAV, get an MP3 back: encoded while it arrives, ready when its last byte does.</p>
<pre>%s</pre>
<p><a href="docs">The whole API</a>, to read and to try.</p>"""


async def front_page(request: web.Request) -> web.Response:
    """GET /: what this is and how to use it."""
    lines = curl_lines(base_url(request), mode=request.app[REGISTRATION].policy.effective_mode)
    return html_page(request, "wavepress", _BODY % html.escape(lines, quote=False))


async def sample(request: web.Request) -> web.StreamResponse:
    """GET /examples/talk.wav: a WAV to try the service with."""
    return await send_asset(request, _SAMPLE, _SAMPLE_HEADERS)
