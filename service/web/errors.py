"""The one place where errors become answers."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

import structlog
from aiohttp import hdrs, web

from service import errors
from service.errors import ServiceError
from service.web.app_keys import ADMISSION, OUTCOME
from service.web.presentation import json_response
from service.web.request_log import request_id

log = structlog.stdlib.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_RETRY_SECONDS = "5"
_HINTS = {
    404: ("not_found", "There is nothing at this address."),
    405: (
        "method_not_allowed",
        "This address does not take that method; the Allow header lists those it takes.",
    ),
    413: ("too_large", "The body is larger than this address takes."),
    417: ("expectation_failed", "Only Expect: 100-continue is understood."),
}


@web.middleware
async def translate_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error with problem+json."""
    with structlog.contextvars.bound_contextvars(request_id=request_id(request)):
        try:
            response = await handler(request)
        except Exception as error:  # noqa: BLE001 - here, and nowhere else, every error has its answer
            response = _answer(request, error)
    is_read = request.content.is_eof() and request.content.exception() is None
    if not is_read or not request.app[ADMISSION].is_open:
        # What is left of the body is not for the next request to stumble over; and nobody should come back to a
        # service that is stopping.
        response.force_close()
    return response


def _answer(request: web.Request, error: Exception) -> web.Response:
    if isinstance(error, ConnectionError):
        error = errors.ClientGone("client_gone", "The client closed the connection.")
    if isinstance(error, ServiceError):
        request[OUTCOME] = error.code
        response = problem(error.status, error.code, error.title, error.detail, error.offset)
        if isinstance(error, errors.RangeNotSatisfiable):
            response.headers[hdrs.CONTENT_RANGE] = f"bytes */{error.facts['size']}"
        return response
    if isinstance(error, web.HTTPException):
        code, detail = _HINTS.get(error.status, ("bad_request", error.reason))
        request[OUTCOME] = code
        response = problem(error.status, code, HTTPStatus(error.status).phrase.capitalize(), detail)
        if hdrs.ALLOW in error.headers:
            response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
        return response
    request[OUTCOME] = "internal_error"
    log.error("bug", exc_info=error)
    detail = f"The service failed at this. Tell its operator the request id {request_id(request)}."
    return problem(500, "internal_error", "Internal error", detail)


def problem(status: int, code: str, title: str, detail: str, offset: int | None = None) -> web.Response:
    """Build an RFC 9457 answer."""
    document = {"type": "about:blank", "title": title, "status": status, "detail": detail, "code": code}
    if offset is not None:
        document["offset"] = offset
    response = json_response(document, status=status, content_type="application/problem+json")
    if status == HTTPStatus.UNAUTHORIZED:
        response.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    if status in {HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        response.headers[hdrs.RETRY_AFTER] = _RETRY_SECONDS
    if status == HTTPStatus.REQUEST_TIMEOUT:
        response.force_close()
    return response
