"""Reads what a client asks for with an upload: its parameters and its idempotency key."""

import difflib
import hashlib
import re
from collections.abc import Iterator, Mapping

from aiohttp import web

from service.audio.mp3 import SAMPLE_RATES
from service.models import IdempotentUpload, RecordWarning
from service.record_warnings import UNKNOWN_PARAMETER
from service.refusals import (
    INVALID_BIT_RATE,
    INVALID_EXPIRES_IN,
    INVALID_IDEMPOTENCY_KEY,
    INVALID_INCOMPLETE,
    INVALID_MAX_BYTES,
    INVALID_SAMPLE_RATE,
)
from service.uploads.idempotency import LONGEST_KEY
from service.uploads.intake import UploadTerms
from service.uploads.target import Mp3Wish
from service.web.app_keys import PARAMETERS

KEY_HEADER = "Idempotency-Key"
# A hundred years.
_LONGEST_LIFETIME_SECONDS = 3_155_760_000
_KNOWN = {"bit_rate", "expires_in", "incomplete", "max_bytes", "sample_rate"}
_KNOWN_IN_OLDER_APIS = {"user_id", "user_token"}
# A warning repeats at most this many characters of an unknown parameter's name.
_LONGEST_NAME = 32
_MOST_WARNINGS = 8


def upload_terms(request: web.Request, sent: tuple[str, ...]) -> UploadTerms:
    """Return what the client asks for. Raises Unprocessable.

    `sent` is what a retry with the same idempotency key must repeat, beside the file name and the parameters.
    """
    return UploadTerms(
        wish=Mp3Wish(_bit_rate(request), _sample_rate(request), _max_bytes(request)),
        lifetime_seconds=_lifetime_seconds(request),
        key=_idempotent_upload(request, sent),
        warnings=tuple(_unknown_parameters(request)),
        keeps_incomplete=keeps_incomplete(request),
    )


def _parameters(request: web.Request) -> Mapping[str, str]:
    """Return those of the query, unless the request's language has another place for them, too."""
    found: Mapping[str, str] = request.get(PARAMETERS, request.query)
    return found


def _bit_rate(request: web.Request) -> int | None:
    """Return `?bit_rate=` in bit/s. The WAV's sample rate decides whether it is legal. Raises Unprocessable."""
    text = _parameters(request).get("bit_rate")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len("320000")):
        raise INVALID_BIT_RATE(legal="a whole number, such as 128000")
    return int(text)


def _sample_rate(request: web.Request) -> int | None:
    """Return `?sample_rate=` in Hz. Raises Unprocessable for any but MP3's."""
    text = _parameters(request).get("sample_rate")
    if text is None:
        return None
    rates = {str(rate): rate for rate in SAMPLE_RATES}
    if text not in rates:
        raise INVALID_SAMPLE_RATE(legal=", ".join(rates))
    return rates[text]


def _max_bytes(request: web.Request) -> int | None:
    """Return `?max_bytes=`. Raises Unprocessable, also if `?bit_rate=` is there, too."""
    text = _parameters(request).get("max_bytes")
    if text is None:
        return None
    if not re.fullmatch("[1-9][0-9]{0,17}", text) or "bit_rate" in _parameters(request):
        raise INVALID_MAX_BYTES()
    return int(text)


def _lifetime_seconds(request: web.Request) -> int | None:
    """Return `?expires_in=` in seconds. Raises Unprocessable."""
    text = _parameters(request).get("expires_in")
    if text is None:
        return None
    if not (re.fullmatch("[1-9][0-9]{0,9}", text) and int(text) <= _LONGEST_LIFETIME_SECONDS):
        raise INVALID_EXPIRES_IN(most=_LONGEST_LIFETIME_SECONDS)
    return int(text)


def keeps_incomplete(request: web.Request) -> bool:
    """Return whether the client says `?incomplete=keep`. Raises Unprocessable for another value."""
    text = _parameters(request).get("incomplete")
    if text not in {None, "keep"}:
        raise INVALID_INCOMPLETE()
    return text is not None


def _unknown_parameters(request: web.Request) -> Iterator[RecordWarning]:
    for name in sorted(set(request.query) - _KNOWN - _KNOWN_IN_OLDER_APIS)[:_MOST_WARNINGS]:
        shown = "".join(character for character in name[:_LONGEST_NAME] if character.isprintable())
        nearest = difflib.get_close_matches(name, _KNOWN, n=1)
        advice = f"Did you mean {nearest[0]}?" if nearest else f"Known are {', '.join(sorted(_KNOWN))}."
        yield UNKNOWN_PARAMETER(name=shown, advice=advice)


def _idempotent_upload(request: web.Request, sent: tuple[str, ...]) -> IdempotentUpload | None:
    """Return the request's Idempotency-Key, if it has one, with what must be the same in a retry.

    Raises Unprocessable for a key that is empty, too long or not printable ASCII.
    """
    key = request.headers.get(KEY_HEADER)
    if key is None:
        return None
    if not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        raise INVALID_IDEMPOTENCY_KEY(max_length=LONGEST_KEY)
    asked = _parameters(request)
    # Replicas of older versions do not know these; an upload without them has the same fingerprint there.
    newer = [f"{name}={asked[name]}" for name in ("incomplete", "max_bytes", "sample_rate") if name in asked]
    lifetime = [asked["expires_in"]] if "expires_in" in asked else []
    repeated = (request.match_info.get("filename", ""), asked.get("bit_rate", ""), *sent, *lifetime, *newer)
    return IdempotentUpload(key, hashlib.sha256(repr(repeated).encode()).digest())
