"""Runs the application: listens, waits for the signal to stop, lets uploads end, stops."""

import asyncio
import contextlib
import errno
import functools
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator

import prometheus_client
import structlog
from aiohttp import web

from service import metrics
from service.app import create_app
from service.settings import Settings
from service.uploads.admission import Admission
from service.web import app_keys
from service.web.addresses import host_and_port
from service.web.body import PIECE_BYTES
from service.web.listening import listen
from service.web.request_log import RequestLog
from service.web.runner import Connection, Runner

log = structlog.stdlib.get_logger()

# Longer than the usual load balancer's 60 seconds, so that it is never we who close under its request. It
# bounds a connection without a request, or with half a request's headers, as well.
_KEEPALIVE_SECONDS = 75
# After an early refusal the client may still be sending; it should see the answer, and not hold us for long.
_LINGERING_SECONDS = 2
_CLEANUP_SECONDS = 5


async def serve(settings: Settings, database_url: str, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; `announce` gets the address once connections are taken.

    New uploads are refused from the signal on. Those that run may end within `shutdown_seconds`; a second
    signal ends them at once. If the database is away, it is not ready until the database is back. Raises OSError if
    the address cannot be had.
    """
    stop = _StopSignals()
    app = create_app(settings, database_url)
    runner = make_runner(app)
    await runner.setup()
    try:
        if settings.metrics_port is not None:
            start_metrics(settings.host, settings.metrics_port)
        await _listen(runner, settings.host, settings.port)
        host, port = runner.addresses[0][:2]
        announce(f"http://{host_and_port(host, port)}")
        await stop.wait()
        await _drain(app[app_keys.ADMISSION], settings.shutdown_seconds, stop)
    finally:
        await runner.cleanup()
        log.info("stopped")


def require_free_ports(settings: Settings) -> None:
    """Raise OSError if another program has a port that the service needs, before anything is made for it."""
    for name, port in {"PORT": settings.port, "METRICS_PORT": settings.metrics_port}.items():
        if port is not None:
            with _translated_errors(settings.host, port, name):
                _require_free_port(settings.host, port)


def _require_free_port(host: str, port: int) -> None:
    for family, *_, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE):
        try:
            socket.create_server(place, family=family).close()
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:  # any other is for the server itself to judge
                raise


async def _listen(runner: web.AppRunner, host: str, port: int) -> None:
    with _translated_errors(host, port, "PORT"):
        await listen(runner, host, port)


@contextlib.contextmanager
def _translated_errors(host: str, port: int, name: str) -> Iterator[None]:
    try:
        yield
    except socket.gaierror as error:
        raise OSError(f"Cannot listen on {host}: {error.strerror}. Set WAVEPRESS_HOST to another.") from error
    except OSError as error:
        # The error itself names the numbers of things, and not what to do.
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(
            f"Cannot listen on {host_and_port(host, port)}: {reason}. Set WAVEPRESS_{name} to another."
        ) from error


def make_runner(app: web.Application) -> web.AppRunner:
    """Return a runner with the limits that the application relies on."""
    make_connection = functools.partial(
        Connection,
        reader_stall_seconds=app[app_keys.DOWNLOAD_STALL_SECONDS],
        access_log_class=RequestLog,
        auto_decompress=False,  # an encoded body is refused, not inflated
        keepalive_timeout=_KEEPALIVE_SECONDS,
        lingering_time=_LINGERING_SECONDS,
        read_bufsize=PIECE_BYTES,
    )
    return Runner(app, make_connection, shutdown_timeout=_CLEANUP_SECONDS)


def allow_many_descriptors() -> None:
    """Raise this process's own limit to what it may have: an upload takes four, and many systems begin with 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def start_metrics(host: str, port: int) -> None:
    """Serve /metrics at a port of its own, from a thread that ends with the process. Raises OSError."""
    prometheus_client.start_http_server(port, addr=host, registry=metrics.registry())


async def _drain(admission: Admission, grace_seconds: float, stop: "_StopSignals") -> None:
    admission.close()
    log.info("stopping", uploads=len(admission.running), grace_seconds=grace_seconds)
    drained = asyncio.create_task(admission.drain(grace_seconds))
    again = asyncio.create_task(stop.wait())
    await asyncio.wait({drained, again}, return_when=asyncio.FIRST_COMPLETED)
    again.cancel()
    drained.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await drained
    await admission.drain(0)


class _StopSignals:
    """SIGTERM and SIGINT, one after the other."""

    def __init__(self) -> None:
        self._count = asyncio.Semaphore(0)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._count.release)

    async def wait(self) -> None:
        """Wait for the next signal."""
        await self._count.acquire()
