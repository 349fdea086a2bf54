"""Adds the headers that tell a browser what it must not do with a response."""

import base64
import hashlib
from collections.abc import Mapping

from aiohttp import hdrs, web

CONTENT_SECURITY_POLICY = "Content-Security-Policy"
_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
# A sandboxed address has no origin, so even a file that a browser took for a page could not read anything of ours. With
# a stricter policy, Chromium would not play an MP3 whose address is opened.
_SANDBOXED = "sandbox"
_SANDBOXED_TYPES = {"audio/mpeg", "audio/wav", "image/svg+xml"}
_KEPT_BY_NOBODY = {"application/json", "application/problem+json", "text/plain"}
_DEFAULTS: Mapping[str, str] = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


def page_policy(**sources: str) -> str:
    """Return the Content-Security-Policy of a page that may load from these sources, such as script_src="'self'"."""
    directives = [f"{name.replace('_', '-')} {source}" for name, source in sources.items()]
    return "; ".join([_NOTHING, *directives])


def style_hash(style: str) -> str:
    """Return the source that allows only this style in a page."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'"


async def secure_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Do as `add_secure_headers` does. This is a handler of on_response_prepare."""
    add_secure_headers(response)


def add_secure_headers(response: web.StreamResponse) -> None:
    """Add what the response does not set itself, and remove Server."""
    response.headers.popall(hdrs.SERVER, None)
    for name, value in _DEFAULTS.items():
        response.headers.setdefault(name, value)
    policy = _SANDBOXED if response.content_type in _SANDBOXED_TYPES else _NOTHING
    response.headers.setdefault(CONTENT_SECURITY_POLICY, policy)
    if response.content_type in _KEPT_BY_NOBODY:
        response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
