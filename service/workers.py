"""Serves from several processes at one address, with gunicorn and aiohttp's own worker."""

import os
from collections.abc import Awaitable, Callable

import prometheus_client.multiprocess
from aiohttp import web
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.base import Worker

from service.app import create_app
from service.metrics import MULTIPROCESS_VARIABLE
from service.parts import make_places
from service.server import make_runner, start_metrics
from service.settings import Settings
from service.uploads.places import Places
from service.web.addresses import host_and_port


def serve_with_workers(settings: Settings, database_url: str, count: int, announce: Callable[[str], None]) -> None:
    """Serve from `count` processes until SIGTERM or SIGINT; SIGHUP restarts them one by one, without a refusal.

    They share the limits on uploads: a process never refuses an upload while another one has a place. Blocks, and
    ends by exiting the process.
    """
    # While SIGHUP replaces the workers, there are two generations of them, and more if it comes again.
    places = make_places(settings, rows=16 * count)

    async def make() -> web.AppRunner:
        return make_runner(create_app(settings, database_url, places), can_restart=True)

    parent = os.getpid()
    try:
        _Gunicorn(settings, count, make, places, announce).run()
    except SystemExit as end:
        # A worker of gunicorn ends by unwinding the stack that it was forked with. What the callers on that stack
        # hold, such as the embedded PostgreSQL, belongs to the parent, so a worker must not close it.
        if os.getpid() != parent:
            os._exit(int(end.code or 0))
        raise


class _Gunicorn(BaseApplication):  # type: ignore[misc] # gunicorn publishes no types
    def __init__(
        self,
        settings: Settings,
        count: int,
        make: Callable[[], Awaitable[web.AppRunner]],
        places: Places,
        announce: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._count = count
        self._make = make
        self._places = places
        self._rows: dict[Worker, int] = {}
        self._announce = announce
        super().__init__()

    def load_config(self) -> None:
        options = {
            "bind": host_and_port(self._settings.host, self._settings.port),
            "workers": self._count,
            "worker_class": "aiohttp.GunicornWebWorker",
            # gunicorn must not kill a worker that still drains.
            "graceful_timeout": int(self._settings.shutdown_seconds) + 20,
            "timeout": 60,
            "when_ready": self._when_ready,
            "pre_fork": self._give_row,
            "child_exit": self._forget,
            "proc_name": "wavepress",
            # gunicorn would make its control socket in the working directory.
            "control_socket_disable": True,
            "logger_class": _Logger,
        }
        for name, value in options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Callable[[], Awaitable[web.AppRunner]]:
        return self._make

    def _when_ready(self, arbiter: Arbiter) -> None:
        if self._settings.metrics_port is not None:
            start_metrics(self._settings.host, self._settings.metrics_port)
        self._announce(f"http://{host_and_port(*arbiter.LISTENERS[0].getsockname()[:2])}")

    def _give_row(self, _arbiter: Arbiter, worker: Worker) -> None:
        """Choose the row of counts that the next worker inherits."""
        used = set(self._rows.values())
        self._places.row = next(row for row in range(self._places.rows) if row not in used)
        self._rows[worker] = self._places.row

    def _forget(self, _arbiter: Arbiter, worker: Worker) -> None:
        """Take a dead worker out of the counts and the metrics."""
        if worker in self._rows:
            self._places.clear(self._rows.pop(worker))
        if MULTIPROCESS_VARIABLE in os.environ:
            prometheus_client.multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


class _Logger(Logger):  # type: ignore[misc] # gunicorn publishes no types
    """Hands gunicorn's lines to our own log instead of printing them in a format of their own."""

    def setup(self, cfg: Config) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True
