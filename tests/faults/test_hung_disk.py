"""A disk on which writes never end: what only reads goes on, and operators hear of it."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from service.web.app_keys import HEALTH
from tests.support.invariants import GOOD_WAV, invariants_hold
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.client import StartService

# More than the threads of uploads.
UPLOADS = 36


class HungDisk:
    """Writes, the opening of a draft among them, wait until the disk is mended."""

    def __init__(self) -> None:
        self.is_mended, self.waiting = threading.Event(), 0
        self._open, self._fsync = os.open, os.fsync

    def open(self, path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            self._wait()
        return self._open(path, flags, *arguments, **options)

    def fsync(self, descriptor: int) -> None:
        self._wait()
        self._fsync(descriptor)

    def _wait(self) -> None:
        self.waiting += 1
        self.is_mended.wait()


@pytest.fixture
def disk() -> Iterator[HungDisk]:
    disk = HungDisk()
    yield disk
    disk.is_mended.set()


async def test_hung_disk_stops_neither_downloads_nor_health_nor_metrics(
    start_service: StartService, caplog: pytest.LogCaptureFixture, disk: HungDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await start_service(max_encodings=2 * UPLOADS, max_uploads_per_user=UPLOADS)
    service.app[HEALTH].check_seconds = 1.5
    accounts = [await service.create_user() for _ in range(2)]
    kept = (await service.upload(accounts[0], GOOD_WAV)).json
    async with invariants_hold(service, caplog):
        monkeypatch.setattr("os.open", disk.open)
        monkeypatch.setattr("os.fsync", disk.fsync)
        uploads = [asyncio.create_task(service.upload(accounts[n % 2], GOOD_WAV)) for n in range(UPLOADS)]
        await until(lambda: disk.waiting >= 32)
        async with asyncio.timeout(40):
            for _ in range(6):  # more than the threads of operators
                service.app[HEALTH].fresh_seconds = 0
                ready = await service.get("/health/ready")
                assert (ready.status, ready.json["code"]) == (503, "not_ready")
                assert "storage: No answer" in ready.json["detail"]
                assert "database" not in ready.json["detail"]
            assert (await service.get("/metrics")).status == 200
            assert (await service.get("/health/live")).status == 200
            assert len((await service.get(kept["url"])).body) == kept["size"]
            assert (await service.get("/docs/start.js")).status == 200
        disk.is_mended.set()
        assert {answer.status for answer in await asyncio.gather(*uploads)} == {201}
        async with asyncio.timeout(20):
            while (await service.get("/health/ready")).status != 200:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
