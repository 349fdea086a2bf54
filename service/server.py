"""Runs the application until a signal stops it, and lets its uploads end."""

import asyncio
import contextlib
import errno
import functools
import os
import resource
import socket
from collections.abc import Callable, Iterator

import prometheus_client
import structlog
from aiohttp import web

from service import metrics
from service.app import create_app
from service.settings import Settings
from service.stop_signals import StopSignals
from service.uploads.admission import Admission
from service.web import app_keys
from service.web.addresses import host_and_port
from service.web.body import READ_AHEAD_BYTES
from service.web.connection import Connection
from service.web.connection_limit import ConnectionLimit
from service.web.request_log import RequestLog
from service.web.runner import Runner

log = structlog.stdlib.get_logger()

# Load balancers usually close idle connections after 60 seconds. If we closed them first, a request that is on its way
# would fail. This also limits a connection that sends no request, or only half of its headers.
_KEEPALIVE_SECONDS = 75
# After an early refusal the client may still be sending. This is long enough for it to see the answer.
_LINGERING_SECONDS = 2
_CLEANUP_SECONDS = 5
# Uploads that have been told to end do so at once, unless the database or the disk hangs. Then their clients get a 503.
_ENDING_SECONDS = 1
# In this time, a client that has just been connected sends its request.
_FIRST_REQUEST_SECONDS = 1
# A worker that restarts lets an upload wait for a slot for so long.
_SETTLING_SECONDS = 10
# asyncio takes one number for two things: how many connections the kernel keeps until we take them, and how many we
# take in one turn of the loop, failing for each of them if no descriptor is left.
_BACKLOG = 1024
_ACCEPTED_AT_A_TIME = 64


async def serve(settings: Settings, database_url: str, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, and call `announce` with the URL when connections are accepted.

    A signal that comes before that ends the start. Behind it, the first one has new uploads refused; those that run may
    end within `shutdown_seconds`. A second one ends them at once. If the database does not answer, the service is not
    ready until it does. Raises OSError if it cannot listen at the address.
    """
    stop = StopSignals()
    app = create_app(settings, database_url)
    runner = make_runner(app, drain_seconds=_ENDING_SECONDS)
    try:
        if not await stop.until_next(runner.setup()):
            return
        if settings.metrics_port is not None:
            start_metrics(settings.host, settings.metrics_port)
        await listen(runner, settings.host, settings.port)
        host, port = runner.addresses[0][:2]
        announce(f"http://{host_and_port(host, port)}")
        await stop.wait()
        await _drain(app[app_keys.ADMISSION], settings.shutdown_seconds, stop)
    finally:
        await runner.cleanup()
        log.info("stopped")


def require_free_ports(settings: Settings) -> None:
    """Raise OSError if another program has a port that the service needs."""
    for name, port in {"PORT": settings.port, "METRICS_PORT": settings.metrics_port}.items():
        if port is not None:
            with _translated_errors(settings.host, port, name):
                _require_free_port(settings.host, port)


def _require_free_port(host: str, port: int) -> None:
    for family, *_, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE):
        try:
            socket.create_server(place, family=family).close()
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:  # the server itself reports any other error
                raise


async def listen(runner: web.AppRunner, host: str, port: int) -> None:
    """Take connections at every address that the host has on this machine. Raises OSError."""
    with _translated_errors(host, port, "PORT"):
        places = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        absent: OSError | None = None
        for family, *_, place in dict.fromkeys(places):
            try:
                listener = socket.create_server(place, family=family)
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
                absent = error  # a name may have an IPv6 address although the machine has none
            else:
                await web.SockSite(runner, listener, backlog=_ACCEPTED_AT_A_TIME).start()
                listener.listen(_BACKLOG)
        if absent is not None and not runner.addresses:
            raise absent


@contextlib.contextmanager
def _translated_errors(host: str, port: int, name: str) -> Iterator[None]:
    try:
        yield
    except socket.gaierror as error:
        raise OSError(f"Cannot listen on {host}: {error.strerror}. Set WAVEPRESS_HOST to another.") from error
    except OSError as error:
        # The error's own text has numbers, and does not say what to do.
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(
            f"Cannot listen on {host_and_port(host, port)}: {reason}. Set WAVEPRESS_{name} to another."
        ) from error


def _most_connections(wanted: int) -> int:
    """Return how many there may be: an upload needs four descriptors, and a download two."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(wanted, descriptors // 3))


def make_runner(
    app: web.Application, *, can_restart: bool = False, drain_seconds: float | None = None
) -> web.AppRunner:
    """Return a runner with the limits that the application relies on.

    Its cleanup lets the uploads end within `drain_seconds`, by default within the application's `shutdown_seconds`.

    One that `can_restart` first takes the uploads of the connections that it has, before it refuses new ones: their
    clients cannot know that this process ends, and that others go on.
    """
    make_connection = functools.partial(
        Connection,
        reader_stall_seconds=app[app_keys.DOWNLOAD_STALL_SECONDS],
        limit=ConnectionLimit(_most_connections(app[app_keys.MAX_CONNECTIONS])),
        access_log_class=RequestLog,
        auto_decompress=False,  # an encoded body is refused, not inflated
        keepalive_timeout=_KEEPALIVE_SECONDS,
        lingering_time=_LINGERING_SECONDS,
        read_bufsize=READ_AHEAD_BYTES,
    )
    return Runner(
        app,
        make_connection,
        shutdown_timeout=_CLEANUP_SECONDS,
        let_uploads_begin=functools.partial(_let_uploads_begin, app[app_keys.ADMISSION]) if can_restart else None,
        let_uploads_end=functools.partial(
            _let_uploads_end,
            app[app_keys.ADMISSION],
            app[app_keys.SHUTDOWN_SECONDS] if drain_seconds is None else drain_seconds,
        ),
    )


async def _let_uploads_begin(admission: Admission) -> None:
    await asyncio.sleep(_FIRST_REQUEST_SECONDS)
    await admission.until_settled(_SETTLING_SECONDS)


async def _let_uploads_end(admission: Admission, seconds: float) -> None:
    admission.close()
    await admission.drain(seconds)


def allow_many_descriptors() -> None:
    """Raise this process's limit to the most that it may have: an upload takes four, and many systems allow 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def start_metrics(host: str, port: int) -> None:
    """Serve /metrics at a port of its own, from a thread that ends with the process. Raises OSError."""
    prometheus_client.start_http_server(port, addr=host, registry=metrics.registry())


async def _drain(admission: Admission, grace_seconds: float, stop: StopSignals) -> None:
    admission.close()
    uploads = len(admission.running)
    detail = "Stopping."
    if uploads:
        detail += f" Uploads under way: {uploads}. They have {grace_seconds:g} s; a second Ctrl-C ends them at once."
    log.info("stopping", uploads=uploads, grace_seconds=grace_seconds, detail=detail)
    await stop.until_next(admission.drain(grace_seconds))
    await admission.drain(0)
