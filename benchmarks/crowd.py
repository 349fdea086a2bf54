"""Runs 1,000 slow uploads at once, and prints what each costs: `make load`."""

# A small machine cannot encode 1,000 WAVs in real time. So each is sent at a fraction of it: all are live together, and
# one core encodes what they send.

import argparse
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.client import Address, Uploaded, upload
from benchmarks.latency import probing
from benchmarks.running import Running, new_user, raise_descriptor_limit, require_sight, running_service
from benchmarks.sounds import make_wav
from benchmarks.table import Row, at_least, at_most, report
from tests.support import procfs

_UPLOADS = 1000
_QUICK_UPLOADS = 200
_WAV_SECONDS = 3
# An ffmpeg takes 30 ms of CPU to start. If all came at once, they would only measure these starts.
_STARTS_PER_SECOND = 25
# All are live for this long.
_HOLD_SECONDS = 30
# The memory that one upload takes of the kernel and the processes, and a gibibyte that must stay free.
_BYTES_OF_ONE = 3 * 2**20
_RESERVE_BYTES = 2**30
# One upload: the client's socket, the draft, ffmpeg's stdin, stderr and pidfd. Besides: database, listener, log.
_DESCRIPTORS_OF_ONE = 5
_DESCRIPTORS_BESIDES = 200
_LOOKED_AT = 100
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class _Look:
    """What the service uses at a moment; `encoder_pss` is the mean of some of its ffmpegs, in bytes."""

    rss: int
    descriptors: int
    threads: int
    encoders: int
    encoder_pss: float
    encoder_threads: float
    available: int


def main() -> None:
    """Run the uploads and print what was found; exit with 1 if an aim is missed or there is too little memory."""
    parser = argparse.ArgumentParser(prog="benchmarks.crowd", description=__doc__, allow_abbrev=False)
    parser.add_argument("--uploads", type=int, default=_UPLOADS, metavar="N", help=f"how many ({_UPLOADS})")
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK_UPLOADS} uploads")
    arguments = parser.parse_args()
    count = _QUICK_UPLOADS if arguments.quick else arguments.uploads
    if procfs.available_bytes() < count * _BYTES_OF_ONE + _RESERVE_BYTES:
        raise SystemExit(f"{count} uploads do not fit into the free memory; see --uploads")
    raise_descriptor_limit(count * _DESCRIPTORS_OF_ONE + _DESCRIPTORS_BESIDES)
    with tempfile.TemporaryDirectory(prefix="wavepress-crowd-") as name:
        wav = make_wav(Path(name), _WAV_SECONDS)
        with running_service(Path(name), {"MAX_ENCODINGS": str(count)}) as service:
            require_sight(service)
            rows = _run_crowd(service, wav, count)
    report(rows)


def _run_crowd(service: Running, wav: Path, count: int) -> list[Row]:
    users = [new_user(service.address.port) for _ in range(count)]  # a user may run a few uploads, not 1,000
    upload(service.address, wav)  # so that what only the first upload allocates does not count
    ramp_seconds = count / _STARTS_PER_SECOND
    bytes_per_second = wav.stat().st_size / (ramp_seconds + _HOLD_SECONDS)
    before = _look(service.pid)
    with ThreadPoolExecutor(count) as threads:
        with probing(service.address) as while_starting:
            uploads = _start_uploads(threads, users, wav, bytes_per_second)
        # Not within the block, because looking at 1,000 processes would delay the probes.
        cpu_before, started = procfs.cpu_seconds(service.pid), time.perf_counter()
        with probing(service.address) as while_live:
            time.sleep(_HOLD_SECONDS * 2 / 3)
        cores = (procfs.cpu_seconds(service.pid) - cpu_before) / (time.perf_counter() - started)
        live = _look(service.pid)
        with probing(service.address) as while_ending:
            errors = [upload_.exception() for upload_ in uploads]
    after = _look(service.pid)
    pace = f"{bytes_per_second / 1000:.1f} kB/s each, {cores:.2f} cores busy"
    return [
        *_outcome_rows(errors, live, pace),
        *_cost_rows(before, live, after, count),
        *while_starting.rows(f"{_STARTS_PER_SECOND} starts a second"),
        *while_live.rows(f"{count} live"),
        *while_ending.rows("ending"),
    ]


def _start_uploads(
    threads: ThreadPoolExecutor, users: list[Address], wav: Path, bytes_per_second: float
) -> list[Future[Uploaded]]:
    """Start one upload after the other at an even pace."""
    started = time.perf_counter()
    uploads = []
    for number, user in enumerate(users):
        time.sleep(max(0, started + number / _STARTS_PER_SECOND - time.perf_counter()))
        uploads.append(threads.submit(upload, user, wav, bytes_per_second))
    return uploads


def _look(pid: int) -> _Look:
    available = procfs.available_bytes()
    encoders = procfs.encoders(pid)
    some = sorted(encoders)[:: -(-len(encoders) // _LOOKED_AT) or 1]  # looking at all would take seconds of CPU
    return _Look(
        rss=procfs.resident_bytes(pid),
        descriptors=procfs.descriptor_count(pid),
        threads=procfs.thread_count(pid),
        encoders=len(encoders),
        encoder_pss=sum(map(procfs.proportional_bytes, some)) / max(1, len(some)),
        encoder_threads=sum(map(procfs.thread_count, some)) / max(1, len(some)),
        available=available,
    )


def _outcome_rows(errors: Iterable[BaseException | None], live: _Look, pace: str) -> list[Row]:
    failed = [repr(error) for error in errors if error is not None]
    return [
        Row("ffmpegs that ran together", pace, figure=live.encoders, unit=""),
        Row("uploads that did not end in 201", "; ".join(failed[:1]), "", len(failed), "", at_most(0, "")),
    ]


def _cost_rows(before: _Look, live: _Look, after: _Look, count: int) -> list[Row]:
    rss = (live.rss - before.rss) / count
    whole = (before.available - live.available) / count
    rest = f"{before.rss / _MIB:.0f} MiB before, {live.rss / _MIB:.0f} live, {after.rss / _MIB:.0f} after"
    descriptors = (live.descriptors - before.descriptors) / count
    return [
        Row("one upload: RSS of the service", rest, "", rss / _MIB, "MiB", at_most(1, "MiB")),
        Row("one upload: PSS of its ffmpeg", "", figure=live.encoder_pss / _MIB, unit="MiB"),
        Row("one upload: memory of the machine, the kernel's too", "", figure=whole / _MIB, unit="MiB"),
        Row("one upload: descriptors of the service", f"{after.descriptors} after", figure=descriptors, unit=""),
        Row("one upload: threads of the service", "", figure=(live.threads - before.threads) / count, unit=""),
        Row("one upload: threads of its ffmpeg", "", figure=live.encoder_threads, unit=""),
        Row(
            "uploads that this machine's memory has room for",
            f"{before.available / 2**30:.1f} GiB free",
            figure=before.available / whole,
            unit="",
            aim=at_least(count, ""),
        ),
    ]


if __name__ == "__main__":
    main()
