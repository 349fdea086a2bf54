"""Serves the API's description: the OpenAPI document, and Swagger UI to read it and try it."""

import json
from pathlib import Path

from aiohttp import hdrs, web

from service.refusals import NO_SUCH_ADDRESS
from service.web.addresses import base_url
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

# The document without its last brace: its servers follow, which depend on the request. All answers share it.
_OPEN_DOCUMENT = json.dumps(build_document()).encode().removesuffix(b"}")


def openapi_document(url: str) -> tuple[bytes, bytes]:
    """Return the OpenAPI document of a service that its clients call `url`, in two parts."""
    return _OPEN_DOCUMENT, b', "servers": %s}\n' % json.dumps([{"url": url}]).encode()


async def openapi(request: web.Request) -> web.Response:
    """GET /openapi.json: the document, with the URL that the client called as its server."""
    return web.Response(body=InPieces(*openapi_document(base_url(request))), content_type="application/json")


async def swagger_ui(_request: web.Request) -> web.Response:
    """GET /docs: Swagger UI, which loads nothing from elsewhere."""
    return web.Response(text=_PAGE, content_type="text/html", headers=_HEADERS)


async def swagger_asset(request: web.Request) -> web.StreamResponse:
    """GET /docs/{asset}: one of the files that the page is made of."""
    content_type = _ASSETS.get(request.match_info["asset"])
    if content_type is None:
        raise NO_SUCH_ADDRESS()
    headers = _HEADERS | {hdrs.CONTENT_TYPE: content_type, hdrs.CACHE_CONTROL: "public, max-age=3600"}
    path = _FOLDER / "swagger_ui" / request.match_info["asset"]
    return await send_asset(request, path, headers)
