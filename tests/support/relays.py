"""A way over TCP to a server that listens on a Unix socket."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from psycopg2.extensions import parse_dsn

from tests.support.waiting import until


@contextlib.asynccontextmanager
async def relayed(url: str) -> AsyncIterator[int]:
    """Yield a TCP port that leads to the server."""
    server = parse_dsn(url)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(f"{server['host']}/.s.PGSQL.{server['port']}")
        open_ones.add(writer)
        await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer))
        open_ones.discard(writer)

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65_536):
                writer.write(piece)
        writer.close()

    open_ones = set[asyncio.StreamWriter]()
    listener = await asyncio.start_server(connect, "127.0.0.1", 0)
    yield listener.sockets[0].getsockname()[1]
    listener.close()
    await until(lambda: not open_ones)
