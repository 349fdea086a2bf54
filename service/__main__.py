"""The command line: `wavepress serve`, `migrate`, `sweep` and `doctor`; settings come from the environment."""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta

import structlog

from service import __version__, metrics
from service.account_parts import make_registration_policy
from service.app import make_storage
from service.database.cluster import EmbeddedError
from service.database.embedded import postgres
from service.database.migrations import MigrationFailed, migrate
from service.database.pool import open_database
from service.doctor import ADVICE, examine
from service.errors import ServiceError
from service.logs import configure_logs
from service.operators import Parts, add_actions, operate
from service.server import allow_many_descriptors, serve
from service.settings import InvalidSettingsError, Settings, read_settings
from service.uploads.removal import Removal
from service.uploads.sweep import SweepPolicy, SweepReport, TooManyOrphansError, sweep
from service.web.routes.front_page import curl_lines
from service.workers import serve_with_workers

log = structlog.stdlib.get_logger()


def main() -> None:
    """Run one command and exit: 0 done, 1 failed, 2 used wrongly."""
    arguments = _parser().parse_args()
    _share_metrics(arguments)
    try:
        settings = read_settings()
        configure_logs(settings.log_format)
        arguments.run(settings, arguments)
    except InvalidSettingsError as error:
        sys.exit(_complain(str(error), status=2))
    except (EmbeddedError, MigrationFailed, ServiceError, TooManyOrphansError, OSError) as error:
        sys.exit(_complain(str(error), status=1))
    except KeyboardInterrupt:  # before it served: there it is a signal like SIGTERM
        sys.exit(128 + signal.SIGINT)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wavepress", description=f"{__doc__} The README lists them.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"wavepress {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    command = commands.add_parser("serve", help="serve until SIGTERM or Ctrl-C; migrates the database first")
    command.add_argument("--workers", type=int, default=1, metavar="N", help="serve from N processes (1)")
    command.add_argument(
        "--no-migrate", dest="migrate", action="store_false", help="leave the schema to `wavepress migrate`"
    )
    command.set_defaults(run=_serve)
    command = commands.add_parser("migrate", help="bring the database's schema up to date")
    command.set_defaults(run=_migrate)
    command = commands.add_parser("sweep", help="remove MP3s that no record names")
    command.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    command.add_argument("--force", action="store_true", help="remove however many there are")
    command.add_argument(
        "--min-age-seconds",
        type=_seconds,
        default=3600,
        metavar="N",
        help="spare files younger than this (3600)",
    )
    command.add_argument(
        "--max-share",
        type=_share,
        default=0.1,
        metavar="X",
        help="refuse to remove more than this share of all files (0.1)",
    )
    command.set_defaults(run=_sweep)
    for noun in ("users", "records"):
        command = commands.add_parser(noun, help=f"what an operator does with {noun}")
        add_actions(command, noun)
        command.set_defaults(run=_operate)
    command = commands.add_parser("doctor", help="run every check once, with advice")
    command.set_defaults(run=_doctor)
    return parser


def _seconds(text: str) -> float:
    """Take a span of time. Raises ValueError, of which argparse makes its own complaint."""
    if not 0 <= (seconds := float(text)) < float("inf"):
        raise ValueError(text)
    return seconds


def _share(text: str) -> float:
    """Take a share of a whole. Raises ValueError likewise."""
    if not 0 <= (share := float(text)) <= 1:
        raise ValueError(text)
    return share


def _share_metrics(arguments: argparse.Namespace) -> None:
    """Begin anew with a directory for the workers' metrics, which must be known before anything is imported."""
    if getattr(arguments, "workers", 1) > 1 and metrics.MULTIPROCESS_VARIABLE not in os.environ:
        directory = tempfile.mkdtemp(prefix="wavepress-metrics-")
        os.environ[metrics.MULTIPROCESS_VARIABLE] = directory
        os.execv(sys.executable, [sys.executable, "-m", "service", *sys.argv[1:]])  # noqa: S606 - ourselves


def _serve(settings: Settings, arguments: argparse.Namespace) -> None:
    with _database_url(settings, share=False) as url:
        if arguments.migrate:
            migrate(url)
        allow_many_descriptors()
        policy = make_registration_policy(settings)
        log.info("registration", mode=policy.mode, detail=policy.describe())
        if arguments.workers > 1:
            serve_with_workers(settings, url, arguments.workers, _announce)
        else:
            asyncio.run(serve(settings, url, _announce))


def _doctor(settings: Settings, _arguments: argparse.Namespace) -> None:
    with _database_url(settings, share=True) as url:
        verdicts = asyncio.run(examine(settings, url))
    for name, verdict in verdicts.items():
        print(f"{name}: {verdict}" if verdict == "ok" else f"{name}: {verdict}\n    {ADVICE[name]}")  # noqa: T201 - its answer
    if set(verdicts.values()) != {"ok"}:
        sys.exit(1)


def _migrate(settings: Settings, _arguments: argparse.Namespace) -> None:
    with _database_url(settings, share=True) as url:
        applied = migrate(url)
    print(f"Applied: {', '.join(applied)}" if applied else "The schema is up to date.")  # noqa: T201 - its answer


def _sweep(settings: Settings, arguments: argparse.Namespace) -> None:
    with _database_url(settings, share=True) as url:
        report = asyncio.run(_run_sweep(settings, url, arguments))
    verb = "would be removed" if arguments.dry_run else "removed"
    count = report.orphans if arguments.dry_run else report.removed
    print(f"{report.files} files, {report.orphans} without a record, {count} {verb}.")  # noqa: T201 - its answer


def _operate(settings: Settings, arguments: argparse.Namespace) -> None:
    with _database_url(settings, share=True) as url:
        if settings.database is None:
            migrate(url)  # nobody else does, before the first start
        asyncio.run(_run_operators_command(settings, url, arguments))


async def _run_operators_command(settings: Settings, url: str, arguments: argparse.Namespace) -> None:
    async with open_database(url, max_connections=1) as database:
        await operate(Parts(database, Removal(database, make_storage(settings))), arguments)


async def _run_sweep(settings: Settings, url: str, arguments: argparse.Namespace) -> SweepReport:
    storage = make_storage(settings)
    storage.prepare()
    async with open_database(url, max_connections=1) as database:
        policy = SweepPolicy(
            min_age=timedelta(seconds=arguments.min_age_seconds),
            max_share=arguments.max_share,
            dry_run=arguments.dry_run,
            force=arguments.force,
        )
        return await sweep(storage, database, policy)


@contextlib.contextmanager
def _database_url(settings: Settings, *, share: bool) -> Iterator[str]:
    """Yield the database to use: the one that is set, else the embedded one, beside a running service's if `share`."""
    if url := settings.database:
        yield url
        return
    with postgres(settings.data_dir.absolute() / "postgres", share=share) as url:
        yield url


def _announce(url: str) -> None:
    print(  # noqa: T201 - what a person at the terminal waits for
        f"wavepress serves on {url}. Try it in another terminal, in the same folder:\n\n"
        f"{curl_lines(url, 'examples/talk.wav')}\n\nThe whole API, to read and to try: {url}/docs\nCtrl-C stops it.",
        flush=True,
    )


def _complain(message: str, status: int) -> int:
    print(f"wavepress: {message}", file=sys.stderr)  # noqa: T201 - where a person looks
    return status


if __name__ == "__main__":
    main()
