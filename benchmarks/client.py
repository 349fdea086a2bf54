"""A lean HTTP client: blocking sockets and sendfile, so that it takes hardly any CPU from what is measured."""

import os
import re
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T", bytes, int)

_PACED_BYTES = 100_000
_RECEIVE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Address:
    """Where the service is, and the token of a user of it."""

    port: int
    token: str = ""


class Connection:
    """One connection to the service; requests go one after the other.

    What it receives raises RuntimeError where it is neither 200 nor 201, or not whole.
    """

    def __init__(self, address: Address) -> None:
        self._socket = socket.create_connection(("127.0.0.1", address.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._authorization = f"Authorization: Bearer {address.token}\r\n" if address.token else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()

    def send_head(self, method: str, path: str, byte_count: int = 0) -> None:
        """Send the request line and the headers of a request with so many bytes of body."""
        self._socket.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{self._authorization}"
            f"Content-Length: {byte_count}\r\n\r\n".encode()
        )

    def send(self, pieces: Iterable[bytes]) -> None:
        """Send bytes of a body."""
        for piece in pieces:
            self._socket.sendall(piece)

    def send_file(self, path: Path, byte_count: int, bytes_per_second: float = 0) -> None:
        """Send the first bytes of a file, at that pace if it is given, else as fast as they are taken."""
        started = time.perf_counter()
        offset = 0
        with path.open("rb") as file:
            while offset < byte_count:
                size = byte_count - offset
                if bytes_per_second:
                    time.sleep(max(0, started + offset / bytes_per_second - time.perf_counter()))
                    size = min(size, _PACED_BYTES)
                offset += os.sendfile(self._socket.fileno(), file.fileno(), offset, size)

    def receive(self) -> bytes:
        """Return the body of an answer."""
        byte_count, body = self._receive_head()
        while len(body) < byte_count:
            body += _received(self._socket.recv(byte_count - len(body)))
        return body

    def receive_and_forget(self) -> int:
        """Receive the body of an answer and return its length; memory stays the same at any."""
        byte_count, body = self._receive_head()
        missing = byte_count - len(body)
        buffer = memoryview(bytearray(_RECEIVE_BYTES))
        while missing > 0:
            missing -= _received(self._socket.recv_into(buffer[: min(missing, _RECEIVE_BYTES)]))
        return byte_count

    def _receive_head(self) -> tuple[int, bytes]:
        """Return the body's length and what of it came along with the head."""
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += _received(self._socket.recv(4096))
        head, _, body = answer.partition(b"\r\n\r\n")
        if int(head.split(b" ", 2)[1]) not in {HTTPStatus.OK, HTTPStatus.CREATED}:
            raise RuntimeError(f"the service answered {answer!r}")
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        return int(length[1]) if length else 0, body


def _received(piece: T) -> T:
    if not piece:
        raise RuntimeError("the service closed the connection amid an answer")
    return piece


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What an upload took and gave: from the last byte sent to the answer, and the answer's JSON."""

    tail_seconds: float
    answer: bytes


def create_user(connection: Connection) -> bytes:
    """Create a user and return the answer's JSON."""
    connection.send_head("POST", "/users?username=bench")
    return connection.receive()


def upload(address: Address, wav: Path, bytes_per_second: float = 0) -> Uploaded:
    """Upload a file over a connection of its own."""
    byte_count = wav.stat().st_size
    with Connection(address) as connection:
        connection.send_head("PUT", f"/records/{wav.name}", byte_count)
        connection.send_file(wav, byte_count, bytes_per_second)
        sent = time.perf_counter()
        answer = connection.receive()
        return Uploaded(time.perf_counter() - sent, answer)
