"""The one place where errors become answers."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

import structlog
from aiohttp import hdrs, web

from service.errors import MethodNotAllowed, RangeNotSatisfiable, ServiceError
from service.refusals import (
    CLIENT_GONE,
    INCONSISTENT_LENGTH,
    INTERNAL_ERROR,
    MISMATCHING_OFFSET,
    NO_SUCH_ADDRESS,
    UPLOAD_COMPLETED,
)
from service.web.accept import JSON, PAGE, TEXT, preferred
from service.web.app_keys import ADMISSION, ANSWER_BEGUN, OUTCOME
from service.web.body import check_expectation
from service.web.client_presence import cut
from service.web.cors import answer_preflight, is_preflight
from service.web.hosts import require_known_host
from service.web.html_page import refusal_page
from service.web.presentation import json_response, text_response
from service.web.request_log import request_id

log = structlog.stdlib.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# The types that the IETF's draft "Resumable Uploads for HTTP" registers.
_TYPES = {
    code: f"https://iana.org/assignments/http-problem-types#{code.replace('_', '-')}"
    for code in (MISMATCHING_OFFSET.code, INCONSISTENT_LENGTH.code, UPLOAD_COMPLETED.code)
}
_RETRY_SECONDS = "5"
_HEADERS: Mapping[int, Mapping[str, str]] = {
    HTTPStatus.UNAUTHORIZED: {hdrs.WWW_AUTHENTICATE: "Bearer"},
    HTTPStatus.CONFLICT: {hdrs.RETRY_AFTER: _RETRY_SECONDS},
    HTTPStatus.TOO_MANY_REQUESTS: {hdrs.RETRY_AFTER: _RETRY_SECONDS},
    HTTPStatus.SERVICE_UNAVAILABLE: {hdrs.RETRY_AFTER: _RETRY_SECONDS},
}


@web.middleware
async def translate_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error: with problem+json, or with its sentence or a page for who prefers that."""
    with structlog.contextvars.bound_contextvars(request_id=request_id(request)):
        try:
            response = await (answer_preflight(request) if is_preflight(request) else _answer(request, handler))
        except Exception as error:  # noqa: BLE001 - here, and nowhere else, every error has its answer
            response = _refused(request, _refusal(request, error))
            if ANSWER_BEGUN in request:
                cut(request)  # else the client would take this answer for the rest of the body that it reads
    is_read = request.content.is_eof() and request.content.exception() is None
    if not is_read or not request.app[ADMISSION].is_open:
        # The rest of the body must not be read as the next request, and no client should come back to a service
        # that is stopping.
        response.force_close()
    return response


async def note_answer(request: web.Request, _response: web.StreamResponse) -> None:
    """Note that the answer begins. This is a handler of on_response_prepare."""
    request[ANSWER_BEGUN] = True


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    require_known_host(request)
    check_expectation(request)
    return await handler(request)


def _refusal(request: web.Request, error: Exception) -> ServiceError:
    """Return what to tell the client, and note it for the log. An unknown error is a bug."""
    if isinstance(error, ConnectionError):
        refusal: ServiceError = CLIENT_GONE()
    elif isinstance(error, web.HTTPNotFound):  # aiohttp's own, for a target that is not a path: OPTIONS *
        refusal = NO_SUCH_ADDRESS()
    elif isinstance(error, ServiceError):
        refusal = error
    else:
        log.error("bug", exc_info=error)
        refusal = INTERNAL_ERROR(request_id=request_id(request))
    request[OUTCOME] = refusal.code
    return refusal


def _refused(request: web.Request, error: ServiceError) -> web.Response:
    """Answer with what the client prefers. Only who reads an address may prefer a page: forms of programs do not."""
    is_reader = request.method in {hdrs.METH_GET, hdrs.METH_HEAD}
    form = preferred(request, JSON, TEXT, PAGE) if is_reader else preferred(request, JSON, TEXT)
    answer = problem(error)
    if form is JSON:
        return answer
    headers = {name: value for name, value in answer.headers.items() if name != hdrs.CONTENT_TYPE}
    if form is TEXT:
        other = text_response(f"{error.detail}\n", status=error.status, headers=headers)
    else:
        other = refusal_page(request, error.title, error.detail, status=error.status, headers=headers)
    if answer.keep_alive is False:
        other.force_close()
    return other


def problem(error: ServiceError) -> web.Response:
    """Build the RFC 9457 answer to a request that is refused."""
    headers = dict(_HEADERS.get(error.status, {}))
    if isinstance(error, MethodNotAllowed):
        headers[hdrs.ALLOW] = str(error.facts["allowed"])
    if isinstance(error, RangeNotSatisfiable):
        headers[hdrs.CONTENT_RANGE] = f"bytes */{error.facts['size']}"
    if "retry_after_seconds" in error.facts:
        headers[hdrs.RETRY_AFTER] = str(error.facts["retry_after_seconds"])
    response = json_response(
        problem_document(error), status=error.status, headers=headers, content_type="application/problem+json"
    )
    if error.status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.LENGTH_REQUIRED}:
        response.force_close()  # what may follow is not a request
    return response


def problem_document(error: ServiceError) -> dict[str, object]:
    """Return the body of that answer."""
    document: dict[str, object] = {
        "type": _TYPES.get(error.code, "about:blank"),
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
    }
    if error.code == MISMATCHING_OFFSET.code:  # the members that the draft gives its type
        document |= {f"{name}-offset": error.facts[name] for name in ("expected", "provided")}
    return document if error.offset is None else document | {"offset": error.offset}
