"""The invariants themselves are tested: they hold after a good upload, and they find each kind of damage."""

import os
from pathlib import Path

import pytest

# The damage must be done inside the block that is expected to raise.
# ruff: noqa: PT012
from tests.support.client import Service
from tests.support.invariants import GOOD_WAV, invariants_hold


async def test_invariants_hold_after_a_good_upload(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    async with invariants_hold(service, caplog):
        assert (await service.upload(await service.create_user(), GOOD_WAV)).status == 201


async def test_invariants_see_a_file_without_a_row(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(AssertionError):
        async with invariants_hold(service, caplog):
            await service.upload(await service.create_user(), GOOD_WAV)
            file = service.files()[0]
            file.with_name("6f9619ff-8b86-4d01-b42d-00cf4fc964ff.mp3").write_bytes(b"")


async def test_invariants_see_a_row_without_a_file(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(AssertionError):
        async with invariants_hold(service, caplog):
            await service.upload(await service.create_user(), GOOD_WAV)
            service.files()[0].unlink()


async def test_invariants_see_a_descriptor_left_open(
    service: Service, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.invariants._PATIENCE_SECONDS", 0.1)
    descriptor = -1
    with pytest.raises(AssertionError):
        async with invariants_hold(service, caplog):
            descriptor = os.open(Path("/dev/null"), os.O_RDONLY)
    os.close(descriptor)
