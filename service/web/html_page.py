"""Builds small pages for people, which need no files but the icon."""

import html
from collections.abc import Mapping

from aiohttp import hdrs, web

from service.web.security_headers import CONTENT_SECURITY_POLICY, page_policy, style_hash

_STYLE = """
  body { font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; }
  pre { background: #8882; padding: 1rem; white-space: pre-wrap; overflow-wrap: anywhere; border-radius: .4rem; }
"""
_HEADERS = {CONTENT_SECURITY_POLICY: page_policy(img_src="'self'", style_src=style_hash(_STYLE))}
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>%(title)s</title>
<link rel="icon" type="image/png" href="%(root)sdocs/favicon-32x32.png">
<style>%(style)s</style>
%(body)s
</html>
"""


def html_page(
    request: web.Request, title: str, body: str, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return a page with this title, and with this HTML as its body."""
    values = {"title": html.escape(title), "root": root(request), "style": _STYLE, "body": body}
    return web.Response(
        status=status, text=_PAGE % values, content_type="text/html", headers={**_HEADERS, **(headers or {})}
    )


def refusal_page(
    request: web.Request, title: str, sentence: str, *, status: int, headers: Mapping[str, str]
) -> web.Response:
    """Return a page that says what is wrong, and where to go on."""
    body = (
        f"<h1>{html.escape(title)}</h1>\n<p>{html.escape(sentence)}</p>\n"
        f'<p><a href="{root(request)}">The first page</a>, <a href="{root(request)}docs">the whole API</a>.</p>'
    )
    return html_page(request, title, body, status=status, headers={**headers, hdrs.CACHE_CONTROL: "no-store"})


def root(request: web.Request) -> str:
    """Return the address of the first page, seen from the request's: a proxy may serve us below a path."""
    return "../" * (request.rel_url.raw_path.count("/") - 1) or "./"
