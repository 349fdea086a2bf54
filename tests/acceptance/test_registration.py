"""Who may become a user, and how many: the policy, the limits of an address, the limits of all."""

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.support.client import Answer, Service, StartService
from tests.support.invariants import GOOD_WAV
from tests.support.raw import connect

ROOT = Path(__file__).parents[2]
ROUTES = ["/users", "/user", "/api_v1/users/", "/api_v1/users"]
SECRET = "let me in"  # noqa: S105 - for anybody to read


async def register(service: Service, path: str = "/users", **headers: str) -> Answer:
    return await service.post(f"{path}?username=ann", headers=headers)


async def until_answered(send: Callable[[], Awaitable[Answer]], status: int) -> None:
    """Send requests, one after the other, until one is answered with that status."""
    async with asyncio.timeout(10):
        while (await send()).status != status:
            pass


def refusal(answer: Answer) -> tuple[int, Any]:
    return answer.status, answer.json["code"]


@pytest.mark.parametrize("path", ROUTES)
async def test_closed_registration_is_403_on_every_route(start_service: StartService, path: str) -> None:
    service = await start_service(registration="closed", registration_token=SECRET)
    answer = await register(service, path, Authorization=f"Bearer {SECRET}")
    assert refusal(answer) == (403, "registration_closed")


@pytest.mark.parametrize("path", ROUTES)
async def test_registration_by_token_requires_the_token_on_every_route(start_service: StartService, path: str) -> None:
    service = await start_service(registration="token", registration_token=SECRET)
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {SECRET}"}):
        answer = await register(service, path, **headers)
        assert refusal(answer) == (401, "registration_token_required")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert (await register(service, path, Authorization=f"Bearer {SECRET}")).status in {200, 201}


async def test_registration_token_that_is_not_text_is_a_wrong_one(start_service: StartService) -> None:
    service = await start_service(registration="token", registration_token=SECRET)
    async with connect(service) as client:
        await client.send(b"POST /users?username=ann HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\r\n\r\n")
        assert (await client.answer()).status == 401


async def test_nobody_may_register_if_no_registration_token_is_set(start_service: StartService) -> None:
    service = await start_service(registration="token")
    for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer x"}):
        assert refusal(await register(service, **headers)) == (401, "registration_token_required")


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1", 201), ("localhost", 201), ("::1", 201), ("0.0.0.0", 401), ("::", 401)],  # noqa: S104 - nobody listens there
)
async def test_registration_is_open_if_only_this_machine_reaches_the_service(
    start_service: StartService, host: str, status: int
) -> None:
    assert (await register(await start_service(host=host))).status == status


async def test_refused_registration_is_answered_before_its_body(start_service: StartService) -> None:
    service = await start_service(registration="closed")
    async with connect(service) as client:
        await client.send(b"POST /users HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n")
        assert (await client.answer()).status == 403


async def test_one_address_may_create_only_so_many_users(start_service: StartService) -> None:
    service = await start_service(max_registrations_per_address=100, trusted_proxies="127.0.0.0/8")
    near, other = {"X-Forwarded-For": "2001:db8::1"}, {"X-Forwarded-For": "2001:db8:0:1::1"}
    statuses = [(await register(service, **near)).status for _ in range(100)]
    assert statuses == [201] * 100
    with structlog.testing.capture_logs() as events:
        for address in ("2001:db8::1", "2001:db8::ffff:2"):
            answer = await register(service, **{"X-Forwarded-For": address})
            assert refusal(answer) == (429, "too_many_registrations")
            assert 1 <= int(answer.headers["Retry-After"]) <= 36
    assert (await register(service, **other)).status == 201
    assert [event["remote"] for event in events if event["event"] == "many_registrations"] == ["2001:db8::1"]


