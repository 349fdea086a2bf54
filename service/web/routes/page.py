"""Serves the files that the web page is made of."""

from aiohttp import hdrs, web

from service.refusals import NO_SUCH_ADDRESS
from service.web.page_files import FILES, VERSION

_FOR_EVER = "public, max-age=31536000, immutable"


async def page_file(request: web.Request) -> web.Response:
    """GET /page/{version}/{file}: a file of the page, compressed if the client takes that."""
    file = FILES.get(request.match_info["file"])
    if file is None:
        raise NO_SUCH_ADDRESS()
    # While replicas are replaced, a page of one version may ask a replica of another. That answer is not to be kept.
    is_this_version = request.match_info["version"] == VERSION
    headers = {hdrs.CACHE_CONTROL: _FOR_EVER if is_this_version else "no-store", hdrs.VARY: hdrs.ACCEPT_ENCODING}
    if "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "").lower():
        headers[hdrs.CONTENT_ENCODING] = "gzip"
        return web.Response(body=file.compressed, content_type=file.content_type, charset="utf-8", headers=headers)
    return web.Response(body=file.body, content_type=file.content_type, charset="utf-8", headers=headers)
