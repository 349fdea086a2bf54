"""Routes for users."""

import json
from datetime import UTC
from urllib.parse import parse_qs
from uuid import UUID

from aiohttp import web

from service.database.users import LONGEST_USERNAME
from service.models import User
from service.refusals import INVALID_USERNAME, MALFORMED_JSON, TOO_LARGE
from service.web.addresses import client_address
from service.web.app_keys import BODY_LIMITS, LEASES, REGISTRATION, REMOVAL, TOKENS, USER
from service.web.auth import authenticate, bearer_token, require_token
from service.web.body import Body, check_headers
from service.web.multipart import read_fields
from service.web.presentation import json_or_text, json_response
from service.web.upload_body import is_form

_LARGEST_BODY = 16 * 1024


async def create_user(request: web.Request) -> web.Response:
    """POST /users: answer 201 with the new user's id and its token, which is shown only here; as text, the token."""
    user, token = await register(request)
    document = {"id": user.id, "username": user.username, "token": str(token)}
    return json_or_text(request, document, f"{token}\n", status=201)


async def get_me(request: web.Request) -> web.Response:
    """GET /users/me: who the token belongs to, and how much the user keeps."""
    user = await authenticate(request)
    limits = request.app[LEASES].limits
    return json_response(
        {
            "id": user.id,
            "username": user.username,
            "created_at": user.created_at.astimezone(UTC).isoformat(),
            "records": user.record_count,
            "bytes": user.byte_count,
            "max_records": limits.max_records,
            "max_bytes": limits.max_bytes,
        }
    )


async def renew_token(request: web.Request) -> web.Response:
    """POST /users/me/token: answer with a new token; the old one is dead when the new one is first used."""
    await authenticate(request)
    token = await request.app[TOKENS].renew(require_token(request))
    return json_or_text(request, {"token": str(token)}, f"{token}\n")


async def remove_me(request: web.Request) -> web.Response:
    """DELETE /users/me: the token and the links are dead at once; records and files go in the background."""
    user = await authenticate(request)
    await request.app[REMOVAL].delete_user(user.id)
    return web.Response(status=204)


async def register(request: web.Request) -> tuple[User, UUID]:
    """Create the user that the request asks for, and return it with its token.

    Raises Forbidden or NotAuthenticated, before the body, for who may not create users; and as `read_username` and
    `Registration.create` do.
    """
    registration, address = request.app[REGISTRATION], client_address(request)
    registration.check(bearer_token(request), address)
    user, token = await registration.create(await read_username(request), address)
    request[USER] = user
    return user, token


async def read_username(request: web.Request) -> str:
    """Return the username of the query, a form or a JSON body.

    Raises MalformedRequest for a broken body, TooLarge, and Unprocessable if it has no username.
    """
    if "username" in request.query:
        return request.query["username"]
    check_headers(request, request.app[BODY_LIMITS])
    username: object
    if is_form(request):
        username = (await read_fields(request)).get("username")
    else:
        body = await _read_small_body(request)
        is_urlencoded = request.content_type == "application/x-www-form-urlencoded"
        # curl -d declares JSON as a form, too.
        username = (
            _form_username(body) if is_urlencoded and not body.lstrip().startswith(b"{") else _json_username(body)
        )
    if not isinstance(username, str):
        raise INVALID_USERNAME(max_length=LONGEST_USERNAME)
    return username


def _form_username(body: bytes) -> object:
    return parse_qs(body.decode("utf-8", "replace")).get("username", [None])[0]


def _json_username(body: bytes) -> object:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MALFORMED_JSON() from error
    return document.get("username") if isinstance(document, dict) else None


async def _read_small_body(request: web.Request) -> bytes:
    content = b""
    async for piece in Body(request, request.app[BODY_LIMITS]).pieces():
        content += piece
        if len(content) > _LARGEST_BODY:
            raise TOO_LARGE(max_bytes=_LARGEST_BODY, offset=_LARGEST_BODY)
    return content
