"""Tells browsers which pages of other origins may use the API, and answers the preflights with which they ask."""

from aiohttp import hdrs, web

from service.refusals import ORIGIN_NOT_ALLOWED
from service.web.app_keys import CAPABILITIES, PAGE_ORIGINS

# Chromium remembers an answer for two hours at most; a changed setting holds everywhere after that time.
_MAX_AGE_SECONDS = "7200"
_EVERY_ORIGIN = "*"
_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
_CONDITIONS = "Range, If-Range, If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since"
# The star allows what a page's libraries add by themselves (tracing, X-Requested-With). It never stands for
# Authorization, and browsers of before 2020 do not know it.
_REQUEST_HEADERS = (
    f"Authorization, Content-Type, Content-Disposition, Content-Digest, Repr-Digest, Idempotency-Key, {_CONDITIONS}, "
    "Tus-Resumable, Upload-Length, Upload-Offset, Upload-Metadata, Upload-Defer-Length, Upload-Checksum, "
    "Upload-Concat, Upload-Complete, Upload-Draft-Interop-Version, X-HTTP-Method-Override, X-Request-Id, "
    "X-Requested-With, *"
)
_RESPONSE_HEADERS = (
    "Accept-Ranges, Allow, Content-Digest, Content-Disposition, Content-Location, Content-Range, ETag, "
    "Idempotency-Replayed, Link, Location, Repr-Digest, Retry-After, Tus-Checksum-Algorithm, Tus-Extension, "
    "Tus-Max-Size, Tus-Resumable, Tus-Version, Upload-Complete, Upload-Concat, Upload-Defer-Length, "
    "Upload-Draft-Interop-Version, Upload-Expires, Upload-Length, Upload-Limit, Upload-Metadata, Upload-Offset, "
    "Wavepress-Warning, WWW-Authenticate, X-Request-Id"
)


def is_preflight(request: web.Request) -> bool:
    """Return whether a browser asks here what a page of another origin may send."""
    return (
        request.method == hdrs.METH_OPTIONS
        and hdrs.ORIGIN in request.headers
        and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
    )


async def answer_preflight(request: web.Request) -> web.Response:
    """Return what the page may send. Raises Forbidden for an origin that may send nothing.

    Neither the token nor the Host header matters here: what a page sends is still refused, and the page may read why.
    """
    if _allowed_origin(request) is not None:
        methods, headers = _METHODS, _REQUEST_HEADERS
    elif await _asks_for_capability(request):
        methods, headers = "GET, HEAD", _CONDITIONS
    else:
        raise ORIGIN_NOT_ALLOWED()
    response = web.Response(status=204)
    response.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = methods
    response.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = headers
    response.headers[hdrs.ACCESS_CONTROL_MAX_AGE] = _MAX_AGE_SECONDS
    _share(request, response, with_everybody=methods != _METHODS)
    return response


async def share_with_pages(request: web.Request, response: web.StreamResponse) -> None:
    """Let pages read the response, also a refusal, if they may. This is a handler of on_response_prepare.

    Nothing allows credentials: there are no cookies, and a page that has a token sends it itself.
    """
    if hdrs.ACCESS_CONTROL_ALLOW_METHODS in response.headers:
        return  # a preflight's answer says all of it
    is_capability = request.match_info.handler in request.app[CAPABILITIES]
    _share(request, response, with_everybody=is_capability)
    if is_capability:
        # For pages that isolate themselves (COEP), which else could not even play it.
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    if hdrs.ACCESS_CONTROL_ALLOW_ORIGIN in response.headers:
        response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _RESPONSE_HEADERS


def _share(request: web.Request, response: web.StreamResponse, *, with_everybody: bool) -> None:
    allowed = _EVERY_ORIGIN if with_everybody else _allowed_origin(request)
    if allowed is not None:
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = allowed
    if allowed != _EVERY_ORIGIN and request.app[PAGE_ORIGINS]:
        response.headers.add(hdrs.VARY, hdrs.ORIGIN)  # also without an Origin: a cache must not give this to a page


def _allowed_origin(request: web.Request) -> str | None:
    """Return what Access-Control-Allow-Origin says about the request's origin in the API, or None for nothing."""
    origins = request.app[PAGE_ORIGINS]
    if _EVERY_ORIGIN in origins:
        return _EVERY_ORIGIN
    origin = request.headers.get(hdrs.ORIGIN)
    return origin if origin in origins else None


async def _asks_for_capability(request: web.Request) -> bool:
    asked = request.clone(method=request.headers[hdrs.ACCESS_CONTROL_REQUEST_METHOD])
    return (await request.app.router.resolve(asked)).handler in request.app[CAPABILITIES]
