"""Sends ten times more uploads than the service takes, for a minute: `make load`."""

# Goodput under overload is compared with the goodput of exactly as many clients as there are slots. That is measured
# before and after, which shows if others use the machine, or if the service does not recover.

import argparse
import random
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from benchmarks.client import Address, upload_if_asked
from benchmarks.latency import Latencies, latency_row, probing
from benchmarks.running import Running, running_service
from benchmarks.sounds import make_wav
from benchmarks.table import Row, at_least, at_most, report
from tests.support.procfs import cpu_seconds

# Twice the cores of a small machine: only the encoders limit it, so every cost of a refusal lowers the goodput. As many
# may wait as may run, so a slot is never empty. The other 32 of 40 clients are refused.
_SLOTS = 4
_WAITING = 4
_CLIENTS = 10 * _SLOTS
# A refused client waits this long on average before it tries again. It is a tenth of what Retry-After asks for, because
# these clients are rude, but not a busy loop.
_RETRY_SECONDS = 0.5
_WAV_SECONDS = 10
_PEAK_SECONDS = 30
_OVERLOAD_SECONDS = 60
# After this, every slot is taken, and the uploads do not end together.
_SETTLE_SECONDS = 2
_NO_ANSWER = 0


@dataclass(frozen=True, slots=True)
class _Try:
    """One try to upload: when it ended, how long it took, the answer's status, and whether it has Retry-After."""

    ended: float
    seconds: float
    status: int
    has_hint: bool


@dataclass(frozen=True, slots=True)
class _Phase:
    """What clients got in `seconds`; `cpu_seconds` is what the service and its child processes used meanwhile."""

    tries: list[_Try]
    seconds: float
    cpu_seconds: float
    latencies: Latencies

    def with_status(self, status: int) -> list[_Try]:
        """Return the tries that were answered with this status."""
        return [one for one in self.tries if one.status == status]

    @property
    def goodput(self) -> float:
        """Uploads that were kept, per second."""
        return len(self.with_status(HTTPStatus.CREATED)) / self.seconds

    @property
    def cpu_of_one(self) -> float:
        """Seconds of CPU per upload that was kept."""
        return self.cpu_seconds / max(1, len(self.with_status(HTTPStatus.CREATED)))


def main() -> None:
    """Measure the peak, the overload and the peak again, and print what was found; exit with 1 if an aim is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.overload", description=__doc__, allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="a fifth of all lengths")
    arguments = parser.parse_args()
    share = 0.2 if arguments.quick else 1
    settings = {"MAX_ENCODINGS": str(_SLOTS), "MAX_WAITING": str(_WAITING)}
    with tempfile.TemporaryDirectory(prefix="wavepress-overload-") as name:
        directory = Path(name)
        wav = make_wav(directory, _WAV_SECONDS)
        with running_service(directory, settings) as service:
            before = _run_phase(service, wav, _SLOTS, share * _PEAK_SECONDS)
            overload = _run_phase(service, wav, _CLIENTS, share * _OVERLOAD_SECONDS)
            after = _run_phase(service, wav, _SLOTS, share * _PEAK_SECONDS)
    report([*_goodput_rows(before, overload, after), *_refusal_rows(overload, [before, after])])


def _run_phase(service: Running, wav: Path, clients: int, seconds: float) -> _Phase:
    """Let clients upload for `seconds` after they have settled, and count only the tries that end in that time."""
    started = time.perf_counter() + _SETTLE_SECONDS
    with probing(service.address) as latencies, ThreadPoolExecutor(clients) as threads:
        running = [
            threads.submit(_keep_uploading, service.address, wav, started + seconds, number)
            for number in range(clients)
        ]
        time.sleep(_SETTLE_SECONDS)
        cpu_before = cpu_seconds(service.pid)
        time.sleep(max(0, started + seconds - time.perf_counter()))
        cpu = cpu_seconds(service.pid) - cpu_before
    tries = [one for tries in running for one in tries.result() if started <= one.ended <= started + seconds]
    return _Phase(tries, seconds, cpu, latencies)


def _keep_uploading(address: Address, wav: Path, until: float, seed: int) -> list[_Try]:
    """Upload a file again and again, with a pause after each refusal."""
    pauses = random.Random(seed)
    tries = []
    while time.perf_counter() < until:
        tries.append(_try_upload(address, wav))
        if tries[-1].status != HTTPStatus.CREATED:
            time.sleep(_RETRY_SECONDS * pauses.uniform(0.5, 1.5))  # so that clients do not come back together
    return tries


def _try_upload(address: Address, wav: Path) -> _Try:
    started = time.perf_counter()
    try:
        answer = upload_if_asked(address, wav)
    except (OSError, RuntimeError):
        status, has_hint = _NO_ANSWER, False
    else:
        status, has_hint = answer.status, answer.header("Retry-After") is not None
    ended = time.perf_counter()
    return _Try(ended, ended - started, status, has_hint)


def _goodput_rows(before: _Phase, overload: _Phase, after: _Phase) -> list[Row]:
    peak = (before.goodput + after.goodput) / 2
    peak_cpu = (before.cpu_of_one + after.cpu_of_one) / 2
    return [
        Row(f"peak: goodput of {_SLOTS} clients", f"{before.goodput:.1f} /s before, {after.goodput:.1f} /s after"),
        Row(
            f"overload: goodput of {_CLIENTS} clients, by the peak's",
            f"{overload.goodput:.1f} /s",
            figure=overload.goodput / peak,
            aim=at_least(0.95),
            is_noisy=True,
        ),
        Row(
            "overload: CPU per upload that is kept, by the peak's",
            f"{overload.cpu_of_one * 1000:.0f} ms, peak {peak_cpu * 1000:.0f} ms",
            figure=overload.cpu_of_one / peak_cpu,
        ),
    ]


def _refusal_rows(overload: _Phase, others: list[_Phase]) -> list[Row]:
    refusals = overload.with_status(HTTPStatus.SERVICE_UNAVAILABLE)
    statuses = Counter(one.status for phase in (overload, *others) for one in phase.tries)
    strange = sum(statuses.values()) - statuses[HTTPStatus.CREATED] - statuses[HTTPStatus.SERVICE_UNAVAILABLE]
    seen = ", ".join(f"{count} x {status or 'no answer'}" for status, count in sorted(statuses.items()))
    without_hint = sum(not one.has_hint for one in refusals)
    of_peak = [*others[0].latencies.health, *others[1].latencies.health]
    return [
        latency_row("overload: 503, connecting included", [one.seconds for one in refusals], 10),
        Row("503 without Retry-After", "", figure=without_hint, unit="", aim=at_most(0, "")),
        Row("answers other than 201 and 503", seen, figure=strange, unit="", aim=at_most(0, "")),
        *overload.latencies.rows("overload"),
        latency_row("peak: GET /health/live", of_peak, 50),
    ]


if __name__ == "__main__":
    main()
