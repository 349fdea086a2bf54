"""The one place where errors become answers, and the one line that is logged for each request."""

import json
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from uuid import uuid4

import structlog
from aiohttp import hdrs, web

from service import errors
from service.errors import ServiceError
from service.web.keys import ADMISSION, USER_ID

log = structlog.stdlib.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_STATUSES: dict[type[ServiceError], int] = {
    errors.MalformedRequest: 400,
    errors.NotAuthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.ClientStalled: 408,
    errors.TooLarge: 413,
    errors.UnsupportedMedia: 415,
    errors.Unprocessable: 422,
    errors.ClientGone: 499,
    errors.Unavailable: 503,
    errors.StorageFull: 507,
}
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
    """Answer every error with problem+json, and log one line for each request."""
    started = time.monotonic()
    request_id = uuid4().hex
    with structlog.contextvars.bound_contextvars(request_id=request_id):
        code = None
        try:
            response = await handler(request)
        except ServiceError as error:
            code = error.code
            response = _problem(_STATUSES[type(error)], code, error.title, error.detail, error.offset)
        except web.HTTPException as error:
            code, detail = _HINTS.get(error.status, ("bad_request", error.reason))
            response = _problem(error.status, code, HTTPStatus(error.status).phrase, detail)
            response.headers.update({name: error.headers[name] for name in (hdrs.ALLOW,) if name in error.headers})
        except ConnectionError:
            code = "client_gone"
            response = _problem(499, code, errors.ClientGone.title, "The client closed the connection.")
        except Exception:
            code = "internal_error"
            log.exception("bug")
            detail = f"The service failed at this. Tell its operator the request id {request_id}."
            response = _problem(500, code, "Internal error", detail)
        if not request.content.is_eof() or not request.app[ADMISSION].is_open:
            # What is left of the body is not for the next request to stumble over; and nobody should come back
            # to a service that is stopping.
            response.force_close()
        _log(request, response, code, time.monotonic() - started)
        return response


def _problem(status: int, code: str, title: str, detail: str, offset: int | None = None) -> web.Response:
    """Build an RFC 9457 answer."""
    problem = {"type": "about:blank", "title": title, "status": status, "detail": detail, "code": code}
    if offset is not None:
        problem["offset"] = offset
    response = web.Response(
        status=status, body=f"{json.dumps(problem)}\n".encode(), content_type="application/problem+json"
    )
    if status == HTTPStatus.UNAUTHORIZED:
        response.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers[hdrs.RETRY_AFTER] = _RETRY_SECONDS
    if status == HTTPStatus.REQUEST_TIMEOUT:
        response.force_close()
    return response


def _log(request: web.Request, response: web.StreamResponse, code: str | None, seconds: float) -> None:
    """Log by the route's pattern: a download's path is a permission, and a query may hold a token."""
    resource = request.match_info.route.resource
    log.info(
        "request",
        method=request.method,
        route=resource.canonical if resource is not None else None,
        status=response.status,
        code=code,
        user_id=request.get(USER_ID),
        bytes_in=request.content.total_bytes,
        seconds=round(seconds, 4),
    )
