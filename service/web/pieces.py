"""A response body that is sent piece by piece."""

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

PIECE_BYTES = 16 * 1024


class InPieces(Payload):
    """A body that is sent piece by piece. aiohttp copies any other one whole, until the client has taken it."""

    def __init__(self, *parts: bytes) -> None:
        super().__init__(parts)
        self._parts = parts

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return sum(map(len, self._parts))

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return it as text."""
        return b"".join(self._parts).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write a piece whenever the kernel has all of the one before."""
        for part in self._parts:
            rest = memoryview(part)
            while rest:
                piece, rest = rest[:PIECE_BYTES], rest[PIECE_BYTES:]
                await writer.write(piece)
                await writer.drain()
