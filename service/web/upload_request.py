"""Takes an upload: all that can be refused without its body first, then the ingest."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import uuid4

from aiohttp import hdrs, web

from service.errors import ClientGone, Unprocessable
from service.models import Record, User
from service.uploads.idempotency import LONGEST_KEY, IdempotentUpload, claim
from service.uploads.ingest import Upload
from service.web.app_keys import ADMISSION, BODY_LIMITS, INGEST, LEASES, OUTCOME, STORAGE, TRANSPORT
from service.web.body import check_headers
from service.web.digests import DigestCheck
from service.web.upload_body import UploadBody

_KEY_HEADER = "Idempotency-Key"


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of an upload: its record, and whether an earlier one with the same key had made it."""

    record: Record
    is_replay: bool


def shed_load(request: web.Request) -> None:
    """Refuse an upload that finds the queue full before anybody is asked who it is from. Raises Unavailable.

    Under overload most uploads are refused; what each would cost the database is missing from those that run. One
    with a key may be a retry of an upload that is kept, which has its answer however full the queue is.
    """
    request[TRANSPORT] = _transport(request)
    if _KEY_HEADER not in request.headers:
        request.app[ADMISSION].arrive()


async def take_upload(request: web.Request, user: User, open_body: Callable[[], Awaitable[UploadBody]]) -> Taken:
    """Keep the upload that `open_body` finds in the request as a record of the user's.

    `shed_load` has been called. All that can be refused without the body is refused before `open_body` is called.
    Raises any ServiceError.
    """
    check_headers(request, request.app[BODY_LIMITS])
    bit_rate = requested_bit_rate(request)
    upload_id = uuid4()
    keyed = idempotent_upload(request)
    leases = request.app[LEASES]
    async with leases.given_back_after(upload_id):
        replay = await claim(leases, user, upload_id, keyed) if keyed is not None else None
        if replay is not None:
            request[OUTCOME] = "replayed"
            return Taken(replay, is_replay=True)
        await request.app[STORAGE].require_room()
        async with request.app[ADMISSION].slot():
            await leases.take_slot(user, upload_id)
            body = await open_body()
            digests = DigestCheck(request, body.fields)

            def check() -> None:
                if request.transport is None or request.transport.is_closing():
                    raise ClientGone("client_gone", "The client closed the connection.")
                body.check()
                digests.check()

            key = keyed.key if keyed is not None else None
            upload = Upload(upload_id, user.id, body.filename, bit_rate, key, check)
            record = await request.app[INGEST](upload, digests.watch(body.pieces))
    return Taken(record, is_replay=False)


def replay_headers(taken: Taken) -> dict[str, str]:
    """Return the headers that tell a replay from a new record."""
    return {"Idempotency-Replayed": "true"} if taken.is_replay else {}


def requested_bit_rate(request: web.Request) -> int | None:
    """Return `?bit_rate=` in bit/s; whether it is legal depends on the WAV's sample rate. Raises Unprocessable."""
    text = request.query.get("bit_rate")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len("320000")):
        raise Unprocessable("invalid_bit_rate", "bit_rate is a whole number of bits a second, such as 128000.")
    return int(text)


def idempotent_upload(request: web.Request) -> IdempotentUpload | None:
    """Return the request's Idempotency-Key, if it has one, with what must be the same in a retry.

    Raises Unprocessable for a key that is empty, too long or no printable ASCII.
    """
    key = request.headers.get(_KEY_HEADER)
    if key is None:
        return None
    if not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        raise Unprocessable(
            "invalid_idempotency_key", f"An Idempotency-Key has 1 to {LONGEST_KEY} printable ASCII characters."
        )
    told = (
        request.match_info.get("filename", ""),
        request.query.get("bit_rate", ""),
        request.headers.get(hdrs.CONTENT_LENGTH, ""),
        request.headers.get("Content-Digest", ""),
    )
    return IdempotentUpload(key, hashlib.sha256(repr(told).encode()).digest())


def _transport(request: web.Request) -> str:
    if request.content_type == "multipart/form-data":
        return "multipart"
    return "raw" if request.content_length is not None else "chunked"
