"""Digests of RFC 9530: checks the WAV's if the client sends it, and formats the MP3's for each download."""

import base64
import binascii
import hashlib
import re
from collections.abc import AsyncIterator, Mapping

from service.refusals import DIGEST_MISMATCH, MALFORMED_DIGEST

_SHA256 = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]*):")
_MEANS_SHA256 = re.compile(r"(?:^|,)\s*sha-256\s*=")
_FIELD = "content_digest"


def parse_digest(value: str | None) -> bytes | None:
    """Return the sha-256 of a Content-Digest, or None if it has none; other algorithms are ignored.

    Raises MalformedRequest for a sha-256 that is not the base64 of 32 bytes.
    """
    found = _SHA256.search(value or "")
    if found is None:
        if _MEANS_SHA256.search(value or ""):
            raise MALFORMED_DIGEST()
        return None
    try:
        digest = base64.b64decode(found[1], validate=True)
    except binascii.Error:
        digest = b""
    if len(digest) != hashlib.sha256().digest_size:
        raise MALFORMED_DIGEST()
    return digest


async def verified(
    pieces: AsyncIterator[bytes], digest: bytes | None, fields: Mapping[str, str]
) -> AsyncIterator[bytes]:
    """Yield the pieces of a WAV, and raise Unprocessable after the last one if their digest is not the client's.

    `digest` is the header's. A form may also have one, in its field `content_digest`. `fields` are the form's fields
    so far; they are read after the last piece, because that field may come after the file.
    """
    sha256 = hashlib.sha256()
    async for piece in pieces:
        sha256.update(piece)
        yield piece
        del piece  # else it would stay until the next one comes
    if {digest, parse_digest(fields.get(_FIELD))} - {None, sha256.digest()}:
        raise DIGEST_MISMATCH()


def repr_digest(sha256: str) -> str:
    """Return the value of Repr-Digest for a sha256 in hexadecimal."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"
