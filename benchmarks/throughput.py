"""Measures the service beside every ffmpeg of this machine and prints one table: `make bench`."""

# Each group of rows gets a service of its own, started as a user would start it. The service and bare ffmpeg take turns
# at the same work. The ratios are medians over the rounds, which other load on the machine changes less than times.

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.answers import measure_downloads, measure_users
from benchmarks.bench import Bench
from benchmarks.memory import measure_live_uploads, measure_sizes
from benchmarks.running import running_service
from benchmarks.speed import measure_long, measure_many, measure_paced, measure_parallel, measure_short
from benchmarks.table import Row, format_table
from benchmarks.waveform import measure_waveform
from service.audio.ffmpegs import find_ffmpegs

MEASUREMENTS: dict[str, Callable[[Bench], list[Row]]] = {
    "short": measure_short,
    "long": measure_long,
    "paced": measure_paced,
    "sizes": measure_sizes,
    "parallel": measure_parallel,
    "many": measure_many,
    "live": measure_live_uploads,
    "users": measure_users,
    "downloads": measure_downloads,
    "waveform": measure_waveform,
}


def main() -> None:
    """Run the measurements that were asked for, or all, and print their rows."""
    arguments = _parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="wavepress-bench-", dir=arguments.directory) as directory:
        rows = list(_measure(arguments.only, Path(directory), is_quick=arguments.quick))
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}. The first of these runs in the service:")
    for program in find_ffmpegs():
        print(f"- {program.origin}: {_version(program.path)}, {program.path}")
    print()
    print(format_table(rows))


def _version(ffmpeg: str) -> str:
    """Return what an ffmpeg says of itself, such as "ffmpeg version 5.1.9"."""
    said = subprocess.run([ffmpeg, "-version"], capture_output=True, text=True, check=True).stdout
    return " ".join(said.split()[:3])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.throughput", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=MEASUREMENTS,
        default=list(MEASUREMENTS),
        metavar="NAME",
        help=f"what to measure: {', '.join(MEASUREMENTS)}",
    )
    parser.add_argument("--quick", action="store_true", help="a fifth of all lengths, counts and rounds")
    parser.add_argument("--directory", type=Path, help="where to put WAVs, MP3s and database (the temporary directory)")
    return parser


def _measure(names: list[str], directory: Path, *, is_quick: bool) -> Iterator[Row]:
    for name in names:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        with running_service(directory) as service:
            yield from MEASUREMENTS[name](Bench(service, directory, is_quick))


if __name__ == "__main__":
    main()
