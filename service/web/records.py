"""Routes for records: three ways to upload, each the table of contents of one ingest."""

from aiohttp import hdrs, web

from service.errors import Unprocessable
from service.models import Record
from service.web.auth import authenticate
from service.web.body import check_headers
from service.web.keys import ADMISSION, BODY_LIMITS
from service.web.presentation import record_json, record_url
from service.web.uploads import declared_type, ingest, open_multipart, open_raw, require_wav_type


async def post_record(request: web.Request) -> web.Response:
    """POST /records: a WAV as multipart/form-data or as the body itself."""
    user = await authenticate(request)
    check_headers(request, request.app[BODY_LIMITS])
    bit_rate = requested_bit_rate(request)
    is_form = request.content_type == "multipart/form-data"
    if not is_form:
        require_wav_type(declared_type(request))
    async with request.app[ADMISSION].slot():
        upload = await open_multipart(request) if is_form else open_raw(request)
        require_wav_type(upload.content_type)
        record = await ingest(request, user, upload, bit_rate=bit_rate)
    return created(request, record)


async def put_record(request: web.Request) -> web.Response:
    """PUT /records/{filename}: a WAV as the body, as `curl -T` sends it; its first bytes tell its type."""
    user = await authenticate(request)
    check_headers(request, request.app[BODY_LIMITS])
    bit_rate = requested_bit_rate(request)
    upload = open_raw(request, request.match_info.get("filename", ""))
    async with request.app[ADMISSION].slot():
        record = await ingest(request, user, upload, bit_rate=bit_rate)
    return created(request, record)


def created(request: web.Request, record: Record) -> web.Response:
    """Answer 201: the record as JSON or, for scripts, its address as text."""
    url = record_url(request, record)
    headers = {hdrs.LOCATION: url}
    if request.headers.get(hdrs.ACCEPT, "").partition(";")[0].strip().lower() == "text/plain":
        return web.Response(status=201, text=f"{url}\n", headers=headers)
    return web.json_response(record_json(request, record), status=201, headers=headers)


def requested_bit_rate(request: web.Request) -> int | None:
    """Return `?bit_rate=` in bit/s; whether it is legal depends on the WAV's sample rate. Raises Unprocessable."""
    text = request.query.get("bit_rate")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len("320000")):
        raise Unprocessable("invalid_bit_rate", "bit_rate is a whole number of bits a second, such as 128000.")
    return int(text)
