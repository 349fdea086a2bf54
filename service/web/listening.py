"""Serves the MP3 of an upload that is under way, as it comes."""

import contextlib
from collections.abc import Mapping

from aiohttp import hdrs, web

from service.uploads.broadcast import Broadcast, BroadcastBrokenError
from service.web.byte_range import requested_range
from service.web.client_presence import is_lost
from service.web.sending import broken_off, send_piece


async def send_broadcast(request: web.Request, broadcast: Broadcast, headers: Mapping[str, str]) -> web.StreamResponse:
    """Answer with the MP3 from its beginning, or from now, and with what comes until its record is kept.

    An MP3 of a known size has it from the start, and ranges of it: one that has not come yet is waited for. If the
    upload fails, the connection breaks. Raises RangeNotSatisfiable and Unavailable.
    """
    with broadcast.listening():
        start, stop, response = await _begin(request, broadcast, headers)
        await response.prepare(request)
        if request.method == hdrs.METH_HEAD:
            return response
        try:
            async with contextlib.aclosing(broadcast.pieces(start, stop)) as pieces:
                async for piece in pieces:
                    if piece:
                        await send_piece(response, request, piece)
                    elif is_lost(request):
                        raise broken_off(request, "the listener has gone")
        except BroadcastBrokenError as error:
            raise broken_off(request, "the upload has failed") from error
    return response


async def _begin(
    request: web.Request, broadcast: Broadcast, headers: Mapping[str, str]
) -> tuple[int, int | None, web.StreamResponse]:
    """Return where to begin, where to end (None: at the MP3's end), and the response to send."""
    # nginx would keep sound back until it has some kilobytes.
    own = {**headers, hdrs.CACHE_CONTROL: "no-store", "X-Accel-Buffering": "no"}
    size = broadcast.expected_size
    joins_now = request.query.get("from", "").lower() == "now"
    if size is None or joins_now:  # aiohttp sends a body without a length in chunks
        start = await broadcast.newest_frame() if joins_now else 0
        return start, None, web.StreamResponse(headers={**own, hdrs.ACCEPT_RANGES: "none"})
    # If-Range names a version, and there is none yet.
    wanted = requested_range(request, size) if hdrs.IF_RANGE not in request.headers else None
    span = range(size) if wanted is None else wanted
    response = web.StreamResponse(status=200 if wanted is None else 206, headers={**own, hdrs.ACCEPT_RANGES: "bytes"})
    if wanted is not None:
        response.headers[hdrs.CONTENT_RANGE] = f"bytes {span.start}-{span.stop - 1}/{size}"
    response.content_length = len(span)
    return span.start, span.stop, response
