"""`send` of README.md when more breaks than the line: it begins again, or says what to do."""

import asyncio
import json
import os
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

from service.web.app_keys import LIVE_UPLOADS
from tests.support.client import Account, Service, StartService
from tests.support.readme import send_command
from tests.support.serving import noise
from tests.support.tools import require_tool
from tests.support.waiting import until

WAV = noise(6)
NO_WAV = b"ID3" + bytes(1000)


@pytest.fixture
def wav(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "talk.wav"
    path.write_bytes(getattr(request, "param", WAV))
    return path


async def start_sending(
    service: Service, token: str, wav: Path, curl_home: Path | None = None
) -> asyncio.subprocess.Process:
    """Start `send`; curl reads its `.curlrc` in that folder."""
    require_tool("curl")
    command = send_command(service.client.port or 0, token, str(wav))
    environment = os.environ | ({"CURL_HOME": str(curl_home)} if curl_home else {})
    return await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )


async def test_lost_upload_begins_again(service: Service, account: Account, wav: Path, tmp_path: Path) -> None:
    rate = tmp_path / ".curlrc"
    rate.write_text("limit-rate = 300K\n")
    sending = await start_sending(service, account.token, wav, tmp_path)
    uploads = service.app[LIVE_UPLOADS]
    await until(lambda: any(one.progress.reader.byte_count > 100_000 for one in uploads.of_user(account.id)))
    rate.unlink()
    (lost,) = (await service.get("/uploads", headers=account.headers)).json["uploads"]
    assert (await service.request("DELETE", f"/uploads/{lost['id']}", headers=account.headers)).status == 204
    printed, complaints = await sending.communicate()
    assert sending.returncode == 0, complaints.decode()
    record = json.loads(printed)
    assert record["id"] != lost["id"]
    assert (record["source_size"], record["complete"]) == (len(WAV), True)


async def test_send_waits_while_the_user_has_too_many_uploads(start_service: StartService, wav: Path) -> None:
    service = await start_service(max_uploads_per_user=1)
    account = await service.create_user()
    creation = account.headers | {"Upload-Complete": "?0"}
    other = (await service.post("/uploads", headers=creation)).headers["Location"]
    sending = await start_sending(service, account.token, wav)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(sending.wait(), 0.3)
    assert (await service.request("DELETE", other, headers=account.headers)).status == 204
    printed, complaints = await sending.communicate()
    assert sending.returncode == 0, complaints.decode()
    assert json.loads(printed)["complete"] is True


async def test_file_that_is_not_there_is_said(service: Service, account: Account, tmp_path: Path) -> None:
    sending = await start_sending(service, account.token, tmp_path)
    printed, complaints = await sending.communicate()
    assert (sending.returncode, printed) == (1, b"")
    assert complaints.decode() == f"There is no file {tmp_path}\n"
    assert not service.app[LIVE_UPLOADS].of_user(account.id)


async def test_refusal_is_said_at_the_start(service: Service, wav: Path) -> None:
    sending = await start_sending(service, str(uuid4()), wav)
    printed, complaints = await sending.communicate()
    assert (sending.returncode, printed) == (1, b"")
    assert b"This token belongs to no one. Create a user" in complaints


@pytest.mark.parametrize("wav", [NO_WAV], indirect=True, ids=["no WAV"])
async def test_refusal_of_the_wav_is_said(service: Service, account: Account, wav: Path) -> None:
    sending = await start_sending(service, account.token, wav)
    printed, complaints = await sending.communicate()
    assert (sending.returncode, printed) == (1, b"")
    assert b"This is not a WAV. Send a WAV" in complaints
