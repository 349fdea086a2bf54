"""The routes of the two systems that wavepress replaces: their clients work unchanged.

System A: /user and /audiotrack. System B: /api_v1/users/ and /api_v1/records/.
"""

from dataclasses import replace
from uuid import UUID

from aiohttp import web

from service.database.records import find_record
from service.database.users import find_user, find_user_by_token, insert_user
from service.errors import Forbidden, MalformedRequest, NotFound, Unprocessable, UnsupportedMedia
from service.models import User
from service.web.app_keys import DATABASE, USER_ID
from service.web.auth import authenticate, bearer_token
from service.web.presentation import base_url, json_response
from service.web.routes.downloads import mp3_response, no_such_record
from service.web.routes.users import read_username
from service.web.upload_body import UNTOLD_TYPES, WAV_TYPES, UploadBody, open_multipart
from service.web.upload_request import replay_headers, shed_load, take_upload


async def post_user_a(request: web.Request) -> web.Response:
    """POST /user: 200 with the id and the access token."""
    user, token = await insert_user(request.app[DATABASE], await read_username(request))
    return json_response({"id": user.id, "access_token": str(token)})


async def post_audiotrack(request: web.Request) -> web.Response:
    """POST /audiotrack: the fields `user_id` and `file` in either order, the token as Bearer."""
    shed_load(request)
    if bearer_token(request) is None:
        raise Forbidden("missing_token", "Send your token in the header: Authorization: Bearer <token>.")
    user = await authenticate(request)

    async def open_body() -> UploadBody:
        body = await open_multipart(request)
        if body.content_type not in WAV_TYPES | UNTOLD_TYPES:
            raise MalformedRequest("unsupported_type", "The file's declared type is none of a WAV's.")
        if "user_id" in body.fields:
            _check_user_id(body, user)
        return replace(body, check=lambda: _check_user_id(body, user))

    try:
        taken = await take_upload(request, user, open_body)
    except (UnsupportedMedia, Unprocessable) as error:
        if error.code == "no_file":
            raise
        # System A's word for a corrupt file.
        raise MalformedRequest(error.code, error.detail, offset=error.offset) from error
    url = f"{base_url(request)}/audiotrack?id={taken.record.id}&user={user.id}"
    return json_response({"audiotrack_url": url}, headers=replay_headers(taken))


async def get_audiotrack(request: web.Request) -> web.StreamResponse:
    """GET /audiotrack?id=&user=: the MP3."""
    record = await find_record(request.app[DATABASE], _query_uuid(request, "id"))
    if record is None or request.query.get("user") != str(record.user_id):
        raise no_such_record()
    return await mp3_response(request, record)


async def post_record_b(request: web.Request) -> web.Response:
    """POST /api_v1/records/?user_id=&user_token=: the file in the field `record`, named .wav."""
    shed_load(request)
    user = await _user_of_query(request)

    async def open_body() -> UploadBody:
        body = await open_multipart(request)
        if not body.filename.lower().endswith(".wav"):
            raise Unprocessable("invalid_filename", "The file's name must end in .wav.")
        return body

    taken = await take_upload(request, user, open_body)
    url = f"{base_url(request)}/api_v1/records/?record_id={taken.record.id}&user_id={user.id}"
    return json_response({"download_url": url}, status=200 if taken.is_replay else 201, headers=replay_headers(taken))


async def get_record_b(request: web.Request) -> web.StreamResponse:
    """GET /api_v1/records/?record_id=&user_id=: the MP3."""
    record = await find_record(request.app[DATABASE], _query_uuid(request, "record_id"))
    if record is None:
        raise no_such_record()
    if request.query.get("user_id") != str(record.user_id):
        raise Forbidden("not_your_record", "This record is another user's.")
    return await mp3_response(request, record)


def _check_user_id(body: UploadBody, user: User) -> None:
    if body.fields.get("user_id", "").strip() != str(user.id):
        raise Forbidden("wrong_user_id", "The field user_id must be the id of the token's user.")


async def _user_of_query(request: web.Request) -> User:
    user_id = request.query.get("user_id", "")
    known = await find_user(request.app[DATABASE], int(user_id)) if _is_id(user_id) else None
    if known is None:
        raise NotFound("user_not_found", "There is no such user.")
    owner = await find_user_by_token(request.app[DATABASE], request.query.get("user_token", ""))
    if owner is None or owner.id != known.id:
        raise Forbidden("unknown_token", "This token is not that user's.")
    request[USER_ID] = owner.id
    return owner


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 19  # noqa: PLR2004 - digits of a bigint


def _query_uuid(request: web.Request, name: str) -> UUID:
    try:
        return UUID(request.query.get(name, ""))
    except ValueError as error:
        raise no_such_record() from error
