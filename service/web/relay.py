"""Passes a request on to the process that holds its upload."""

import asyncio
import functools
import json
from collections.abc import Awaitable, Callable

import aiohttp
import structlog
from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy

from service.database.leases import find_whereabouts, select_holders
from service.errors import ServiceError
from service.models import User
from service.refusals import UPLOAD_ELSEWHERE, UPLOAD_LOST
from service.relay_socket import unix_path
from service.web.addresses import client_scheme
from service.web.app_keys import BODY_LIMITS, DATABASE, LIVE_UPLOADS, RELAY_ADDRESS
from service.web.auth import authenticate
from service.web.body import Body
from service.web.client_presence import is_lost
from service.web.sending import broken_off, send_piece
from service.web.upload_outcome import upload_id

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = structlog.stdlib.get_logger()

# A request with this header has been passed on, and is not passed on again.
_RELAYED = "Wavepress-Relayed"
_CONNECT_SECONDS = 5.0
_LIST_SECONDS = 5.0
_PIECE_BYTES = 64 * 1024
# While nothing comes from that process, the client is looked for this often.
_LOOK_SECONDS = 1.0
# RFC 9110 7.6.1: these are about one connection. The service itself sets Date and its own security headers.
_OF_ONE_CONNECTION = frozenset(
    name.lower()
    for name in (
        hdrs.CONNECTION,
        hdrs.KEEP_ALIVE,
        hdrs.TE,
        hdrs.TRAILER,
        hdrs.TRANSFER_ENCODING,
        hdrs.UPGRADE,
        hdrs.EXPECT,
        hdrs.DATE,
        hdrs.SERVER,
        "Proxy-Connection",
    )
)


def held_elsewhere(handler: Handler) -> Handler:
    """Make a handler that passes a request for an upload on, if another process of the service has it."""

    @functools.wraps(handler)
    async def passing_on(request: web.Request) -> web.StreamResponse:
        is_unknown = request.app[LIVE_UPLOADS].find(upload_id(request)) is None
        answer = None
        if is_unknown and _RELAYED not in request.headers:
            await authenticate(request)  # that process checks the token again
            holder, _ = await find_whereabouts(request.app[DATABASE], upload_id(request))
            answer = await answer_from(request, holder)
        return await handler(request) if answer is None else answer

    return passing_on


async def answer_from(request: web.Request, holder: str | None) -> web.StreamResponse | None:
    """Return the answer of the process at the address `holder`. If a token is needed, that process checks it.

    None: there is no such process, or it is this one, or the request has been passed on already. Raises NotFound and
    Unavailable.
    """
    if holder in {None, request.app[RELAY_ADDRESS]} or _RELAYED in request.headers:
        return None
    return await _pass_on(request, str(holder))


async def _pass_on(request: web.Request, holder: str) -> web.StreamResponse:
    """Pass the request on, and its answer back, both while they arrive.

    Raises NotFound if that process has ended, and Unavailable if it cannot be reached. If it ends amid the answer, the
    client's connection breaks.
    """
    async with _session(holder) as session:
        try:
            answer = await session.request(
                request.method,
                _url(holder, request),
                headers=_headers(request),
                data=Body(request, request.app[BODY_LIMITS]).pieces() if request.can_read_body else None,
                allow_redirects=False,
            )
        except (aiohttp.ClientConnectorError, FileNotFoundError) as error:
            raise UPLOAD_LOST() if _is_refused(error) else UPLOAD_ELSEWHERE() from error
        except (aiohttp.ClientError, TimeoutError) as error:
            if isinstance(error.__cause__, ServiceError):
                raise error.__cause__ from None
            raise UPLOAD_LOST() from error
        async with answer:
            return await _send_back(request, answer)


async def uploads_elsewhere(request: web.Request, user: User) -> list[dict[str, object]]:
    """Return the user's uploads that other processes hold, as they list them. One that does not answer is left out."""
    if _RELAYED in request.headers:
        return []
    holders = await select_holders(request.app[DATABASE], user.id) - {request.app[RELAY_ADDRESS]}
    lists = await asyncio.gather(*(_list_of(request, holder) for holder in holders))
    return [upload for one in lists for upload in one]


async def _list_of(request: web.Request, holder: str) -> list[dict[str, object]]:
    headers = _headers(request)
    headers[hdrs.ACCEPT] = "application/json"  # whatever the client gets in the end
    try:
        async with (
            asyncio.timeout(_LIST_SECONDS),
            _session(holder) as session,
            session.get(_url(holder, request), headers=headers) as answer,
        ):
            found: list[dict[str, object]] = json.loads(await answer.read())["uploads"]
            return found
    except (aiohttp.ClientError, OSError, ValueError, KeyError) as error:
        log.warning("relay_failed", reason=type(error).__name__)
        return []


def _session(holder: str) -> aiohttp.ClientSession:
    path = unix_path(holder)
    connector = aiohttp.UnixConnector(path) if path is not None else aiohttp.TCPConnector()
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
    return aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)


def _url(holder: str, request: web.Request) -> str:
    origin = "http://localhost" if unix_path(holder) is not None else holder
    return f"{origin}{request.raw_path}"


def _headers(request: web.Request) -> CIMultiDict[str]:
    headers = _of_the_message(request.headers)
    headers["X-Forwarded-Proto"] = client_scheme(request)
    headers[_RELAYED] = "1"
    return headers


def _of_the_message(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """Return those headers that are not about one connection."""
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in _OF_ONE_CONNECTION)


async def _send_back(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=_of_the_message(answer.headers))
    await response.prepare(request)
    try:
        while not answer.content.at_eof():
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    piece = await answer.content.read(_PIECE_BYTES)
            except TimeoutError:
                if is_lost(request):
                    raise broken_off(request, "the client has gone") from None
            else:
                await send_piece(response, request, piece)
    except aiohttp.ClientError as error:
        raise broken_off(request, "the process that holds the upload broke off") from error
    await response.write_eof()
    return response


def _is_refused(error: Exception) -> bool:
    """Return whether nobody listens at the address any more."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return isinstance(cause, ConnectionRefusedError | FileNotFoundError)
