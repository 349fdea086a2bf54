"""A client that speaks HTTP byte by byte, and so can do what no library does."""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from tests.support.client import Account, Service, Transport

_NO_LINGER = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class RawAnswer:
    """A response as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class RawClient:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, content: bytes) -> None:
        self.writer.write(content)
        await self.writer.drain()

    async def answer(self) -> RawAnswer:
        """Read one response of any status, also 100, but not 104; raises ConnectionError if there is none."""
        status_line = (await self.reader.readline()).decode()
        if status_line.startswith("HTTP/1.1 104 "):
            await self.reader.readuntil(b"\r\n\r\n")
            return await self.answer()
        if not status_line:
            raise ConnectionResetError("the service closed the connection without an answer")
        headers = {}
        while (line := (await self.reader.readline()).decode().strip()) != "":
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return RawAnswer(int(status_line.split()[1]), headers, body)

    async def answer_within(self, seconds: float) -> RawAnswer | None:
        """Read one response if it begins in that time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await self.answer()  # on a connection to this machine a response comes whole
        return None

    async def is_closed_by_service(self) -> bool:
        try:
            return await self.reader.read() == b""
        except ConnectionError:
            return True

    async def close(self) -> None:
        """Close the connection in order (FIN)."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    def reset(self) -> None:
        """Abort the connection (RST)."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.writer.transport.abort()


@contextlib.asynccontextmanager
async def connect(service: Service) -> AsyncIterator[RawClient]:
    reader, writer = await asyncio.open_connection(service.url.host, service.url.port)
    client = RawClient(reader, writer)
    try:
        yield client
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def connect_with_small_buffer(service: Service) -> AsyncIterator[RawClient]:
    """Connect a client for which the kernel and this process keep only some kilobytes that it has not read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)  # noqa: FBT003 - the socket's own signature
    await asyncio.get_running_loop().sock_connect(sock, (service.url.host, service.url.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
    client = RawClient(reader, writer)
    try:
        yield client
    finally:
        with contextlib.suppress(OSError):  # the service may have closed it long ago
            client.reset()


def request_head(
    account: Account | None, transport: Transport, body_length: int, *headers: str, path: str | None = None
) -> bytes:
    """Return the head of an upload whose WAV has `body_length` bytes and is sent as `framed` returns it."""
    line = f"POST {path or '/records'}" if transport == "multipart" else f"PUT {path or '/records/'}"
    lines = [f"{line} HTTP/1.1", "Host: x"]
    if account is not None:
        lines.append(f"Authorization: Bearer {account.token}")
    if transport == "multipart":
        lines.append("Content-Type: multipart/form-data; boundary=b")
        lines.append(f"Content-Length: {body_length + len(MULTIPART_HEAD) + len(MULTIPART_TAIL)}")
    elif transport in {"raw", "resumable"}:
        lines.append(f"Content-Length: {body_length}")
        lines += ["Upload-Complete: ?1"] if transport == "resumable" else []
    else:
        lines.append("Transfer-Encoding: chunked")
    return "\r\n".join([*lines, *headers, "", ""]).encode()


MULTIPART_HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="talk.wav"\r\n\r\n'
MULTIPART_TAIL = b"\r\n--b--\r\n"


def framed(wav: bytes, transport: Transport) -> bytes:
    """Return the whole body as it is sent over that transport."""
    if transport == "multipart":
        return MULTIPART_HEAD + wav + MULTIPART_TAIL
    if transport in {"raw", "resumable"}:
        return wav
    pieces = [wav[start : start + 10_000] for start in range(0, len(wav), 10_000)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
