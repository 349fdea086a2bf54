"""Reads the first request of a resumable upload, and adds those that follow it."""

import asyncio
import base64
import binascii
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from aiohttp import web

from service.models import User
from service.names import clean_filename
from service.refusals import MALFORMED_DIGEST, TOO_LARGE, UNSUPPORTED_TYPE
from service.uploads.encoder_slot import EncoderSlot
from service.uploads.intake import UploadBody, UploadTerms
from service.uploads.resumable_body import Attachment, ResumableBody
from service.web.app_keys import BODY_LIMITS, PARAMETERS, RESUME_SECONDS
from service.web.auth import authenticate
from service.web.body import Body, check_headers
from service.web.client_presence import cut, is_lost
from service.web.digests import parse_digest, verified
from service.web.resumable_protocols import Creation, Dialect
from service.web.upload_body import is_form, raw_wav
from service.web.upload_parameters import KEY_HEADER, upload_terms

_SHA256_BYTES = 32


@dataclass(eq=False, slots=True)
class OfferedResumableUpload:
    """Fulfils `service.uploads.resumption.OfferedUpload`."""

    request: web.Request
    dialect: Dialect
    creation: Creation
    filename: str
    admitted: asyncio.Future[UUID] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def may_be_retry(self) -> bool:
        """Whether an earlier upload may already have made the record."""
        return KEY_HEADER in self.request.headers

    async def identify(self) -> User:
        """Return the user of the request's token."""
        return await authenticate(self.request)

    def terms(self) -> UploadTerms:
        """Check the headers of the first request."""
        limits = self.request.app[BODY_LIMITS]
        check_headers(self.request, limits)
        if is_form(self.request):
            raise UNSUPPORTED_TYPE(declared="A form that can be resumed")
        if (self.creation.length or 0) > limits.max_upload_bytes:
            raise TOO_LARGE(max_bytes=limits.max_upload_bytes)
        self.request[PARAMETERS] = {**self.creation.parameters, **self.request.query}
        digest = self._digest()
        sent = ("resumable", str(self.creation.length), (digest or b"").hex(), self._name())
        return upload_terms(self.request, sent)

    async def open(self, _user: User, upload_id: UUID, slot: EncoderSlot) -> UploadBody:
        """Begin to take requests."""
        body = ResumableBody(
            self.creation.length,
            ends_at_length=self.dialect.language == "tus",
            stall_seconds=self.request.app[BODY_LIMITS].stall_seconds,
            resume_seconds=self.request.app[RESUME_SECONDS],
        )
        digest = self._digest()
        pieces = body.pieces(slot)
        filename = clean_filename(self._name()) if self._name() else raw_wav(self.request).filename
        self.admitted.set_result(upload_id)
        return UploadBody(
            filename, pieces if digest is None else verified(pieces, digest, {}), self.creation.length, body
        )

    def is_abandoned(self) -> bool:
        """Return whether the client has gone before it could learn the upload's address."""
        return not self.admitted.done() and is_lost(self.request)

    def cut(self) -> None:
        """Close the connection of the first request."""
        cut(self.request)

    def _name(self) -> str:
        return self.filename or self.creation.parameters.get("filename", "")

    def _digest(self) -> bytes | None:
        if "sha256" in self.creation.parameters:
            return _sha256(self.creation.parameters["sha256"])
        headers = self.request.headers
        return parse_digest(headers.get("Repr-Digest") or headers.get("Content-Digest"))


def attachment(request: web.Request, *, is_last: bool) -> Attachment:
    """Return the request's bytes as a part of an upload."""
    pieces = Body(request, request.app[BODY_LIMITS]).pieces()
    return Attachment(pieces, is_last, cut=partial(cut, request), is_abandoned=partial(is_lost, request))


def _sha256(text: str) -> bytes:
    """Return the digest that is written in hexadecimal or base64. Raises MalformedRequest."""
    try:
        digest = bytes.fromhex(text) if len(text) == 2 * _SHA256_BYTES else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        digest = b""
    if len(digest) != _SHA256_BYTES:
        raise MALFORMED_DIGEST()
    return digest
