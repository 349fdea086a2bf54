"""Has every private name of aiohttp that we use, each with the reason."""

# tests/integration/test_aiohttp_guards.py fails for each of them when aiohttp no longer needs it.

from aiohttp import hdrs, web
from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler


def body_given_up(connection: RequestHandler) -> StreamReader | None:
    """Return the body of the current request if no more of it will come although it has not ended, else None.

    When its chunks are broken, aiohttp's parser in C queues an error as the connection's next request. It does
    not tell the reader, which would wait until the connection ends.
    """
    request = connection._current_request  # noqa: SLF001
    return request.content if request is not None and is_broken(connection) else None


def is_broken(connection: RequestHandler) -> bool:
    """Return whether the newest that waits for its turn is not a request, but the parser's error."""
    messages = connection._messages  # noqa: SLF001
    return bool(messages) and not isinstance(messages[-1][0], RawRequestMessage)


def arrived(content: StreamReader, size: int) -> bytes:
    """Return what has arrived of a body and was not read yet, at most `size` bytes, or all of it for -1.

    Once the connection is broken, aiohttp's own methods raise instead. aiohttp has no issue for this.
    """
    return content.read_nowait(size) if content.exception() is None else content._read_nowait(size)  # noqa: SLF001


def is_idle(connection: RequestHandler) -> bool:
    """Return whether there is no request that must be answered. Until its handler runs, only the queue tells."""
    waiter = connection._waiter  # noqa: SLF001
    return waiter is not None and not waiter.done() and not connection._messages  # noqa: SLF001


def queued_requests(connection: RequestHandler) -> list[tuple[RawRequestMessage | None, StreamReader]]:
    """Return the head and the body of each request that waits until those before it are answered.

    What is not HTTP has None for a head. aiohttp limits each header and their number, so that a head may have 1 MB,
    and up to 32 requests may wait.
    """
    queued = connection._messages  # noqa: SLF001
    return [(head if isinstance(head, RawRequestMessage) else None, body) for head, body in queued]


class UnsignedResponse(web.Response):
    """A response without a Server header, for a request that has not reached an application.

    A signal handler removes that header from an application's responses; for such a request, aiohttp sends no signal.
    """

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall(hdrs.SERVER, None)
