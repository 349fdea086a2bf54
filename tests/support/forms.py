"""Forms as bytes, and how the service's parser reads them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from service.errors import ServiceError
from service.web.app_keys import BODY_LIMITS
from service.web.body import BodyLimits
from service.web.multipart import read_fields
from service.web.upload_body import form_wav

T = TypeVar("T")

BOUNDARY = b"b0undary"
LIMITS = BodyLimits(max_upload_bytes=2**20, stall_seconds=5, min_bytes_per_second=0)
REFUSALS = {
    *("malformed_multipart", "nested_multipart", "transfer_encoded", "too_many_fields", "field_too_long"),
    *("second_file", "no_file", "invalid_filename", "unsupported_type", "unexpected_file"),
}


@dataclass(frozen=True)
class Form:
    """What the parser read from a body."""

    filename: str
    fields: dict[str, str]
    content: bytes


def part(name: str, content: bytes, *headers: bytes, filename: str | None = None) -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"'
    if filename is not None:
        disposition += f'; filename="{filename}"'
    return b"\r\n".join([disposition.encode(), *headers, b"", content])


def form(*parts: bytes) -> bytes:
    return b"".join(b"--%s\r\n%s\r\n" % (BOUNDARY, part) for part in parts) + b"--%s--\r\n" % BOUNDARY


def outcome(pieces: Iterable[bytes]) -> Form | str:
    """Return what was read from an upload, or the code of its refusal; a hang or any other error fails the test."""

    async def read(request: web.Request) -> Form:
        upload = await form_wav(request)
        content = b"".join([piece async for piece in upload.pieces])
        return Form(upload.filename, dict(upload.fields), content)

    return asyncio.run(_outcome(read, list(pieces)))


def fields_outcome(pieces: Iterable[bytes]) -> dict[str, str] | str:
    """Return what was read from a form without a file, or the code of its refusal."""
    return asyncio.run(_outcome(read_fields, list(pieces)))


async def _outcome(read: Callable[[web.Request], Awaitable[T]], pieces: list[bytes]) -> T | str:
    loop = asyncio.get_running_loop()
    connection = BaseProtocol(loop)
    connection.connection_made(asyncio.Transport())
    body = StreamReader(connection, LIMITS.max_upload_bytes, loop=loop)  # so that it never stops reading
    app = web.Application()
    app[BODY_LIMITS] = LIMITS
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY.decode()}"}
    request = make_mocked_request("POST", "/records", headers, app=app, payload=body)

    async def arrive() -> None:
        for piece in pieces:
            body.feed_data(piece)
            await asyncio.sleep(0)
        body.feed_eof()

    arriving = asyncio.create_task(arrive())
    try:
        async with asyncio.timeout(10):
            return await read(request)
    except ServiceError as refusal:
        return _checked(refusal.code)
    finally:
        await arriving


def _checked(code: str) -> str:
    assert code in REFUSALS
    return code
