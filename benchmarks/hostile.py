"""Attacks the service as strangers would, while honest clients use it: `make load`."""

# Each attack is held for some seconds. What counts is the most memory that the service's processes had since it began,
# and whether every honest upload and download succeeded meanwhile.

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.honest import Target, Visits, make_target
from benchmarks.running import raise_descriptor_limit, require_sight, running_service
from benchmarks.table import Row, at_most, report
from tests.support import procfs, s3
from tests.support.attacks import (
    Attack,
    Attacker,
    ask_unread,
    drip,
    keep_after,
    pipeline,
    register,
    sip,
    under,
    until_established,
)

_MOST_MIB = 300
# Much more than it takes, because others may use the machine.
_PATIENCE_SECONDS = 30
_ESTABLISHING_SECONDS = 60
_HOLD_SECONDS = 5
_SETTLE_SECONDS = 10
_LOOK_SECONDS = 0.05
_DESCRIPTORS_BESIDES = 200
_MIB = 2**20


def main() -> None:
    """Run all attacks and print what was found; exit with 1 if a limit is passed or an honest client fails."""
    parser = argparse.ArgumentParser(prog="benchmarks.hostile", description=__doc__, allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="a tenth of all connections and registrations")
    parser.add_argument("--only", default="", metavar="TEXT", help="only attacks whose names have this text")
    arguments = parser.parse_args()
    share = 0.1 if arguments.quick else 1
    raise_descriptor_limit(int(2000 * share) + _DESCRIPTORS_BESIDES)
    rows = []
    with tempfile.TemporaryDirectory(prefix="wavepress-hostile-") as name:
        for make_rows in (_rows_on_disk, _rows_on_s3):
            for row in make_rows(Path(name), share, arguments.only):
                print(f"{row.what}: {row.service}", flush=True)
                rows.append(row)
    report(rows)


def _rows_on_disk(directory: Path, share: float, only: str) -> Iterator[Row]:
    with running_service(directory) as service:
        require_sight(service)
        target = make_target(service, directory)
        for attack in _attacks(target, share):
            if only in attack.what:
                yield from asyncio.run(_measure(target, attack))


def _rows_on_s3(directory: Path, share: float, only: str) -> Iterator[Row]:
    what = f"{int(1000 * share)} slow readers, S3"
    if only not in what:
        return
    if s3.find_weed() is None:
        yield Row(what, "left out: there is no seaweedfs here")
        return
    with tempfile.TemporaryDirectory(dir=directory) as store, s3.seaweedfs(Path(store)) as url:
        settings = {name.upper(): str(value) for name, value in s3.settings(url, "hostile").items()}
        with running_service(directory, settings) as service:
            target = make_target(service, directory)
            attack = Attack(what, int(1000 * share), sip(target.mp3), small_buffers=True)
            yield from asyncio.run(_measure(target, attack))


def _attacks(target: Target, share: float) -> Iterator[Attack]:
    many, some = int(2000 * share), int(1000 * share)
    for path in ("/", "/openapi.json", "/docs/swagger-ui-bundle.js"):
        read, unread = keep_after(path, is_read=True), keep_after(path, is_read=False)
        yield Attack(f"{many} kept after {path}", many, read)
        yield Attack(f"{many} kept, unread {path}", many, unread, small_buffers=True)
    yield Attack(f"{some} slow readers, disk", some, sip(target.mp3), small_buffers=True)
    yield Attack(
        f"{some} unread lists", some, ask_unread("/records?limit=500", target.mallory.token), small_buffers=True
    )
    yield Attack(f"{many} half requests, a byte each 3 s", many, drip)
    yield Attack(f"{some} pipelining, unread", some, pipeline("/openapi.json"), small_buffers=True)
    registrations = int(10_000 * share)
    yield Attack(f"{registrations} registrations, 100 at a time", 100, register(registrations))


async def _measure(target: Target, attack: Attack) -> list[Row]:
    """Attack, let honest clients visit from the beginning to the end, and return what was found."""
    pid, port = target.service.pid, target.service.address.port
    before, descriptors = procfs.resident_bytes(pid), procfs.descriptor_count(pid)
    procfs.forget_peak(pid)
    visits = Visits()
    async with under(attack, port) as attackers:
        building_up = asyncio.create_task(until_established(attackers, _ESTABLISHING_SECONDS))
        while not building_up.done():
            await asyncio.to_thread(visits.visit, target)
        ends = time.perf_counter() + _HOLD_SECONDS
        while time.perf_counter() < ends:
            await asyncio.to_thread(visits.visit, target)
        rows = [_memory_row(attack, attackers, before, procfs.peak_resident_bytes(pid)), _visits_row(visits)]
    await asyncio.to_thread(_settle, pid, descriptors)
    return rows


def _settle(pid: int, descriptors: int) -> None:
    """Wait until the service has closed the connections of an attack, so that the next one begins without them."""
    deadline = time.perf_counter() + _SETTLE_SECONDS
    while procfs.descriptor_count(pid) > descriptors + 10 and time.perf_counter() < deadline:
        time.sleep(_LOOK_SECONDS)


def _memory_row(attack: Attack, attackers: Sequence[Attacker], before: int, peak: int) -> Row:
    established = sum(attacker.is_established for attacker in attackers)
    closed = sum(attacker.is_closed_by_service for attacker in attackers)
    seen = f"{established} established, {closed} closed by the service; {before / _MIB:.0f} MiB before"
    return Row(f"{attack.what}: peak RSS", seen, figure=peak / _MIB, unit="MiB", aim=at_most(_MOST_MIB, "MiB"))


def _visits_row(visits: Visits) -> Row:
    longest = max([*visits.uploads, *visits.downloads], default=0)
    if visits.failures:
        return Row("  honest clients", visits.failures[0], "", float("inf"), "s", at_most(_PATIENCE_SECONDS, "s"))
    figures = (
        f"upload {min(visits.uploads):.2f} to {max(visits.uploads):.2f} s, "
        f"download {min(visits.downloads):.2f} to {max(visits.downloads):.2f} s, {len(visits.downloads)} times"
    )
    return Row("  honest clients: longest", figures, "", longest, "s", at_most(_PATIENCE_SECONDS, "s"))


if __name__ == "__main__":
    main()
