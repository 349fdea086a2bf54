"""Reads an upload from an HTTP request: who sends it, what its headers ask for, and where its WAV is."""

import difflib
import hashlib
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from aiohttp import hdrs, web
from multidict import MultiDict

from service.audio.mp3 import SAMPLE_RATES
from service.models import IdempotentUpload, RecordWarning, User
from service.record_warnings import UNKNOWN_PARAMETER
from service.refusals import (
    INVALID_BIT_RATE,
    INVALID_EXPIRES_IN,
    INVALID_IDEMPOTENCY_KEY,
    INVALID_INCOMPLETE,
    INVALID_SAMPLE_RATE,
    LENGTH_REQUIRED,
    PARTIAL_UPLOAD,
)
from service.uploads.idempotency import LONGEST_KEY
from service.uploads.intake import Taken, UploadBody, UploadTerms
from service.web.app_keys import BODY_LIMITS, INTAKE, OUTCOME, RECORD, TRANSPORT
from service.web.body import check_headers
from service.web.client_presence import is_lost
from service.web.digests import parse_digest, verified
from service.web.upload_body import SentWav, is_form

# A hundred years.
_LONGEST_LIFETIME_SECONDS = 3_155_760_000
_KEY_HEADER = "Idempotency-Key"
WARNING_HEADER = "Wavepress-Warning"
_PARAMETERS = {"bit_rate", "expires_in", "incomplete", "sample_rate"}
_PARAMETERS_OF_OLDER_APIS = {"user_id", "user_token"}
# A warning repeats at most this many characters of an unknown parameter's name.
_LONGEST_NAME = 32
_MOST_WARNINGS = 8


async def take_upload(
    request: web.Request,
    *,
    authenticate: Callable[[web.Request], Awaitable[User]],
    find_wav: Callable[[web.Request, User], Awaitable[SentWav]],
    check: Callable[[web.Request], None] = lambda _request: None,
) -> Taken:
    """Take the upload in a request to its record. Raises any ServiceError.

    The APIs differ in how they find the user, in what they `check` in the headers, and in where they find the WAV.
    """
    request[TRANSPORT] = _transport(request)
    taken = await request.app[INTAKE](_HttpUpload(request, authenticate, check, find_wav))
    request[RECORD] = taken.record
    if taken.is_replay:
        request[OUTCOME] = "replayed"
    return taken


def upload_headers(taken: Taken) -> MultiDict[str]:
    """Return what the answer to every upload has: whether it is a replay, and the code of each warning."""
    headers = MultiDict({"Idempotency-Replayed": "true"} if taken.is_replay else {})
    for warning in taken.record.warnings:
        headers.add(WARNING_HEADER, warning.code)
    return headers


@dataclass(frozen=True, slots=True)
class _HttpUpload:
    """Fulfils `service.uploads.intake.IncomingUpload`."""

    request: web.Request
    authenticate: Callable[[web.Request], Awaitable[User]]
    check: Callable[[web.Request], None]
    find_wav: Callable[[web.Request, User], Awaitable[SentWav]]

    @property
    def may_be_retry(self) -> bool:
        return _KEY_HEADER in self.request.headers

    async def identify(self) -> User:
        return await self.authenticate(self.request)

    def terms(self) -> UploadTerms:
        self.check(self.request)
        _require_whole(self.request)
        check_headers(self.request, self.request.app[BODY_LIMITS])
        self._digest()  # a malformed one is refused now
        return UploadTerms(
            bit_rate=requested_bit_rate(self.request),
            sample_rate=requested_sample_rate(self.request),
            lifetime_seconds=requested_lifetime_seconds(self.request),
            key=idempotent_upload(self.request),
            warnings=tuple(_unknown_parameters(self.request)),
            keeps_incomplete=keeps_incomplete(self.request),
        )

    async def open(self, user: User) -> UploadBody:
        wav = await self.find_wav(self.request, user)
        digest = self._digest()
        # A form may bring its digest after the file.
        is_verified = digest is not None or is_form(self.request)
        pieces = verified(wav.pieces, digest, wav.fields) if is_verified else wav.pieces
        return UploadBody(wav.filename, pieces)

    def is_abandoned(self) -> bool:
        return is_lost(self.request)

    def _digest(self) -> bytes | None:
        return parse_digest(self.request.headers.get("Content-Digest"))


