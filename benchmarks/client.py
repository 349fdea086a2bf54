"""An HTTP client of blocking sockets and sendfile, which takes little CPU from what is measured."""

import os
import re
import socket
import struct
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
_SUCCESSES = {HTTPStatus.OK, HTTPStatus.CREATED}
# A service that hangs must not hang the benchmark. One that works answers much sooner.
_PATIENCE_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Address:
    """The service's port, and the token of one of its users."""

    port: int
    token: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of any status; `head` is its status line with its headers."""

    status: int
    head: bytes
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the value of a header, if the answer has it."""
        return _header(self.head, name)


class Connection:
    """One connection to the service; requests go one after the other.

    `receive` and `receive_and_forget` raise RuntimeError if the answer is neither 200 nor 201. Every method that
    receives raises RuntimeError if the answer is not whole, and OSError if the service is silent for two minutes.
    """

    def __init__(self, address: Address) -> None:
        self._socket = socket.create_connection(("127.0.0.1", address.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The kernel's time-outs: with Python's, the descriptor would not block, and sendfile would fail.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _PATIENCE_SECONDS, 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _PATIENCE_SECONDS, 0))
        self._authorization = f"Authorization: Bearer {address.token}\r\n" if address.token else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()

    def send_head(self, method: str, path: str, byte_count: int | None = 0, headers: Iterable[str] = ()) -> None:
        """Send the request line and the headers. `byte_count` is the body's; None means that it comes in chunks."""
        length = "Transfer-Encoding: chunked" if byte_count is None else f"Content-Length: {byte_count}"
        lines = "".join(f"{line}\r\n" for line in (length, *headers))
        self._socket.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{self._authorization}{lines}\r\n".encode()
        )

    def send(self, pieces: Iterable[bytes]) -> None:
        """Send bytes of a body."""
        for piece in pieces:
            self._socket.sendall(piece)

    def send_file(self, path: Path, byte_count: int, bytes_per_second: float = 0) -> None:
        """Send the first bytes of a file, at `bytes_per_second`; 0 means as fast as the service takes them."""
        started = time.perf_counter()
        offset = 0
        with path.open("rb") as file:
            while offset < byte_count:
                size = byte_count - offset
                if bytes_per_second:
                    time.sleep(max(0, started + offset / bytes_per_second - time.perf_counter()))
                    size = min(size, _PACED_BYTES, int(bytes_per_second) + 1)  # send at least every second
                offset += os.sendfile(self._socket.fileno(), file.fileno(), offset, size)

    def receive(self) -> bytes:
        """Return the body of an answer."""
        answer = self.receive_any()
        _require_success(answer.status, answer.head + answer.body)
        return answer.body

    def receive_any(self) -> Answer:
        """Return an answer of any status."""
        head, body = self._receive_head()
        missing = _byte_count(head) - len(body)
        while missing > 0:
            piece = _received(self._socket.recv(missing))
            body += piece
            missing -= len(piece)
        return Answer(_status(head), head, body)

    def receive_and_forget(self) -> int:
        """Receive the body of an answer and return its length, without keeping it in memory."""
        head, body = self._receive_head()
        _require_success(_status(head), head + body)
        missing = _byte_count(head) - len(body)
        buffer = memoryview(bytearray(_RECEIVE_BYTES))
        while missing > 0:
            missing -= _received(self._socket.recv_into(buffer[: min(missing, _RECEIVE_BYTES)]))
        return _byte_count(head)

    def _receive_head(self) -> tuple[bytes, bytes]:
        """Return an answer's head, and the part of its body that came with it."""
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += _received(self._socket.recv(4096))
        head, _, body = answer.partition(b"\r\n\r\n")
        return head, body


def _status(head: bytes) -> int:
    return int(head.split(b" ", 2)[1])


def _byte_count(head: bytes) -> int:
    return int(_header(head, "Content-Length") or 0)


def _header(head: bytes, name: str) -> str | None:
    found = re.search(rf"^{name}: *([^\r\n]*)", head.decode("latin-1"), re.IGNORECASE | re.MULTILINE)
    return found[1] if found else None


def _require_success(status: int, answer: bytes) -> None:
    if status not in _SUCCESSES:
        raise RuntimeError(f"the service answered {answer!r}")


def _received(piece: T) -> T:
    if not piece:
        raise RuntimeError("the service closed the connection before the answer was whole")
    return piece


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The seconds from an upload's last byte to its answer, and the answer's JSON."""

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


def upload_if_asked(address: Address, wav: Path) -> Answer:
    """Upload a file as `curl -T` does: send its body only if the service asks for it, and return any answer."""
    byte_count = wav.stat().st_size
    with Connection(address) as connection:
        connection.send_head("PUT", f"/records/{wav.name}", byte_count, ["Expect: 100-continue"])
        answer = connection.receive_any()
        if answer.status == HTTPStatus.CONTINUE:
            connection.send_file(wav, byte_count)
            answer = connection.receive_any()
        return answer
