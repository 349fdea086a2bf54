"""Serves the front page, which tells people how to use the service."""

import html

from aiohttp import web

from service.web.addresses import base_url
from service.web.security_headers import CONTENT_SECURITY_POLICY, page_policy, style_hash

_STYLE = """
  body { font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; }
  pre { background: #8882; padding: 1rem; white-space: pre-wrap; overflow-wrap: anywhere; border-radius: .4rem; }
"""
_HEADERS = {CONTENT_SECURITY_POLICY: page_policy(img_src="'self'", style_src=style_hash(_STYLE))}
_FRONT_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>wavepress</title>
<link rel="icon" type="image/png" href="docs/favicon-32x32.png">
<style>%(style)s</style>
<h1>wavepress</h1>
<p>Send a WAV, get an MP3 back: encoded while it arrives, ready when its last byte does.</p>
<pre>%(curl)s</pre>
<p><a href="docs">The whole API</a>, to read and to try.</p>
</html>
"""


def curl_lines(url: str, wav: str = "talk.wav") -> str:
    """Return the three lines that make a user, upload a WAV and download the MP3."""
    return (
        f'TOKEN=$(curl -fsS {url}/users -d username=ann | sed \'s/.*"token": "\\([^"]*\\)".*/\\1/\')\n'
        f'URL=$(curl -fsST {wav} -H "Authorization: Bearer $TOKEN" -H "Accept: text/plain" {url}/records/)\n'
        f'curl -fsSo talk.mp3 "$URL" && ls -l talk.mp3'
    )


async def front_page(request: web.Request) -> web.Response:
    """GET /: what this is and how to use it."""
    text = _FRONT_PAGE % {"style": _STYLE, "curl": html.escape(curl_lines(base_url(request)), quote=False)}
    return web.Response(text=text, content_type="text/html", headers=_HEADERS)
