"""Reads an upload from an HTTP request: who sends it, what its headers ask for, and where its WAV is."""

import difflib
import hashlib
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from aiohttp import hdrs, web

from service.models import IdempotentUpload, RecordWarning, User
from service.refusals import (
    INVALID_BIT_RATE,
    INVALID_EXPIRES_IN,
    INVALID_IDEMPOTENCY_KEY,
    LENGTH_REQUIRED,
    PARTIAL_UPLOAD,
)
from service.uploads.encoder_slot import EncoderSlot
from service.uploads.idempotency import LONGEST_KEY
from service.uploads.intake import Taken, UploadBody, UploadTerms
from service.web.app_keys import BODY_LIMITS, INTAKE, OUTCOME, PARAMETERS, RECORD, TRANSPORT
from service.web.body import check_headers
from service.web.client_presence import cut, is_lost
from service.web.digests import parse_digest, verified
from service.web.upload_body import SentWav, is_form

# A hundred years.
_LONGEST_LIFETIME_SECONDS = 3_155_760_000
KEY_HEADER = "Idempotency-Key"
_PARAMETERS = {"bit_rate", "expires_in"}
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


def replay_headers(taken: Taken) -> dict[str, str]:
    """Return the headers that tell a replay from a new record."""
    return {"Idempotency-Replayed": "true"} if taken.is_replay else {}


@dataclass(frozen=True, slots=True)
class _HttpUpload:
    """Fulfils `service.uploads.intake.IncomingUpload`."""

    request: web.Request
    authenticate: Callable[[web.Request], Awaitable[User]]
    check: Callable[[web.Request], None]
    find_wav: Callable[[web.Request, User], Awaitable[SentWav]]

    @property
    def may_be_retry(self) -> bool:
        return KEY_HEADER in self.request.headers

    async def identify(self) -> User:
        return await self.authenticate(self.request)

    def terms(self) -> UploadTerms:
        self.check(self.request)
        _require_whole(self.request)
        check_headers(self.request, self.request.app[BODY_LIMITS])
        self._digest()  # a malformed one is refused now
        sent = (self.request.headers.get(hdrs.CONTENT_LENGTH, ""), self.request.headers.get("Content-Digest", ""))
        return upload_terms(self.request, sent)

    async def open(self, user: User, _upload_id: UUID, _slot: EncoderSlot) -> UploadBody:
        wav = await self.find_wav(self.request, user)
        digest = self._digest()
        # A form may bring its digest after the file.
        is_verified = digest is not None or is_form(self.request)
        pieces = verified(wav.pieces, digest, wav.fields) if is_verified else wav.pieces
        length = None if is_form(self.request) else self.request.content_length
        return UploadBody(wav.filename, pieces, length)

    def is_abandoned(self) -> bool:
        return is_lost(self.request)

    def cut(self) -> None:
        cut(self.request)

    def _digest(self) -> bytes | None:
        return parse_digest(self.request.headers.get("Content-Digest"))


def upload_terms(request: web.Request, sent: tuple[str, ...]) -> UploadTerms:
    """Return what the client asks for. `sent` is what a retry repeats, beside the name and the parameters."""
    return UploadTerms(
        bit_rate=requested_bit_rate(request),
        lifetime_seconds=requested_lifetime_seconds(request),
        key=idempotent_upload(request, sent),
        warnings=tuple(_unknown_parameters(request)),
    )


def _require_whole(request: web.Request) -> None:
    """Refuse an upload that says it is a part of something, and one whose length nobody can tell."""
    if hdrs.CONTENT_RANGE in request.headers:
        raise PARTIAL_UPLOAD()
    if request.content_length is None and hdrs.TRANSFER_ENCODING not in request.headers:
        raise LENGTH_REQUIRED()


def parameters(request: web.Request) -> Mapping[str, str]:
    """Return the parameters of the request's upload: those of the query, unless it has them in another place too."""
    found: Mapping[str, str] = request.get(PARAMETERS, request.query)
    return found


def requested_bit_rate(request: web.Request) -> int | None:
    """Return `?bit_rate=` in bit/s. The WAV's sample rate decides whether it is legal. Raises Unprocessable."""
    text = parameters(request).get("bit_rate")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len("320000")):
        raise INVALID_BIT_RATE(legal="a whole number, such as 128000")
    return int(text)


def requested_lifetime_seconds(request: web.Request) -> int | None:
    """Return `?expires_in=` in seconds. Raises Unprocessable."""
    text = parameters(request).get("expires_in")
    if text is None:
        return None
    if not (re.fullmatch("[1-9][0-9]{0,9}", text) and int(text) <= _LONGEST_LIFETIME_SECONDS):
        raise INVALID_EXPIRES_IN(most=_LONGEST_LIFETIME_SECONDS)
    return int(text)


def _unknown_parameters(request: web.Request) -> Iterator[RecordWarning]:
    for name in sorted(set(request.query) - _PARAMETERS - _PARAMETERS_OF_OLDER_APIS)[:_MOST_WARNINGS]:
        shown = "".join(character for character in name[:_LONGEST_NAME] if character.isprintable())
        nearest = difflib.get_close_matches(name, _PARAMETERS, n=1)
        advice = f"Did you mean {nearest[0]}?" if nearest else f"Known are {', '.join(sorted(_PARAMETERS))}."
        yield RecordWarning("unknown_parameter", f"{shown} is not a known parameter. {advice}")


def idempotent_upload(request: web.Request, sent: tuple[str, ...]) -> IdempotentUpload | None:
    """Return the request's Idempotency-Key, if it has one, with what must be the same in a retry.

    Raises Unprocessable for a key that is empty, too long or not printable ASCII.
    """
    key = request.headers.get(KEY_HEADER)
    if key is None:
        return None
    if not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        raise INVALID_IDEMPOTENCY_KEY(max_length=LONGEST_KEY)
    # Replicas of the version before know no lifetime; an upload without one has the same fingerprint there.
    asked = parameters(request)
    lifetime = [asked["expires_in"]] if "expires_in" in asked else []
    repeated = (request.match_info.get("filename", ""), asked.get("bit_rate", ""), *sent, *lifetime)
    return IdempotentUpload(key, hashlib.sha256(repr(repeated).encode()).digest())


def _transport(request: web.Request) -> str:
    if is_form(request):
        return "multipart"
    return "raw" if request.content_length is not None else "chunked"
