"""Digests of RFC 9530: the WAV's, checked where the client sends it, and the MP3's, told with each download."""

import base64
import binascii
import hashlib
import re
from collections.abc import AsyncIterator, Mapping

from aiohttp import web

from service.errors import MalformedRequest, Unprocessable

_SHA256 = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]*):")
_FIELD = "content_digest"


class DigestCheck:
    """Compares a WAV's sha256 with the one that the client sent, in a header or in a field of the form.

    The header is Content-Digest; the field has its name, `content_digest`, and its form, and may come after the
    file: so every form's WAV is hashed, and a raw one only where there is the header. Raises MalformedRequest for
    a header that cannot be read.
    """

    def __init__(self, request: web.Request, fields: Mapping[str, str]) -> None:
        self._expected = _parse(request.headers.get("Content-Digest"))
        self._fields = fields
        self._is_form = request.content_type == "multipart/form-data"
        self._sha256 = hashlib.sha256()

    async def watch(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the pieces as they are and hash them where somebody may want to know."""
        wanted = self._expected is not None or self._is_form
        async for piece in pieces:
            if wanted:
                self._sha256.update(piece)
            yield piece

    def check(self) -> None:
        """Raise Unprocessable where the whole WAV is not what the client says it sent."""
        expected = {self._expected, _parse(self._fields.get(_FIELD))} - {None}
        if expected - {self._sha256.digest()}:
            raise Unprocessable("digest_mismatch", "The WAV that arrived is not the one whose digest was sent.")


def repr_digest(sha256: str) -> str:
    """Return the value of Repr-Digest for a sha256 in hexadecimal."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"


def _parse(value: str | None) -> bytes | None:
    """Return the sha-256 of a Content-Digest; None where there is none, for we know no other algorithm."""
    found = _SHA256.search(value or "")
    if found is None:
        return None
    try:
        digest = base64.b64decode(found[1], validate=True)
    except binascii.Error:
        digest = b""
    if len(digest) != hashlib.sha256().digest_size:
        raise MalformedRequest("malformed_digest", "Send Content-Digest as sha-256=:<base64 of 32 bytes>:.")
    return digest
