"""Reads an upload from an HTTP request: who sends it, what its headers ask for, and where its WAV is."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from aiohttp import hdrs, web
from multidict import MultiDict

from service.models import User
from service.refusals import LENGTH_REQUIRED, PARTIAL_UPLOAD
from service.uploads.encoder_slot import EncoderSlot
from service.uploads.intake import Taken, UploadBody, UploadTerms
from service.web.app_keys import BODY_LIMITS, INTAKE, OUTCOME, RECORD, TRANSPORT
from service.web.body import check_headers
from service.web.client_presence import cut, is_lost
from service.web.digests import parse_digest, verified
from service.web.upload_body import SentWav, is_form
from service.web.upload_parameters import KEY_HEADER, upload_terms

WARNING_HEADER = "Wavepress-Warning"


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


def _require_whole(request: web.Request) -> None:
    """Refuse an upload that says it is a part of something, and one whose length nobody can tell."""
    if hdrs.CONTENT_RANGE in request.headers:
        raise PARTIAL_UPLOAD()
    if request.content_length is None and hdrs.TRANSFER_ENCODING not in request.headers:
        raise LENGTH_REQUIRED()


def _transport(request: web.Request) -> str:
    if is_form(request):
        return "multipart"
    return "raw" if request.content_length is not None else "chunked"
