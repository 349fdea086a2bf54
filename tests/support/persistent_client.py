"""A client of both languages of resumable uploads that goes on after each break, and begins again if it must."""

import asyncio
import base64
import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

_PIECE_BYTES = 64 * 1024
_PAUSE_SECONDS = 0.05
_FINAL = 200
# What says that the line is broken, or that the service is away for a moment.
_BROKEN = (OSError, asyncio.IncompleteReadError)


@dataclass(frozen=True)
class Head:
    """The first lines of an answer."""

    status: int
    headers: dict[str, str]


@dataclass
class PersistentClient:
    """Sends one WAV, in tus 1.0 or in interop version 8 of the IETF's draft "Resumable Uploads for HTTP".

    `port` gives the port of each request, because the service may not be at the same one again. The client pauses for
    `piece_seconds` after each 64 KiB. `location` is the path of the upload, as the service has told it, and `starts`
    counts how often it was begun.
    """

    language: Literal["ietf", "tus"]
    port: Callable[[], int]
    user: dict[str, str]
    wav: Path
    piece_seconds: float = 0.0
    location: str | None = None
    starts: int = 0

    async def send(self) -> dict[str, Any]:
        """Return the WAV's record, however often the line breaks."""
        while True:
            with contextlib.suppress(*_BROKEN):
                record = await (self._begin_whole() if self.location is None else self._go_on())
                if record is not None:
                    return record
            await asyncio.sleep(_PAUSE_SECONDS)

    async def begin(self, byte_count: int) -> None:
        """Send only the first bytes, so that the upload waits for the rest."""
        head, body = await self._create({"Upload-Complete": "?0"} if self.language == "ietf" else {})
        assert head.status == 201, (head, body)
        self.location = urlsplit(head.headers["location"]).path
        head, body = await self._append(0, byte_count, is_last=False)
        assert head.status == 204, (head, body)

    async def _begin_whole(self) -> dict[str, Any] | None:
        """Begin the upload: in the IETF's language with all bytes, so that an interim answer tells where it is."""
        if self.language == "tus":
            head, _ = await self._create({})
            if head.status == 201:
                self.location = urlsplit(head.headers["location"]).path
                return await self._go_on()
        else:
            head, body = await self._create({"Upload-Complete": "?1"}, range(self._size))
            if head.status == 201:
                return self._record(body)
        assert head.status == 503, head
        return None

    async def _create(self, own: Mapping[str, str], span: range = range(0)) -> tuple[Head, bytes]:
        self.starts += 1
        name = self.wav.name
        if self.language == "tus":
            metadata = f"filename {base64.b64encode(name.encode()).decode()}"
            terms = {"Upload-Length": str(self._size), "Upload-Metadata": metadata}
        else:
            terms = {"Content-Type": "audio/wav", "Content-Disposition": f'attachment; filename="{name}"'}
        return await self._request("POST", "/uploads", {**terms, **own}, span)

    async def _go_on(self) -> dict[str, Any] | None:
        head, _ = await self._request("HEAD", self._path, {})
        if head.status not in {200, 204}:
            self._note_refusal(head)
            return None
        head, body = await self._append(int(head.headers["upload-offset"]), self._size, is_last=True)
        if head.status not in {200, 201, 204}:
            self._note_refusal(head)
            return None
        if self.language == "tus":
            head, body = await self._request("GET", f"/records/{self._path.rpartition('/')[2]}", {})
        return self._record(body)

    @staticmethod
    def _record(body: bytes) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(body)
        return found

    def _note_refusal(self, head: Head) -> None:
        """Note that the client must ask again, or begin again. Any other answer fails the test."""
        assert head.status in {404, 409, 503}, head
        if head.status == 404:
            self.location = None

    async def _append(self, start: int, stop: int, *, is_last: bool) -> tuple[Head, bytes]:
        if self.language == "tus":
            own = {"Content-Type": "application/offset+octet-stream"}
        else:
            own = {"Content-Type": "application/partial-upload", "Upload-Complete": f"?{is_last:d}"}
        return await self._request("PATCH", self._path, {**own, "Upload-Offset": str(start)}, range(start, stop))

    @property
    def _path(self) -> str:
        assert self.location is not None
        return self.location

    @property
    def _size(self) -> int:
        return self.wav.stat().st_size

    async def _request(
        self, method: str, path: str, own: Mapping[str, str], span: range = range(0)
    ) -> tuple[Head, bytes]:
        """Send a request with these bytes of the WAV, and read its answer meanwhile."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port())
        version = {"Tus-Resumable": "1.0.0"} if self.language == "tus" else {"Upload-Draft-Interop-Version": "8"}
        headers = {"Host": "localhost", "Connection": "close", **version, **self.user, **own}
        if method in {"POST", "PATCH"}:
            headers["Content-Length"] = str(len(span))
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        sending = asyncio.create_task(self._send("\r\n".join(lines).encode(), span, writer))
        try:
            head = await self._head(reader)
            length = 0 if method == "HEAD" else int(head.headers.get("content-length", "0"))
            return head, await reader.readexactly(length)
        finally:
            sending.cancel()
            await asyncio.wait({sending})
            writer.transport.abort()

    async def _send(self, head: bytes, span: range, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError), self.wav.open("rb") as file:  # the answer, or its lack, tells
            writer.write(head)
            file.seek(span.start)
            for start in range(span.start, span.stop, _PIECE_BYTES):
                writer.write(file.read(min(_PIECE_BYTES, span.stop - start)))
                await writer.drain()
                await asyncio.sleep(self.piece_seconds)

    async def _head(self, reader: asyncio.StreamReader) -> Head:
        """Read the head of the answer. An interim one tells where the upload is."""
        while True:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            pairs = (line.partition(":") for line in lines[1:] if line)
            head = Head(int(lines[0].split()[1]), {name.lower(): value.strip() for name, _, value in pairs})
            if head.status >= _FINAL:
                return head
            if "location" in head.headers:
                self.location = urlsplit(head.headers["location"]).path
