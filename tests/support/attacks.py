"""What strangers do to a service that they want to knock over: many raw sockets, which cost this process little."""

import asyncio
import contextlib
import itertools
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

_RECEIVE_BYTES = 256 * 1024
# So that the service has to keep what a client does not read: by itself the kernel would take megabytes of it.
_SMALL_BUFFER_BYTES = 4096
_SIP_BYTES = 4096
_SIP_PAUSE_SECONDS = 1.0
_DRIP_PAUSE_SECONDS = 3.0
_PIPELINED_AT_ONCE = 1000
# The kernel keeps only so many connections until the service takes them.
_OPENED_AT_A_TIME = 200
_LOOK_SECONDS = 0.05
_RESET = struct.pack("ii", 1, 0)


@dataclass(eq=False, slots=True)
class Attacker:
    """One connection of an attack. It `is_established` once the service holds for it what the attack is about."""

    socket: socket.socket
    is_established: bool = False
    is_closed_by_service: bool = False

    async def send(self, content: bytes) -> None:
        """Send all of it, however long the service takes."""
        await asyncio.get_running_loop().sock_sendall(self.socket, content)

    async def receive(self, byte_count: int) -> bytes:
        """Return what has arrived, at most so much. Raises ConnectionError once the service has closed."""
        piece = await asyncio.get_running_loop().sock_recv(self.socket, byte_count)
        if not piece:
            raise ConnectionResetError("the service has closed the connection")
        return piece

    async def receive_answer(self) -> None:
        """Read a whole answer, and forget it. Raises RuntimeError if it is not a success."""
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += await self.receive(_RECEIVE_BYTES)
        head, _, body = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 20"):
            raise RuntimeError(f"the service answered {head!r}")
        left = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]) - len(body)
        while left > 0:
            left -= len(await self.receive(min(left, _RECEIVE_BYTES)))

    async def stay(self) -> None:
        """Keep the connection, and do nothing more."""
        self.is_established = True
        await asyncio.Event().wait()


Behaviour = Callable[[Attacker], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Attack:
    """So many connections at a time that all behave alike; with `small_buffers`, the kernel keeps little for them."""

    what: str
    connections: int
    behave: Behaviour
    small_buffers: bool = False


@contextlib.asynccontextmanager
async def under(attack: Attack, port: int) -> AsyncIterator[Sequence[Attacker]]:
    """Attack for the length of the block, and reset all connections at its end; they are yielded at once.

    Raises RuntimeError at the end if an attacker was refused.
    """
    opening = asyncio.Semaphore(_OPENED_AT_A_TIME)
    with contextlib.ExitStack() as stack:
        attackers = [Attacker(stack.enter_context(_attacking_socket(attack))) for _ in range(attack.connections)]
        tasks = [asyncio.create_task(_attack(attack.behave, attacker, port, opening)) for attacker in attackers]
        try:
            yield attackers
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome


async def until_established(attackers: Sequence[Attacker], seconds: float) -> None:
    """Wait until each has done its part or was closed, at most so long."""
    deadline = time.perf_counter() + seconds
    while not all(attacker.is_established or attacker.is_closed_by_service for attacker in attackers):
        if time.perf_counter() > deadline:
            return
        await asyncio.sleep(_LOOK_SECONDS)


def keep_after(path: str, *, is_read: bool) -> Behaviour:
    """Ask for something, read the answer or only its first byte, and keep the connection.

    Each asks for it under another name, so that the answers differ where they have the name.
    """
    ports = itertools.count(1024)

    async def behave(attacker: Attacker) -> None:
        await attacker.send(_get(path, host=f"localhost:{next(ports)}"))
        await (attacker.receive_answer() if is_read else attacker.receive(1))
        await attacker.stay()

    return behave


def ask_unread(path: str, token: str) -> Behaviour:
    """Ask for something that is only for a user, read the first byte so that it is surely there, and stop."""

    async def behave(attacker: Attacker) -> None:
        await attacker.send(_get(path, f"Authorization: Bearer {token}"))
        await attacker.receive(1)
        await attacker.stay()

    return behave


def sip(path: str) -> Behaviour:
    """Ask for a file, and take 4 KiB of it each second."""

    async def behave(attacker: Attacker) -> None:
        await attacker.send(_get(path))
        while True:
            await attacker.receive(_SIP_BYTES)
            attacker.is_established = True
            await asyncio.sleep(_SIP_PAUSE_SECONDS)

    return behave


async def drip(attacker: Attacker) -> None:
    """Send half of a request, and then a byte of a header every few seconds: slow loris."""
    await attacker.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
    attacker.is_established = True
    while True:
        await asyncio.sleep(_DRIP_PAUSE_SECONDS)
        await attacker.send(b"x")


def pipeline(path: str) -> Behaviour:
    """Send requests, and read no answer, until the service takes no more."""
    requests = _get(path) * _PIPELINED_AT_ONCE

    async def behave(attacker: Attacker) -> None:
        attacker.is_established = True
        while True:
            await attacker.send(requests)

    return behave


def register(count: int) -> Behaviour:
    """Create so many users in all, one after the other on each connection."""
    numbers = itertools.count()

    async def behave(attacker: Attacker) -> None:
        while next(numbers) < count:
            await attacker.send(
                b"POST /users?username=mallory HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
            )
            await attacker.receive_answer()
        await attacker.stay()

    return behave


def _attacking_socket(attack: Attack) -> socket.socket:
    own = socket.socket()
    if attack.small_buffers:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER_BYTES)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    own.setblocking(False)  # noqa: FBT003 - the socket's own signature
    return own


async def _attack(behave: Behaviour, attacker: Attacker, port: int, opening: asyncio.Semaphore) -> None:
    try:
        async with opening:
            await asyncio.get_running_loop().sock_connect(attacker.socket, ("127.0.0.1", port))
        await behave(attacker)
    except ConnectionError:
        attacker.is_closed_by_service = True


def _get(path: str, *headers: str, host: str = "localhost") -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *headers, "", ""]).encode()
