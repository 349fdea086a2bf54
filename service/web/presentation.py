"""What records look like from outside: JSON and file names."""

import json
import re
from dataclasses import asdict
from datetime import UTC
from pathlib import PurePosixPath
from urllib.parse import quote

from aiohttp import web
from aiohttp.typedefs import LooseHeaders

from service.models import Record
from service.web.addresses import base_url

# A suffix has a letter first and no space; what follows other dots belongs to the name: "Interview 3.5".
_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,4}$")
# What the common file systems allow for a name, in bytes of UTF-8.
_LONGEST_NAME_BYTES = 255


def json_response(
    document: object, *, status: int = 200, headers: LooseHeaders | None = None, content_type: str = "application/json"
) -> web.Response:
    """Answer with a document and a newline, which keeps a terminal's prompt where it belongs."""
    body = f"{json.dumps(document)}\n".encode()
    return web.Response(status=status, body=body, headers=headers, content_type=content_type)


def record_url(request: web.Request, record: Record) -> str:
    """Return where the record's MP3 is downloaded."""
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
        "warnings": [asdict(warning) for warning in record.warnings],
        "created_at": record.created_at.astimezone(UTC).isoformat(),
    }


def content_disposition(filename: str) -> str:
    """Name a download after its upload, ending in .mp3, as RFC 6266 has it: plain ASCII first, then UTF-8."""
    base = PurePosixPath(filename).name
    stem = _SUFFIX.sub("", base) or base
    room = _LONGEST_NAME_BYTES - len(".mp3")
    name = stem.encode()[:room].decode(errors="ignore") + ".mp3"
    plain = "".join(character if " " <= character <= "~" and character not in '"\\%' else "_" for character in name)
    if plain == name:
        return f'inline; filename="{name}"'
    return f"inline; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
