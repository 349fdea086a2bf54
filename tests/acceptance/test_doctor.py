"""`wavepress doctor` looks whether the database and the storage belong together."""

from uuid import UUID, uuid4

import pytest

from service.doctor import examine
from service.settings import Settings
from service.web.app_keys import STORAGE
from tests.support import s3
from tests.support.client import StartService
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
