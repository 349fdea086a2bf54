"""Gives each request an id, one log line and its metrics."""

import re
from uuid import uuid4

import structlog
from aiohttp import hdrs, web
from aiohttp.abc import AbstractAccessLogger

from service import metrics
from service.errors import ClientGone
from service.ids import shortened
from service.web.addresses import client_address
from service.web.app_keys import DOWNLOAD, NO_ROUTE, OUTCOME, RECORD, REQUEST_ID, SENT_BYTES, TRANSPORT, USER

log = structlog.stdlib.get_logger()

REQUEST_ID_HEADER = "X-Request-Id"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_LONGEST_PATH = 100
_QUIET_ROUTES = {"/health", "/health/live", "/health/ready", "/metrics"}
_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}


def request_id(request: web.BaseRequest) -> str:
    """Return the id that the client or a proxy gave the request, else a new one. Each call returns the same id."""
    if REQUEST_ID not in request:
        given = request.headers.get(REQUEST_ID_HEADER, "")
        request[REQUEST_ID] = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
    return request[REQUEST_ID]


class RequestLog(AbstractAccessLogger):
    """Logs and counts each request when its answer has been sent, by the route's pattern.

    Ids in the path are shortened, because a download's id is a permission. The query, which may hold a token, is not
    logged.
    """

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Log and count a request that was answered in `time` seconds."""
        route, sent_bytes = _route(request), _body_size(request, response)
        _measure(request, response, route, sent_bytes)
        if route in _QUIET_ROUTES and response.status < 500:  # noqa: PLR2004 - server errors
            return
        log.info(
            "request",
            method=request.method,
            route=route,
            path=_shown_path(request),
            status=response.status,
            seconds=round(time, 4),
            outcome=request.get(OUTCOME, "ok"),
            **({"user_id": request[USER].id} if USER in request else {}),
            bytes_in=request.content.total_bytes,
            bytes_out=sent_bytes,
            **_figures(request),
            remote=client_address(request),
            request_id=request_id(request),
        )


async def send_request_id(request: web.Request, response: web.StreamResponse) -> None:
    """Add the request's id to an answer. This is a handler of the signal on_response_prepare."""
    response.headers[REQUEST_ID_HEADER] = request_id(request)


def _route(request: web.BaseRequest) -> str:
    """Return the pattern of the request's route, without a slash at its end; a request that is not HTTP has none."""
    if NO_ROUTE in request or not isinstance(request, web.Request):
        return "none"
    resource = request.match_info.route.resource
    return resource.canonical.rstrip("/") or "/" if resource is not None else "none"


def _shown_path(request: web.BaseRequest) -> str:
    """Return the path as a person reads it, without whole ids and without anything that moves a terminal's cursor."""
    path = request.path
    if not path.isprintable():
        path = "".join(character if character.isprintable() else "?" for character in path)
    shown = shortened(path)  # before it is cut, because most of an id is as good as the whole
    return shown if len(shown) <= _LONGEST_PATH else f"{shown[:_LONGEST_PATH]}…"


def _figures(request: web.BaseRequest) -> dict[str, float]:
    """Return how much sound an upload brought, and how large its MP3 is."""
    if RECORD not in request:
        return {}
    return {"sound_seconds": request[RECORD].duration, "mp3_bytes": request[RECORD].size}


def _measure(request: web.BaseRequest, response: web.StreamResponse, route: str, sent_bytes: int) -> None:
    method = request.method if request.method in _METHODS else "other"
    metrics.REQUESTS.labels(method, route, response.status).inc()
    metrics.RECEIVED_BYTES.inc(request.content.total_bytes)
    metrics.SENT_BYTES.inc(sent_bytes)
    if TRANSPORT in request:
        metrics.UPLOADS.labels(request.get(OUTCOME, "created"), request[TRANSPORT]).inc()
    if DOWNLOAD in request:
        metrics.DOWNLOADS.labels(response.status).inc()


def _body_size(request: web.BaseRequest, response: web.StreamResponse) -> int:
    """Return how long the body was that has been sent. Of one that broke off, only what went out in pieces counts."""
    if SENT_BYTES in request:
        return request[SENT_BYTES]
    if request.method == hdrs.METH_HEAD or response.status == ClientGone.status:
        return 0
    # Not response.body_length: that counts the headers, and nothing of what sendfile sends.
    return response.content_length or 0
