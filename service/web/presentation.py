"""Presents records to clients: as JSON, and as the names of files."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC
from typing import Literal
from urllib.parse import quote

from aiohttp import web
from aiohttp.typedefs import LooseHeaders

from service.models import Record
from service.names import stem
from service.uploads.live import LiveUpload
from service.web.accept import prefers_text
from service.web.addresses import base_url

# The longest name that common file systems allow, in bytes of UTF-8.
_LONGEST_NAME_BYTES = 255


def json_response(
    document: object, *, status: int = 200, headers: LooseHeaders | None = None, content_type: str = "application/json"
) -> web.Response:
    """Return a response with the document and a newline, so that a terminal's prompt begins on a new line."""
    body = f"{json.dumps(document)}\n".encode()
    return web.Response(status=status, body=body, headers=headers, content_type=content_type)


def text_response(text: str, *, status: int = 200, headers: LooseHeaders | None = None) -> web.Response:
    """Return a response with text for a terminal or a script."""
    return web.Response(status=status, text=text, headers=headers, content_type="text/plain")


def json_or_text(
    request: web.Request, document: object, text: str, *, status: int = 200, headers: LooseHeaders | None = None
) -> web.Response:
    """Return a response with the document or, for a client that prefers text, with the text."""
    if prefers_text(request):
        return text_response(text, status=status, headers=headers)
    return json_response(document, status=status, headers=headers)


def lines(entries: Iterable[Mapping[str, object]]) -> str:
    """Return a line for each record or upload: the MP3's address, a tab and the name, which never has a tab."""
    return "".join(f"{entry['url']}\t{entry['filename']}\n" for entry in entries)


def record_url(request: web.Request, record: Record) -> str:
    """Return the URL of the record's MP3."""
    return f"{base_url(request)}/records/{record.id}.mp3"


def record_json(request: web.Request, record: Record) -> dict[str, object]:
    """Return the record as its owner sees it."""
    return {
        "id": str(record.id),
        "url": record_url(request, record),
        "filename": record.filename,
        "duration": record.duration,
        "sample_rate": record.sample_rate,
        "channels": record.channels,
        "bit_rate": record.bit_rate,
        "size": record.size,
        "sha256": record.sha256,
        "complete": record.is_complete,
        "source_size": record.source_size,
        "warnings": [asdict(warning) for warning in record.warnings],
        "created_at": record.created_at.astimezone(UTC).isoformat(),
        "expires_at": record.expires_at.astimezone(UTC).isoformat() if record.expires_at else None,
    }


def upload_json(request: web.Request, upload: LiveUpload) -> dict[str, object]:
    """Return an upload under way as its owner sees it. What nobody knows yet is None."""
    progress, body = upload.progress, upload.resumable
    target = progress.target
    return {
        "id": str(upload.id),
        "url": f"{base_url(request)}/records/{upload.id}.mp3",
        "filename": upload.filename,
        "state": upload.state,
        "offset": progress.reader.byte_count if body is None else body.offset,
        "length": upload.body_length,
        "duration": progress.duration,
        "expected_duration": progress.expected_duration,
        "expected_size": upload.broadcast.expected_size,
        "bit_rate": target.bit_rate if target is not None else None,
        "sample_rate": target.sample_rate if target is not None else None,
        "channels": target.channels if target is not None else None,
        "created_at": upload.created_at.astimezone(UTC).isoformat(),
        "resumable_until": body.resumable_until.isoformat() if body is not None else None,
        "keeps_incomplete": upload.keeps_incomplete,
    }


def content_disposition(filename: str, kind: Literal["inline", "attachment"] = "inline") -> str:
    """Return the Content-Disposition (RFC 6266) of a download: the upload's name with .mp3, in ASCII and in UTF-8."""
    room = _LONGEST_NAME_BYTES - len(".mp3")
    name = stem(filename).encode()[:room].decode(errors="ignore") + ".mp3"
    plain = "".join(character if " " <= character <= "~" and character not in '"\\%' else "_" for character in name)
    if plain == name:
        return f'{kind}; filename="{name}"'
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