async def test_wrong_tokens_of_an_address_are_limited_and_right_ones_are_not(start_service: StartService) -> None:
    service = await start_service(max_failures_per_address=3)
    account = await service.create_user()
    wrong = {"Authorization": f"Bearer {uuid.uuid4()}"}
    with structlog.testing.capture_logs() as events:
        answers = [await service.get("/users/me", headers=wrong) for _ in range(5)]
        older = await service.post(f"/api_v1/records/?user_id={account.id}&user_token=x")
    assert [refusal(answer) for answer in answers] == [(401, "unknown_token")] * 3 + [(429, "too_many_failures")] * 2
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 20
    assert refusal(older) == (429, "too_many_failures")
    assert (await service.get("/users/me", headers=account.headers)).status == 200
    assert len([event for event in events if event["event"] == "repeated_failures"]) == 1


async def test_wrong_registration_tokens_count_as_wrong_tokens(start_service: StartService) -> None:
    service = await start_service(registration="token", registration_token=SECRET, max_failures_per_address=1)
    assert (await register(service, Authorization="Bearer wrong")).status == 401
    assert refusal(await register(service, Authorization="Bearer wrong")) == (429, "too_many_failures")
    assert (await register(service, Authorization=f"Bearer {SECRET}")).status == 201


async def test_limits_of_an_address_are_off_if_only_this_machine_reaches_the_service(service: Service) -> None:
    wrong = {"Authorization": f"Bearer {uuid.uuid4()}"}
    statuses = {(await service.get("/users/me", headers=wrong)).status for _ in range(110)}
    statuses |= {(await register(service)).status for _ in range(110)}
    assert statuses == {401, 201}


async def test_total_number_of_users_is_limited_even_if_they_register_at_once(start_service: StartService) -> None:
    service = await start_service(max_users=3)
    answers = await asyncio.gather(*(register(service) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [201] * 3 + [507] * 5
    assert {answer.json["code"] for answer in answers if answer.status == 507} == {"users_full"}


async def test_deleted_user_makes_room_for_another(start_service: StartService) -> None:
    service = await start_service(max_users=1)
    account = await service.create_user()
    assert refusal(await register(service)) == (507, "users_full")
    await service.request("DELETE", "/users/me", headers=account.headers)
    await until_answered(lambda: register(service), 201)


async def test_bytes_of_all_users_are_limited(start_service: StartService) -> None:
    service = await start_service(max_bytes=1)
    ann, bob = await service.create_user("ann"), await service.create_user("bob")
    record = await service.upload(ann, GOOD_WAV)
    assert record.status == 201
    assert refusal(await service.upload(bob, GOOD_WAV)) == (507, "bytes_full")
    await service.request("DELETE", f"/records/{record.json['id']}", headers=ann.headers)
    await until_answered(lambda: service.upload(bob, GOOD_WAV), 201)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "Anyone who reaches this service may create a user."),
        (
            {"REGISTRATION": "token"},
            "Only `wavepress users create` creates users. WAVEPRESS_REGISTRATION_TOKEN is not set.",
        ),
        (
            {"REGISTRATION": "token", "REGISTRATION_TOKEN": SECRET},
            "Who has WAVEPRESS_REGISTRATION_TOKEN may create users.",
        ),
        ({"REGISTRATION": "closed"}, "Only `wavepress users create` creates users."),
    ],
)
def test_start_says_who_may_create_users(
    database_url: str, tmp_path: Path, settings: dict[str, str], sentence: str
) -> None:
    own = {"PORT": "0", "DATA_DIR": str(tmp_path), "DATABASE_URL": database_url, "LOG_FORMAT": "json"} | settings
    environment = os.environ | {f"WAVEPRESS_{name}": value for name, value in own.items()}
    command = [sys.executable, "-m", "service", "serve"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as serving:
        try:
            assert serving.stderr is not None
            events = (json.loads(line) for line in serving.stderr)
            assert next(event["detail"] for event in events if event["event"] == "registration") == sentence
        finally:
            serving.kill()
