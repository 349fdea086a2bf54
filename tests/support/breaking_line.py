"""A line to the service that breaks at the places that a test chooses."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Iterable

_PIECE_BYTES = 64 * 1024
_NO_LINGER = struct.pack("ii", 1, 0)


class BreakingLine:
    """A TCP port that leads to another one.

    `places` are counts of bytes that all connections together have brought to the service. At each of them, the
    connection that brings that byte is reset on both sides.
    """

    def __init__(self, far_port: int, places: Iterable[int]) -> None:
        self.port = 0
        self.cut_count = 0
        self._far_port = far_port
        self._places = sorted(places, reverse=True)
        self._carried = 0
        self._running = set[asyncio.Task[None]]()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until it ends."""
        task = asyncio.create_task(self._connect(reader, writer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """End all connections."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(_close, writer)
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._far_port)
            stack.push_async_callback(_close, far_writer)
            back = asyncio.create_task(_carry_back(far_reader, writer))
            try:
                await self._carry(reader, far_writer)
                await asyncio.wait({back})
            except ConnectionError:
                reset(writer)
                reset(far_writer)
            finally:
                back.cancel()
                await asyncio.wait({back})

    async def _carry(self, reader: asyncio.StreamReader, far_writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(_PIECE_BYTES):
            left = self._places[-1] - self._carried if self._places else len(piece)
            far_writer.write(piece[:left])
            await far_writer.drain()
            self._carried += min(len(piece), left)
            if self._places and self._carried == self._places[-1]:
                self._places.pop()
                self.cut_count += 1
                raise ConnectionResetError
        far_writer.write_eof()


async def _carry_back(far_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await far_reader.read(_PIECE_BYTES):
            writer.write(piece)
            await writer.drain()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with a reset (RST), as a line does that is lost."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    writer.transport.abort()


@contextlib.asynccontextmanager
async def breaking_line(far_port: int, places: Iterable[int]) -> AsyncIterator[BreakingLine]:
    """Lay a line to the port for the length of the block."""
    line = BreakingLine(far_port, places)
    # Else the kernel would take megabytes that this line does not pass on.
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _PIECE_BYTES)
    server = await asyncio.start_server(line.connect, sock=listener)
    line.port = listener.getsockname()[1]
    async with server:
        yield line
        server.close()
        await asyncio.sleep(0)  # for the connections that have just been taken
        await line.close()
