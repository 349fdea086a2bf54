"""A disk is full, read-only or gone: the answer is 507 or 503, nothing is left, and other uploads go on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from service.uploads.sweep import SweepPolicy, sweep
from service.web.app_keys import DATABASE, STORAGE
from tests.support import wavs
from tests.support.client import EVERY_TRANSPORT, Account, Answer, Service, StartService, Transport
from tests.support.half_upload import half_upload
from tests.support.invariants import GOOD_WAV, invariants_hold
from tests.support.mp3s import decode
from tests.support.raw import connect, request_head

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


PAGE = 4096
KIBIBYTE = 1024
# Its MP3 has 41 KB, for which a disk of 64 KiB has room.
TALK = wavs.wav(wavs.chirp(44_100 * 5 // 2, 44_100, 1), sample_rate=44_100, channels=1)
every_transport = pytest.mark.parametrize("transport", EVERY_TRANSPORT)
every_size = pytest.mark.parametrize("small_disk", [64, 1024], ids=["64KiB", "1MiB"], indirect=True)


class SmallDisk:
    """A small file system that holds the service's recordings."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._ballast = directory / "ballast"

    @property
    def free_bytes(self) -> int:
        state = os.statvfs(self.directory)
        return state.f_bavail * state.f_frsize

    def leave(self, byte_count: int) -> None:
        """Fill the disk until that many bytes are free, rounded down to a page, or less if a draft grows meanwhile."""
        self._ballast.unlink(missing_ok=True)
        ballast = self.free_bytes - byte_count
        assert ballast >= 0
        self._ballast.write_bytes(bytes(ballast))
        assert self.free_bytes <= byte_count

    def take_every_name(self) -> None:
        """Use every inode, so that no new file can be made although there is room."""
        with contextlib.suppress(OSError):
            for number in range(10_000):
                (self.directory / f"name{number}").touch()

    def clear(self) -> None:
        for file in [self._ballast, *self.directory.glob("name*")]:
            file.unlink(missing_ok=True)

    def remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.directory)], check=True)  # noqa: S607


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SmallDisk]:
    """A tmpfs for the recordings; the parameter is its size in KiB, 1024 by default.

    A test must name it before the service, so that it is unmounted after the service has stopped.
    """
    directory = tmp_path / "data" / "records"
    directory.mkdir(parents=True)
    size = getattr(request, "param", 1024)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k,nr_inodes=1000", "none", str(directory)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk, and nothing else is full at a byte that we choose")
    yield SmallDisk(directory)
    subprocess.run(["umount", str(directory)], check=True)  # noqa: S607


async def started(start_service: StartService, **settings: object) -> tuple[Service, Account]:
    """Start a service with no reserve, and create its first user."""
    service = await start_service(**({"min_free_bytes": 0} | settings))
    return service, await service.create_user()


def assert_full(answer: Answer) -> None:
    assert (answer.status, answer.json["code"]) == (507, "storage_full")
    assert answer.headers["Content-Type"] == "application/problem+json"


def assert_outage(answer: Answer) -> None:
    assert (answer.status, answer.json["code"]) == (503, "storage_unavailable")
    assert int(answer.headers["Retry-After"]) > 0


async def kept_size(service: Service, account: Account, wav: bytes) -> int:
    """Upload the WAV, delete the record, and return the size of its MP3."""
    answer = await service.upload(account, wav)
    assert answer.status == 201
    assert (await service.request("DELETE", f"/records/{answer.json['id']}", headers=account.headers)).status == 204
    return int(answer.json["size"])


async def served(service: Service, record: Answer) -> bool:
    """Return whether a record is served whole."""
    answer = await service.get(record.json["url"])
    return answer.status == 200 and len(answer.body) == record.json["size"]


