"""Finds the user by the Bearer token of the Authorization header."""

from aiohttp import hdrs, web

from service.errors import NotAuthenticated
from service.models import User
from service.refusals import MISSING_TOKEN
from service.web.addresses import client_address
from service.web.app_keys import ADDRESS_LIMITS, TOKENS, USER


def bearer_token(request: web.Request) -> str | None:
    """Return the request's token, or None."""
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


async def authenticate(request: web.Request) -> User:
    """Return the user whose token the request has, which is looked up once; reads no byte of the body.

    Raises as `identify` does, and NotAuthenticated if there is no token.
    """
    return request[USER] if USER in request else await identify(request, require_token(request))


def require_token(request: web.Request) -> str:
    """Return the request's token. Raises NotAuthenticated if there is none."""
    token = bearer_token(request)
    if token is None:
        raise MISSING_TOKEN()
    return token


async def identify(request: web.Request, token: str) -> User:
    """Return the user whose token this is, and note it.

    Raises NotAuthenticated for a wrong token, TooManyRequests for one too many from this address, and Forbidden if
    the user is disabled.
    """
    try:
        user = await request.app[TOKENS].identify(token)
    except NotAuthenticated:
        count_failure(request)
        raise
    request[USER] = user
    return user


def count_failure(request: web.Request) -> None:
    """Count a wrong token, or a guess at one, against the client's address. Raises TooManyRequests."""
    request.app[ADDRESS_LIMITS].count_failure(client_address(request))
