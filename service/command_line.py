"""The command line's grammar: the commands, their options, and help with examples."""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from service import __version__
from service.operators import add_actions

_EXAMPLES = """examples:
  wavepress serve                        serve on 127.0.0.1:8001 with an embedded PostgreSQL
  WAVEPRESS_PORT=9000 wavepress serve    the same on another port
  wavepress doctor                       check everything once
  wavepress serve --help                 the options of one command

Settings come from the environment; docs/settings.md lists them."""
_SERVE = """examples:
  wavepress serve
  WAVEPRESS_HOST=0.0.0.0 WAVEPRESS_PUBLIC_URL=https://sound.example.com wavepress serve --workers 4"""
_MIGRATE = """example:
  WAVEPRESS_DATABASE_URL=postgresql://ann@db.example.com/wavepress wavepress migrate"""
_SWEEP = """examples:
  wavepress sweep --dry-run
  wavepress sweep --min-age-seconds 86400"""
_USERS = """examples:
  wavepress users create ann
  wavepress users disable 7"""
_RECORDS = """examples:
  wavepress records list 7
  wavepress records delete 6f9619ff-8b86-4d01-b42d-00cf4fc964ff"""
_DOCTOR = """example:
  WAVEPRESS_STORAGE_URL=s3://recordings/mp3 wavepress doctor"""


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the command's name as `command`, and its options.

    Exits with 0 after --help and --version. Exits with 2 after it has said what is wrong, or printed the whole help if
    there is no command.
    """
    parser = _parser()
    parsed = parser.parse_args(arguments)
    if parsed.command is None:
        parser.exit(2, parser.format_help())
    return parsed


def _parser() -> argparse.ArgumentParser:
    as_it_is = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="wavepress",
        description="Streams WAV uploads into MP3s.",
        epilog=_EXAMPLES,
        formatter_class=as_it_is,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"wavepress {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    for name, (does, examples, add_options) in _COMMANDS.items():
        command = commands.add_parser(
            name, help=does, description=f"{does[0].upper()}{does[1:]}.", epilog=examples, formatter_class=as_it_is
        )
        add_options(command)
    return parser


def _add_serve_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--workers", type=_count, default=1, metavar="N", help="serve from N processes (1)")
    command.add_argument(
        "--no-migrate", dest="migrate", action="store_false", help="leave the schema to `wavepress migrate`"
    )


def _add_sweep_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    command.add_argument("--force", action="store_true", help="remove any number of files")
    command.add_argument(
        "--min-age-seconds", type=_seconds, default=3600, metavar="N", help="spare files younger than this (3600)"
    )
    command.add_argument(
        "--max-share",
        type=_share,
        default=0.1,
        metavar="X",
        help="refuse to remove more than this share of all files (0.1)",
    )


def _add_no_options(_command: argparse.ArgumentParser) -> None:
    pass


_COMMANDS: Mapping[str, tuple[str, str, Callable[[argparse.ArgumentParser], None]]] = {
    "serve": ("serve until SIGTERM or Ctrl-C; migrates the database first", _SERVE, _add_serve_options),
    "migrate": ("bring the database's schema up to date", _MIGRATE, _add_no_options),
    "sweep": ("remove MP3s that no record names", _SWEEP, _add_sweep_options),
    "users": (
        "list, create, disable, enable and delete users, and give them tokens",
        _USERS,
        partial(add_actions, "users"),
    ),
    "records": ("list and delete records", _RECORDS, partial(add_actions, "records")),
    "doctor": ("run every check once, with advice", _DOCTOR, _add_no_options),
}


def _count(text: str) -> int:
    """Return a number of processes. Raises ArgumentTypeError."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, such as 4 (it is {text!r})")
    return int(text)


def _seconds(text: str) -> float:
    """Return a number of seconds. Raises ArgumentTypeError."""
    seconds = _number(text)
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of at least 0, in seconds, such as 3600 (it is {text!r})")
    return seconds


def _share(text: str) -> float:
    """Return a share from 0 to 1. Raises ArgumentTypeError."""
    share = _number(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, such as 0.1 (it is {text!r})")
    return share


def _number(text: str) -> float:
    """Return a number; NaN, which is in no range, if the text is not one."""
    try:
        return float(text)
    except ValueError:
        return math.nan