@every_size
@every_transport
@pytest.mark.parametrize("room", ["nothing", "one page", "half", "all but the last page"])
async def test_full_disk_is_507_wherever_it_fills_up(
    small_disk: SmallDisk,
    start_service: StartService,
    caplog: pytest.LogCaptureFixture,
    transport: Transport,
    room: str,
) -> None:
    service, account = await started(start_service)
    pages = -(-await kept_size(service, account, TALK) // PAGE)
    left = {"nothing": 0, "one page": 1, "half": pages // 2, "all but the last page": pages - 1}[room]
    async with invariants_hold(service, caplog, errors_logged=True):
        small_disk.leave(left * PAGE)
        assert_full(await service.upload(account, TALK, transport=transport))
        assert small_disk.free_bytes == left * PAGE
        small_disk.clear()
        assert not service.files()


@every_size
async def test_disk_that_is_just_large_enough_is_filled_to_the_last_page(
    small_disk: SmallDisk, start_service: StartService, caplog: pytest.LogCaptureFixture
) -> None:
    service, account = await started(start_service)
    pages = -(-await kept_size(service, account, TALK) // PAGE)
    async with invariants_hold(service, caplog):
        small_disk.leave(pages * PAGE)
        record = await service.upload(account, TALK)
        assert record.status == 201
        assert small_disk.free_bytes == 0
        small_disk.clear()
    assert len(decode((await service.get(record.json["url"])).body)) == 44_100 * 5 // 2


@every_transport
async def test_disk_without_a_free_inode_is_507(
    small_disk: SmallDisk, start_service: StartService, caplog: pytest.LogCaptureFixture, transport: Transport
) -> None:
    service, account = await started(start_service)
    async with invariants_hold(service, caplog, errors_logged=True):
        small_disk.take_every_name()
        assert_full(await service.upload(account, TALK, transport=transport))
        small_disk.clear()


@pytest.mark.usefixtures("small_disk")
async def test_upload_that_fills_the_disk_harms_no_other(
    start_service: StartService, caplog: pytest.LogCaptureFixture
) -> None:
    service, account = await started(start_service)
    other = await service.create_user("bob")
    too_long = wavs.wav(bytes(44_100 * 2 * 120), sample_rate=44_100, channels=1)
    async with invariants_hold(service, caplog, errors_logged=True):
        kept = await service.upload(other, TALK)
        async with half_upload(service, other, TALK) as (running, rest):
            assert_full(await service.upload(account, too_long, params={"bit_rate": "128000"}))
            assert await served(service, kept)
            await running.send(rest)
            assert (await running.answer()).status == 201
        assert len(service.files()) == 2


async def test_many_uploads_that_fill_the_disk_together_leave_room_for_the_next(
    small_disk: SmallDisk, start_service: StartService, caplog: pytest.LogCaptureFixture
) -> None:
    """Each upload is either a 201 whose file is kept, or a 507 that leaves nothing."""
    service, account = await started(start_service)
    half_a_minute = wavs.wav(bytes(44_100 * 2 * 30), sample_rate=44_100, channels=1)
    async with invariants_hold(service, caplog, errors_logged=True):
        small_disk.leave(700 * KIBIBYTE)
        answers = await asyncio.gather(*(service.upload(account, half_a_minute) for _ in range(4)))
        for answer in answers:
            if answer.status == 201:
                assert await served(service, answer)
            else:
                assert_full(answer)
        assert {201, 507} >= {answer.status for answer in answers} >= {507}
        assert (await service.upload(account, GOOD_WAV)).status == 201
        small_disk.clear()


@every_transport
@pytest.mark.parametrize("expect", [(), ("Expect: 100-continue",)])
async def test_uploads_below_the_reserve_are_507_before_their_body(
    small_disk: SmallDisk,
    start_service: StartService,
    caplog: pytest.LogCaptureFixture,
    transport: Transport,
    expect: tuple[str, ...],
) -> None:
    service, account = await started(start_service, min_free_bytes=512 * KIBIBYTE)
    async with invariants_hold(service, caplog, errors_logged=True):
        small_disk.leave(512 * KIBIBYTE - PAGE)
        async with connect(service) as client:
            await client.send(request_head(account, transport, len(TALK), *expect))
            answer = await client.answer()
            assert (answer.status, answer.json["code"]) == (507, "storage_full")
            assert answer.headers["connection"] == "close"
        small_disk.leave(512 * KIBIBYTE)
        record = await service.upload(account, TALK, transport=transport)
        assert record.status == 201
        assert (await service.upload(account, TALK, transport=transport)).status == 507
        assert await served(service, record)
        small_disk.clear()


async def test_upload_that_began_above_the_reserve_may_go_on_below_it(
    small_disk: SmallDisk, start_service: StartService, caplog: pytest.LogCaptureFixture
) -> None:
    service, account = await started(start_service, min_free_bytes=512 * KIBIBYTE)
    async with invariants_hold(service, caplog, errors_logged=True):
        async with half_upload(service, account, TALK) as (running, rest):
            small_disk.leave(256 * KIBIBYTE)
            assert_full(await service.upload(account, TALK))
            await running.send(rest)
            assert (await running.answer()).status == 201
        small_disk.clear()


async def test_reserve_is_kept_on_any_disk(
    start_service: StartService, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """The reserve is larger than the whole disk, so this test does not need root."""
    whole = shutil.disk_usage(tmp_path).total
    service, account = await started(start_service, min_free_bytes=whole + 1)
    for transport in EVERY_TRANSPORT:
        assert_full(await service.upload(account, TALK, transport=transport))
    assert not service.files()
    generous, account = await started(start_service)
    async with invariants_hold(generous, caplog):
        assert (await generous.upload(account, TALK)).status == 201


@every_transport
async def test_read_only_disk_is_503_and_what_is_kept_is_served(
    small_disk: SmallDisk, start_service: StartService, caplog: pytest.LogCaptureFixture, transport: Transport
) -> None:
    service, account = await started(start_service)
    async with invariants_hold(service, caplog, errors_logged=True):
        kept = await service.upload(account, TALK)
        small_disk.remount("ro")
        assert_outage(await service.upload(account, TALK, transport=transport))
        assert await served(service, kept)
        small_disk.remount("rw")
        assert (await service.upload(account, TALK, transport=transport)).status == 201


async def test_record_deleted_from_a_read_only_disk_is_whole_or_gone(
    small_disk: SmallDisk, start_service: StartService, caplog: pytest.LogCaptureFixture
) -> None:
    """After a 204 the record is not served, and the sweep removes the file; a 503 changes nothing."""
    service, account = await started(start_service)
    async with invariants_hold(service, caplog, errors_logged=True):
        kept = await service.upload(account, TALK)
        path = f"/records/{kept.json['id']}"
        small_disk.remount("ro")
        answer = await service.request("DELETE", path, headers=account.headers)
        assert answer.status in {204, 503}
        assert await served(service, kept) == (answer.status == 503)
        small_disk.remount("rw")
        again = await service.request("DELETE", path, headers=account.headers)
        assert again.status == (204 if answer.status == 503 else 404)
        policy = SweepPolicy(min_age=timedelta(0), max_share=1, dry_run=False, force=True)
        await sweep(service.app[STORAGE], service.app[DATABASE], policy)
        assert not service.files()


@every_transport
async def test_directory_that_is_gone_is_503_until_it_is_back(
    start_service: StartService,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    transport: Transport,
) -> None:
    service, account = await started(start_service)
    async with invariants_hold(service, caplog, errors_logged=True):
        (tmp_path / "data" / "records").rename(tmp_path / "away")
        assert_outage(await service.upload(account, TALK, transport=transport))
        assert not (tmp_path / "data" / "records").exists()
        (tmp_path / "away").rename(tmp_path / "data" / "records")


async def test_empty_folders_that_were_tidied_away_cost_nobody_anything(
    start_service: StartService, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    service, account = await started(start_service)
    async with invariants_hold(service, caplog):
        for _ in range(3):
            tidy = ["find", str(tmp_path / "data" / "records"), "-mindepth", "1", "-type", "d", "-empty", "-delete"]
            subprocess.run(tidy, check=True)  # noqa: ASYNC221
            answer = await service.upload(account, GOOD_WAV)
            assert answer.status == 201
            await service.request("DELETE", f"/records/{answer.json['id']}", headers=account.headers)


@every_transport
async def test_directory_that_is_removed_during_an_upload_is_503(
    start_service: StartService, caplog: pytest.LogCaptureFixture, tmp_path: Path, transport: Transport
) -> None:
    service, account = await started(start_service)
    async with invariants_hold(service, caplog, errors_logged=True):
        async with half_upload(service, account, TALK, transport) as (running, rest):
            shutil.rmtree(tmp_path / "data" / "records")
            await running.send(rest)
            answer = await running.answer()
        assert (answer.status, answer.json["code"]) == (503, "storage_unavailable")
        assert not service.files()
        (tmp_path / "data" / "records" / "drafts").mkdir(parents=True)


async def test_folder_of_a_record_that_is_a_file_is_503(
    start_service: StartService, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """An operator's mistake: files have the names of all 256 folders for the first two digits of an id."""
    service, account = await started(start_service)
    async with invariants_hold(service, caplog, errors_logged=True):
        intruders = [tmp_path / "data" / "records" / f"{number:02x}" for number in range(256)]
        for intruder in intruders:
            intruder.touch()
        assert_outage(await service.upload(account, TALK))
        for intruder in intruders:
            intruder.unlink()
