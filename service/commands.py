"""Runs the commands of `wavepress`; settings come from the environment."""

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path

import structlog

from service import interruption
from service.audio.confinement import hide_this_process
from service.audio.ffmpegs import NoFfmpegError
from service.command_line import parse_arguments
from service.database.cluster import EmbeddedError
from service.database.embedded import leave_address, postgres, require_no_service
from service.database.migrations import MigrationFailed, migrate
from service.database.pool import open_database
from service.doctor import ADVICE, compare_ffmpegs, examine
from service.errors import ServiceError
from service.ids import shortened
from service.logs import configure_logs
from service.operators import Parts, operate
from service.ownership import explain
from service.parts import choose_ffmpeg, make_registration_policy, make_storage
from service.server import allow_many_descriptors, require_free_ports, serve
from service.session_share import yielding_session
from service.settings import InvalidSettingsError, Settings, read_settings
from service.settings.unknown_variables import unknown_variables
from service.shared_metrics import shared_metrics
from service.threads import interruptibly
from service.uploads.removal import Removal
from service.uploads.sweep import SweepPolicy, SweepReport, TooManyOrphansError, sweep
from service.web.curl_lines import curl_lines
from service.workers import serve_with_workers

log = structlog.stdlib.get_logger()


def run(words: Sequence[str]) -> None:
    """Run the command that these words name. Exits with 1 if it fails, and with 2 if it is used wrongly."""
    arguments = parse_arguments(words)
    with shared_metrics(getattr(arguments, "workers", 1)):
        _run(arguments)


def _run(arguments: argparse.Namespace) -> None:
    try:
        settings = read_settings()
    except InvalidSettingsError as error:
        sys.exit(_complain(str(error), status=2))
    configure_logs(settings.log_format)
    try:
        _COMMANDS[arguments.command](settings, arguments)
    except BrokenPipeError:  # `wavepress records list | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        sys.exit(_complain(explain(error, settings.data_dir) or str(error), status=1))
    except (EmbeddedError, MigrationFailed, NoFfmpegError, ServiceError, TooManyOrphansError) as error:
        sys.exit(_complain(str(error), status=1))


def _serve(settings: Settings, arguments: argparse.Namespace) -> None:
    with yielding_session():
        hide_this_process()
        for detail in unknown_variables():
            log.warning("unknown_setting", detail=detail)
        if settings.database is None:
            require_no_service(_embedded_directory(settings))
        require_free_ports(settings)  # before a database is made in vain
        choose_ffmpeg(settings)  # as above
        with _database_url(settings, share=False) as url:
            if arguments.migrate:
                interruptibly(migrate, url)
            _serve_with(url, settings, arguments.workers)


def _serve_with(url: str, settings: Settings, workers: int) -> None:
    allow_many_descriptors()
    policy = make_registration_policy(settings)
    log.info("registration", mode=policy.mode, detail=policy.describe())
    announce = partial(_announce, settings)
    if workers > 1:
        serve_with_workers(settings, url, workers, announce)
    else:
        try:
            asyncio.run(serve(settings, url, announce))
        finally:
            interruption.raise_interrupts()  # until the embedded PostgreSQL has stopped


def _doctor(settings: Settings, _arguments: argparse.Namespace) -> None:
    with _database_url(settings, share=True) as url:
        verdicts = asyncio.run(examine(settings, url))
    for name, verdict in verdicts.items():
        print(f"{name}: {verdict}" if verdict == "ok" else f"{name}: {verdict}\n    {ADVICE[name]}")  # noqa: T201 - its answer
        if name == "encoder":
            for line in asyncio.run(compare_ffmpegs(settings)):
                print(f"    {line}")  # noqa: T201 - its answer
    if set(verdicts.values()) != {"ok"}:
        sys.exit(1)


def _migrate(settings: Settings, _arguments: argparse.Namespace) -> None:
    with _database_url(settings, share=True) as url:
        applied = interruptibly(migrate, url)
    if sys.stdout.isatty():
        print(f"Applied: {', '.join(applied)}" if applied else "The schema is up to date.")  # noqa: T201 - its answer
    elif not applied:  # those that are applied have been logged
        log.info("schema_up_to_date")


def _sweep(settings: Settings, arguments: argparse.Namespace) -> None:
    with _database_url(settings, share=True) as url:
        report = asyncio.run(_run_sweep(settings, url, arguments))
    verb = "would be removed" if arguments.dry_run else "removed"
    count = report.orphans if arguments.dry_run else report.removed
    print(f"{report.files} files, {report.orphans} without a record, {count} {verb}.")  # noqa: T201 - its answer


def _operate(settings: Settings, arguments: argparse.Namespace) -> None:
    with _database_url(settings, share=True) as url:
        if settings.database is None:
            interruptibly(migrate, url)  # nobody else does, before the first start
        asyncio.run(_run_operators_command(settings, url, arguments))


async def _run_operators_command(settings: Settings, url: str, arguments: argparse.Namespace) -> None:
    async with open_database(url, max_connections=1) as database:
        await operate(Parts(database, Removal(database, make_storage(settings))), arguments)


async def _run_sweep(settings: Settings, url: str, arguments: argparse.Namespace) -> SweepReport:
    storage = make_storage(settings)
    async with open_database(url, max_connections=1) as database:
        storage.prepare()
        policy = SweepPolicy(
            min_age=timedelta(seconds=arguments.min_age_seconds),
            max_share=arguments.max_share,
            dry_run=arguments.dry_run,
            force=arguments.force,
        )
        return await sweep(storage, database, policy)


@contextlib.contextmanager
def _database_url(settings: Settings, *, share: bool) -> Iterator[str]:
    """Yield the URL of the database: the one that is set, else the embedded one. `share` a running service's."""
    if url := settings.database:
        yield url
        return
    with postgres(_embedded_directory(settings), share=share) as url:
        yield url


def _embedded_directory(settings: Settings) -> Path:
    return settings.data_dir.absolute() / "postgres"


def _announce(settings: Settings, url: str) -> None:
    """Say where the service is: at length to a person, in one line to a log."""
    if settings.database is None:
        leave_address(_embedded_directory(settings), url)
    if not sys.stdout.isatty():
        log.info("serving", url=url)
        return
    wav = "examples/talk.wav" if Path("examples/talk.wav").is_file() else None
    lines = curl_lines(url, mode=make_registration_policy(settings).effective_mode, wav=wav)
    where = "in another terminal, in the same folder" if wav else "in another terminal"
    print(  # noqa: T201 - what a person at the terminal waits for
        f"wavepress serves on {url}. Open that in a browser, or try it {where}:\n\n{lines}\n\n"
        f"The whole API, to read and to try: {url}/docs\nCtrl-C stops it.",
        flush=True,
    )


def _complain(message: str, status: int) -> int:
    print(f"wavepress: {shortened(message)}", file=sys.stderr)  # noqa: T201 - where a person looks
    return status


_COMMANDS = {
    "serve": _serve,
    "migrate": _migrate,
    "sweep": _sweep,
    "doctor": _doctor,
    "users": _operate,
    "records": _operate,
}
