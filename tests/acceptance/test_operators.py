"""`wavepress users` and `wavepress records`: what an operator does beside a running service."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.web.app_keys import ADMISSION
from tests.support.client import Account, Service
from tests.support.invariants import GOOD_WAV, invariants_hold
from tests.support.raw import connect, request_head
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
UNKNOWN_RECORD = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"


async def wavepress(service: Service, *arguments: str, status: int = 0) -> list[dict[str, Any]]:
    """Run one command on the service's data, and return its answers; a refusal's sentence if that is expected.

    The service goes on meanwhile: if it stood still, its statements would run out of time on a loaded machine.
    """
    own = {"DATA_DIR": str(service.data_dir), "DATABASE_URL": service.database_url}
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "service", *arguments],
        env=os.environ | {f"WAVEPRESS_{name}": value for name, value in own.items()},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == status, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()] if not status else [{"complaint": ended.stderr}]


async def test_user_whom_the_operator_creates_works_and_is_listed(service: Service) -> None:
    [created] = await wavepress(service, "users", "create", "ann")
    account = Account(created["id"], created["token"])
    assert (await service.upload(account, GOOD_WAV)).status == 201
    [listed] = await wavepress(service, "users", "list")
    assert (listed["id"], listed["username"], listed["records"], listed["disabled"]) == (created["id"], "ann", 1, False)
    assert listed["last_used_at"] >= listed["created_at"]


async def test_disabled_user_is_refused_until_enabled_and_loses_nothing(service: Service, account: Account) -> None:
    record = (await service.upload(account, GOOD_WAV)).json
    await wavepress(service, "users", "disable", str(account.id))
    for answer in (
        await service.get("/users/me", headers=account.headers),
        await service.upload(account, GOOD_WAV),
        await service.post(f"/api_v1/records/?user_id={account.id}&user_token={account.token}"),
    ):
        assert (answer.status, answer.json["code"]) == (403, "user_disabled")
    assert (await service.get(f"/records/{record['id']}.mp3")).status == 404
    assert (await wavepress(service, "users", "list"))[0]["disabled"] is True
    await wavepress(service, "users", "enable", str(account.id))
    assert (await service.get(f"/records/{record['id']}.mp3")).status == 200
    assert (await service.upload(account, GOOD_WAV)).status == 201


async def test_running_upload_of_a_disabled_user_ends(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    async with invariants_hold(service, caplog), connect(service) as client:
        await client.send(request_head(account, "chunked", 0))
        await client.send(b"%x\r\n%s\r\n" % (1000, GOOD_WAV[:1000]))
        await until(lambda: service.app[ADMISSION].running)
        await wavepress(service, "users", "disable", str(account.id))
        answer = None
        while answer is None:  # far from the end of the WAV
            await client.send(b"2\r\n\0\0\r\n")
            answer = await client.answer_within(0.05)
        assert (answer.status, answer.json["code"]) == (403, "user_disabled")
        assert not service.files()


async def test_deleted_user_is_gone_when_the_command_ends(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    async with invariants_hold(service, caplog):
        await service.upload(account, GOOD_WAV)
        await wavepress(service, "users", "delete", str(account.id))
        assert (await service.get("/users/me", headers=account.headers)).status == 401
        assert not service.files()
        assert await wavepress(service, "users", "list") == []


async def test_token_that_the_operator_gives_is_the_only_one_at_once(service: Service, account: Account) -> None:
    [answer] = await wavepress(service, "users", "token", str(account.id))
    assert (await service.get("/users/me", headers=account.headers)).status == 401
    given = Account(account.id, answer["token"])
    assert (await service.get("/users/me", headers=given.headers)).status == 200


async def test_records_are_listed_and_deleted(service: Service, account: Account) -> None:
    bob = await service.create_user("bob")
    first, second = [(await service.upload(who, GOOD_WAV)).json for who in (account, bob)]
    assert [record["id"] for record in await wavepress(service, "records", "list")] == [first["id"], second["id"]]
    assert [record["id"] for record in await wavepress(service, "records", "list", str(bob.id))] == [second["id"]]
    await wavepress(service, "records", "delete", second["id"])
    assert (await service.get(f"/records/{second['id']}.mp3")).status == 404
    assert [file.stem for file in service.files()] == [first["id"]]


@pytest.mark.parametrize(
    "arguments",
    [
        ("users", "disable", "4711"),
        ("users", "enable", "4711"),
        ("users", "delete", "4711"),
        ("users", "token", "4711"),
        ("records", "delete", UNKNOWN_RECORD),
    ],
)
async def test_unknown_user_or_record_is_reported_with_status_1(service: Service, arguments: tuple[str, ...]) -> None:
    [answer] = await wavepress(service, *arguments, status=1)
    assert answer["complaint"].startswith("wavepress: There is no such ")
