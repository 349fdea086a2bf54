"""Routes for records: two ways to upload, and what an owner can do with what is kept."""

import itertools
import re
from datetime import UTC, datetime
from uuid import UUID

from aiohttp import hdrs, web
from multidict import MultiDict
from yarl import URL

from service.database.records import Position, find_record, select_records
from service.models import Record, User
from service.names import has_control_characters
from service.refusals import INVALID_AFTER, INVALID_LIMIT, INVALID_SEARCH, RECORD_NOT_FOUND
from service.web.addresses import base_url
from service.web.app_keys import DATABASE, REMOVAL
from service.web.auth import authenticate
from service.web.incoming_upload import take_upload
from service.web.presentation import json_or_text, json_response, lines, record_json
from service.web.record_answers import created
from service.web.resumable_protocols import find_dialect
from service.web.routes.uploads import create_upload
from service.web.upload_body import SentWav, declared_type, form_wav, is_form, raw_wav, require_wav_type

_PAGE = 100
_LARGEST_PAGE = 500
_LARGEST_PAGE_BYTES = 128 * 1024
# What a record takes as JSON at most: without its name, and for each character of it (an escaped pair of surrogates).
_RECORD_BYTES, _BYTES_OF_A_CHARACTER = 1024, 12
_LONGEST_SEARCH = 200
_LIMIT = re.compile(r"[1-9][0-9]{0,3}")


async def post_record(request: web.Request) -> web.Response:
    """POST /records: a WAV as multipart/form-data or as the body itself."""
    if find_dialect(request) is not None:
        return await create_upload(request)
    taken = await take_upload(request, authenticate=authenticate, check=_require_wav_type, find_wav=_posted_wav)
    return created(request, taken)


async def put_record(request: web.Request) -> web.Response:
    """PUT /records/{filename}: a WAV as the body, as `curl -T` sends it and whatever its type, or as a form."""
    if find_dialect(request) is not None:
        return await create_upload(request)
    return created(request, await take_upload(request, authenticate=authenticate, find_wav=_put_wav))


async def get_record(request: web.Request) -> web.Response:
    """GET /records/{id}: the record as JSON, for its owner."""
    user = await authenticate(request)
    record = await _own_record(request, user)
    return json_response(record_json(request, record))


async def list_records(request: web.Request) -> web.Response:
    """GET /records: the owner's records, newest first, page by page; as text, a line with address and name for each.

    `?search=` leaves only those whose file name has this part, in any case.
    """
    user = await authenticate(request)
    limit, after, search = _limit(request), _after(request), _search(request)
    most = min(limit, _LARGEST_PAGE_BYTES // _RECORD_BYTES)
    records = await select_records(request.app[DATABASE], user, most + 1, after, search)
    page = _of_bounded_size(records[:most])
    url, headers = None, MultiDict[str]()
    if len(records) > len(page):
        last = f"{page[-1].created_at.isoformat()},{page[-1].id}"
        query = {"limit": str(limit), "after": last} | ({"search": search} if search else {})
        url = str(URL(f"{base_url(request)}/records").with_query(query))
        headers[hdrs.LINK] = f'<{url}>; rel="next"'
    entries = [record_json(request, record) for record in page]
    return json_or_text(request, {"records": entries, "next": url}, lines(entries), headers=headers)


async def remove_record(request: web.Request) -> web.Response:
    """DELETE /records/{id}: the record goes, with its file."""
    user = await authenticate(request)
    record = await _own_record(request, user)
    await request.app[REMOVAL].delete_record(record.id)
    return web.Response(status=204)


def _of_bounded_size(records: list[Record]) -> list[Record]:
    """Return as many of the records as make a page of bounded size: names may be long, and a page may go unread."""
    sizes = itertools.accumulate(_RECORD_BYTES + _BYTES_OF_A_CHARACTER * len(record.filename) for record in records)
    count = sum(size <= _LARGEST_PAGE_BYTES for size in sizes)
    return records[: max(1, count)]


def _require_wav_type(request: web.Request) -> None:
    if not is_form(request):
        require_wav_type(declared_type(request))


async def _posted_wav(request: web.Request, _user: User) -> SentWav:
    wav = await form_wav(request) if is_form(request) else raw_wav(request)
    require_wav_type(wav.declared_type)
    return wav


async def _put_wav(request: web.Request, _user: User) -> SentWav:
    filename = request.match_info.get("filename", "")
    if not is_form(request):
        return raw_wav(request, filename)
    wav = await form_wav(request, filename)
    require_wav_type(wav.declared_type)
    return wav


async def _own_record(request: web.Request, user: User) -> Record:
    record = await find_record(request.app[DATABASE], UUID(request.match_info["record_id"]))
    if record is None or record.user_id != user.id:
        raise RECORD_NOT_FOUND()
    return record


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", str(_PAGE))
    if not _LIMIT.fullmatch(text) or int(text) > _LARGEST_PAGE:
        raise INVALID_LIMIT(largest=_LARGEST_PAGE)
    return int(text)


def _search(request: web.Request) -> str:
    text = request.query.get("search", "")
    if len(text) > _LONGEST_SEARCH or has_control_characters(text):
        raise INVALID_SEARCH(most=_LONGEST_SEARCH)
    return text


def _after(request: web.Request) -> Position | None:
    text = request.query.get("after")
    if text is None:
        return None
    created_at, _, record_id = text.partition(",")
    try:
        moment = datetime.fromisoformat(created_at)
        # PostgreSQL knows fewer offsets than Python.
        position = Position(moment.astimezone(UTC), UUID(record_id))
    except (ValueError, OverflowError):
        raise INVALID_AFTER() from None
    if moment.tzinfo is None:
        raise INVALID_AFTER()
    return position
