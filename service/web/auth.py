"""Finds the user by the Bearer token of the Authorization header."""

from aiohttp import hdrs, web

from service.database.users import find_user_by_token
from service.models import User
from service.refusals import MISSING_TOKEN, UNKNOWN_TOKEN
from service.web.app_keys import DATABASE, USER_ID


def bearer_token(request: web.Request) -> str | None:
    """Return the request's token, or None."""
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


async def authenticate(request: web.Request) -> User:
    """Return the user whose token the request has; reads no byte of the body. Raises NotAuthenticated."""
    token = bearer_token(request)
    if token is None:
        raise MISSING_TOKEN()
    user = await find_user_by_token(request.app[DATABASE], token)
    if user is None:
        raise UNKNOWN_TOKEN()
    request[USER_ID] = user.id
    return user
