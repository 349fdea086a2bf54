"""Serves the API's description: the OpenAPI document, and Swagger UI to read it and try it."""

import json
from http import HTTPStatus
from pathlib import Path

from aiohttp import hdrs, web

from service.accounts.registration import Mode
from service.refusals import NO_SUCH_ADDRESS
from service.web.addresses import base_url
from service.web.app_keys import REGISTRATION
from service.web.curl_lines import curl_lines
from service.web.openapi import build_document
from service.web.pieces import InPieces
from service.web.security_headers import CONTENT_SECURITY_POLICY, page_policy
from service.web.sending import send_asset

_FOLDER = Path(__file__).parents[1]
_ASSETS = {
    "favicon-32x32.png": "image/png",
    "start.js": "text/javascript; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
}
# Relative addresses, so that the page works behind a proxy that serves us below a path.
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>wavepress: API</title>
<link rel="icon" type="image/png" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
<div id="swagger-ui"></div>
<noscript>This page needs JavaScript; <a href="openapi.json">openapi.json</a> does not.</noscript>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</html>
"""
_HEADERS = {
    # Swagger UI has icons in its style sheet (data:), and shows images that an answer has (blob:). Its player loads
    # MP3s by their URL.
    CONTENT_SECURITY_POLICY: page_policy(
        script_src="'self'",
        style_src="'self'",
        img_src="'self' data: blob:",
        connect_src="'self'",
        media_src="'self'",
    )
}

_DOCUMENT = build_document()
_INFO = _DOCUMENT.pop("info")
# The document without its last brace: what depends on the request follows. All answers share it.
_OPEN_DOCUMENT = json.dumps(_DOCUMENT).encode().removesuffix(b"}")


def openapi_document(url: str, mode: Mode = "open") -> tuple[bytes, bytes]:
    """Return the OpenAPI document of a service that its clients call `url`, in two parts.

    `mode` is who may create users, for the lines in its description.
    """
    info = _INFO | {"description": _INFO["description"].replace("CURL_LINES", curl_lines(url, mode=mode))}
    return _OPEN_DOCUMENT, f', "info": {json.dumps(info)}, "servers": {json.dumps([{"url": url}])}}}\n'.encode()


async def openapi(request: web.Request) -> web.Response:
    """GET /openapi.json: the document, with the URL that the client called as its server."""
    document = openapi_document(base_url(request), request.app[REGISTRATION].policy.effective_mode)
    return web.Response(body=InPieces(*document), content_type="application/json")


async def swagger_ui(request: web.Request) -> web.Response:
    """GET /docs: Swagger UI, which loads nothing from elsewhere, by addresses relative to this one without a slash."""
    if request.path.endswith("/"):
        return web.Response(status=HTTPStatus.FOUND, headers={hdrs.LOCATION: "../docs"})
    return web.Response(text=_PAGE, content_type="text/html", headers=_HEADERS)


async def swagger_asset(request: web.Request) -> web.StreamResponse:
    """GET /docs/{asset}: one of the files that the page is made of."""
    return await _send(request, request.match_info["asset"])


async def favicon(request: web.Request) -> web.StreamResponse:
    """GET /favicon.ico: the icon, for browsers that ask without having read a page."""
    return await _send(request, "favicon-32x32.png")


async def _send(request: web.Request, asset: str) -> web.StreamResponse:
    content_type = _ASSETS.get(asset)
    if content_type is None:
        raise NO_SUCH_ADDRESS()
    headers = _HEADERS | {hdrs.CONTENT_TYPE: content_type, hdrs.CACHE_CONTROL: "public, max-age=3600"}
    return await send_asset(request, _FOLDER / "swagger_ui" / asset, headers)