def _require_whole(request: web.Request) -> None:
    """Refuse an upload that says it is a part of something, and one whose length nobody can tell."""
    if hdrs.CONTENT_RANGE in request.headers:
        raise PARTIAL_UPLOAD()
    if request.content_length is None and hdrs.TRANSFER_ENCODING not in request.headers:
        raise LENGTH_REQUIRED()


def requested_bit_rate(request: web.Request) -> int | None:
    """Return `?bit_rate=` in bit/s. The WAV's sample rate decides whether it is legal. Raises Unprocessable."""
    text = request.query.get("bit_rate")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len("320000")):
        raise INVALID_BIT_RATE(legal="a whole number, such as 128000")
    return int(text)


def requested_sample_rate(request: web.Request) -> int | None:
    """Return `?sample_rate=` in Hz. Raises Unprocessable for any but MP3's."""
    text = request.query.get("sample_rate")
    if text is None:
        return None
    rates = {str(rate): rate for rate in SAMPLE_RATES}
    if text not in rates:
        raise INVALID_SAMPLE_RATE(legal=", ".join(rates))
    return rates[text]


def requested_lifetime_seconds(request: web.Request) -> int | None:
    """Return `?expires_in=` in seconds. Raises Unprocessable."""
    text = request.query.get("expires_in")
    if text is None:
        return None
    if not (re.fullmatch("[1-9][0-9]{0,9}", text) and int(text) <= _LONGEST_LIFETIME_SECONDS):
        raise INVALID_EXPIRES_IN(most=_LONGEST_LIFETIME_SECONDS)
    return int(text)


def keeps_incomplete(request: web.Request) -> bool:
    """Return whether the client says `?incomplete=keep`. Raises Unprocessable for another value."""
    text = request.query.get("incomplete")
    if text not in {None, "keep"}:
        raise INVALID_INCOMPLETE()
    return text is not None


def _unknown_parameters(request: web.Request) -> Iterator[RecordWarning]:
    for name in sorted(set(request.query) - _PARAMETERS - _PARAMETERS_OF_OLDER_APIS)[:_MOST_WARNINGS]:
        shown = "".join(character for character in name[:_LONGEST_NAME] if character.isprintable())
        nearest = difflib.get_close_matches(name, _PARAMETERS, n=1)
        advice = f"Did you mean {nearest[0]}?" if nearest else f"Known are {', '.join(sorted(_PARAMETERS))}."
        yield UNKNOWN_PARAMETER(name=shown, advice=advice)


def idempotent_upload(request: web.Request) -> IdempotentUpload | None:
    """Return the request's Idempotency-Key, if it has one, with what must be the same in a retry.

    Raises Unprocessable for a key that is empty, too long or not printable ASCII.
    """
    key = request.headers.get(_KEY_HEADER)
    if key is None:
        return None
    if not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        raise INVALID_IDEMPOTENCY_KEY(max_length=LONGEST_KEY)
    # Replicas of older versions do not know these; an upload without them has the same fingerprint there.
    newer = [f"{name}={request.query[name]}" for name in ("incomplete", "sample_rate") if name in request.query]
    lifetime = [request.query["expires_in"]] if "expires_in" in request.query else []
    sent = (
        request.match_info.get("filename", ""),
        request.query.get("bit_rate", ""),
        request.headers.get(hdrs.CONTENT_LENGTH, ""),
        request.headers.get("Content-Digest", ""),
        *lifetime,
        *newer,
    )
    return IdempotentUpload(key, hashlib.sha256(repr(sent).encode()).digest())


def _transport(request: web.Request) -> str:
    if is_form(request):
        return "multipart"
    return "raw" if request.content_length is not None else "chunked"
