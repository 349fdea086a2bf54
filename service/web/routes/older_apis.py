"""The routes of the two systems that wavepress replaces, so that their clients work unchanged."""

# System A: /user and /audiotrack. System B: /api_v1/users/ and /api_v1/records/.

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from uuid import UUID

from aiohttp import web

from service.database.records import find_record
from service.database.users import find_user
from service.errors import Forbidden, MalformedRequest, NotAuthenticated, Unprocessable, UnsupportedMedia
from service.models import User
from service.refusals import (
    INVALID_FILENAME,
    MISSING_TOKEN,
    NO_FILE,
    NOT_YOUR_RECORD,
    RECORD_NOT_FOUND,
    USER_NOT_FOUND,
    WRONG_USER_ID,
    WRONG_USER_TOKEN,
)
from service.web.addresses import base_url
from service.web.app_keys import DATABASE
from service.web.auth import authenticate, bearer_token, count_failure, identify
from service.web.incoming_upload import take_upload, upload_headers
from service.web.presentation import json_response
from service.web.routes.downloads import mp3_response
from service.web.routes.users import register
from service.web.upload_body import SentWav, form_wav, require_wav_type

_USER_ID_FIELD = "user_id"


async def post_user_a(request: web.Request) -> web.Response:
    """POST /user: 200 with the id and the access token."""
    user, token = await register(request)
    return json_response({"id": user.id, "access_token": str(token)})


async def post_audiotrack(request: web.Request) -> web.Response:
    """POST /audiotrack: the fields `user_id` and `file` in either order, the token as Bearer."""
    try:
        taken = await take_upload(request, authenticate=_authenticate_a, find_wav=_find_wav_a)
    except (UnsupportedMedia, Unprocessable) as error:
        if error.code == NO_FILE.code:
            raise
        raise error.as_kind(MalformedRequest) from error  # system A's status for a corrupt file
    url = f"{base_url(request)}/audiotrack?id={taken.record.id}&user={taken.record.user_id}"
    return json_response({"audiotrack_url": url}, headers=upload_headers(taken))


async def get_audiotrack(request: web.Request) -> web.StreamResponse:
    """GET /audiotrack?id=&user=: the MP3."""
    record = await find_record(request.app[DATABASE], _query_uuid(request, "id"))
    if record is None or request.query.get("user") != str(record.user_id):
        raise RECORD_NOT_FOUND()
    return await mp3_response(request, record)


async def post_record_b(request: web.Request) -> web.Response:
    """POST /api_v1/records/?user_id=&user_token=: the file in the field `record`, named .wav."""
    taken = await take_upload(request, authenticate=_authenticate_b, find_wav=_find_wav_b)
    url = f"{base_url(request)}/api_v1/records/?record_id={taken.record.id}&user_id={taken.record.user_id}"
    return json_response({"download_url": url}, status=200 if taken.is_replay else 201, headers=upload_headers(taken))


async def get_record_b(request: web.Request) -> web.StreamResponse:
    """GET /api_v1/records/?record_id=&user_id=: the MP3."""
    record = await find_record(request.app[DATABASE], _query_uuid(request, "record_id"))
    if record is None:
        raise RECORD_NOT_FOUND()
    if request.query.get("user_id") != str(record.user_id):
        raise NOT_YOUR_RECORD()
    return await mp3_response(request, record)


async def _authenticate_a(request: web.Request) -> User:
    if bearer_token(request) is None:
        raise MISSING_TOKEN().as_kind(Forbidden)
    return await authenticate(request)


async def _find_wav_a(request: web.Request, user: User) -> SentWav:
    wav = await form_wav(request)
    require_wav_type(wav.declared_type)
    if _USER_ID_FIELD in wav.fields:
        _require_user_id(wav.fields, user)
    return replace(wav, pieces=_of_user(wav, user))


async def _of_user(wav: SentWav, user: User) -> AsyncIterator[bytes]:
    """Yield the pieces. Raises Forbidden after the last one if the field `user_id` is not the user's."""
    async for piece in wav.pieces:
        yield piece
        del piece  # else it would stay until the next one comes
    _require_user_id(wav.fields, user)


def _require_user_id(fields: Mapping[str, str], user: User) -> None:
    if fields.get(_USER_ID_FIELD, "").strip() != str(user.id):
        raise WRONG_USER_ID()


async def _authenticate_b(request: web.Request) -> User:
    user_id = request.query.get("user_id", "")
    known = await find_user(request.app[DATABASE], int(user_id)) if _is_id(user_id) else None
    if known is None:
        count_failure(request)
        raise USER_NOT_FOUND()
    try:
        owner = await identify(request, request.query.get("user_token", ""))
    except NotAuthenticated as error:
        raise WRONG_USER_TOKEN() from error
    if owner.id != known.id:
        raise WRONG_USER_TOKEN()
    return owner


async def _find_wav_b(request: web.Request, _user: User) -> SentWav:
    wav = await form_wav(request)
    if not wav.filename.lower().endswith(".wav"):
        raise INVALID_FILENAME(rule="ends in .wav here")
    return wav


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 19  # noqa: PLR2004 - digits of a bigint


def _query_uuid(request: web.Request, name: str) -> UUID:
    try:
        return UUID(request.query.get(name, ""))
    except ValueError as error:
        raise RECORD_NOT_FOUND() from error
