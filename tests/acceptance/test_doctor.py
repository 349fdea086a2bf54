"""`wavepress doctor`: whether the database and the storage belong together, and which ffmpeg is the fastest."""

from pathlib import Path
from uuid import UUID, uuid4

import pytest

from service.doctor import compare_ffmpegs, examine
from service.parts import make_storage
from service.settings import Settings
from service.web.app_keys import STORAGE
from tests.support import s3
from tests.support.client import StartService
from tests.support.ffmpegs import FFMPEGS, lend_ffmpeg
from tests.support.invariants import GOOD_WAV


@pytest.mark.parametrize("keeps_in_s3", [False, True], ids=["disk", "s3"])
async def test_doctor_finds_records_without_an_mp3(
    start_service: StartService, s3_endpoint_url: str, keeps_in_s3: bool
) -> None:
    options = s3.settings(s3_endpoint_url, uuid4().hex) if keeps_in_s3 else {}
    service = await start_service(**options)
    settings = Settings.model_validate({"data_dir": service.data_dir} | options)
    account = await service.create_user()
    records = [(await service.upload(account, GOOD_WAV)).json for _ in range(3)]
    assert (await examine(settings, service.database_url))["recordings"] == "ok"
    await service.app[STORAGE].delete(UUID(records[1]["id"]))
    verdict = (await examine(settings, service.database_url))["recordings"]
    assert verdict == "1 of 3 records, taken at random, have no MP3 there."


async def test_doctor_names_what_is_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "bin" / "slow"
    slow.parent.mkdir()
    lend_ffmpeg(slow.with_name("real"))
    wastes_a_second = "i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done"
    slow.write_text(f"#!/bin/sh\n{wastes_a_second}\nexec '{slow.with_name('real')}' \"$@\"\n")
    slow.chmod(0o755)
    settings = Settings.model_validate({"data_dir": tmp_path, "ffmpeg": slow})
    make_storage(settings).prepare()
    lines = await compare_ffmpegs(settings)
    assert lines[0].startswith(f"{slow} (WAVEPRESS_FFMPEG) encodes ")
    assert lines[0].endswith(", and is used")
    monkeypatch.setattr("service.doctor.own_build", lambda: slow)  # as if it were there
    assert (await compare_ffmpegs(settings))[-1] in {f"Faster: WAVEPRESS_FFMPEG={path}" for path in FFMPEGS}
    monkeypatch.setattr("service.doctor.own_build", lambda: tmp_path / "none")
    assert "`make ffmpeg`" in (await compare_ffmpegs(settings))[-1]


async def test_doctor_tells_an_ffmpeg_that_cannot_encode(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    settings = Settings.model_validate({"data_dir": tmp_path, "ffmpeg": broken})
    make_storage(settings).prepare()
    assert (await compare_ffmpegs(settings))[0] == f"{broken} (WAVEPRESS_FFMPEG) cannot encode, and is used"
