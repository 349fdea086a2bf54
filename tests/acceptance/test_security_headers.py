"""What every response forbids a browser to do."""

import pytest

from tests.support.client import Account, Service
from tests.support.invariants import GOOD_WAV

PATHS = [
    "/",
    "/favicon.ico",
    "/docs",
    "/docs/start.js",
    "/openapi.json",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/nothing",
]


@pytest.mark.parametrize("path", [*PATHS, "/records", "/users/me"])
async def test_every_response_limits_what_a_browser_may_do_with_it(
    service: Service, account: Account, path: str
) -> None:
    for headers in ({}, account.headers):
        answer = await service.get(path, headers=headers)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
        assert "unsafe" not in policy
        assert "Server" not in answer.headers


async def test_no_cache_keeps_answers_about_users_and_records(service: Service, account: Account) -> None:
    answers = [
        await service.post("/users?username=ann"),
        await service.post("/users/me/token", headers=account.headers),
        await service.get("/records", headers=account.headers),
        await service.put("/records/", data=GOOD_WAV, headers=account.headers),
        await service.put("/records/", data=GOOD_WAV, headers=account.headers | {"Accept": "text/plain"}),
        await service.get("/users/me"),
    ]
    assert [answer.headers["Cache-Control"] for answer in answers] == ["no-store"] * len(answers)


async def test_mp3_is_sandboxed_and_cacheable(service: Service, account: Account) -> None:
    record = (await service.put("/records/", data=GOOD_WAV, headers=account.headers)).json
    for headers in ({}, {"Range": "bytes=0-9"}):
        mp3 = await service.get(record["url"], headers=headers)
        assert mp3.headers["Content-Security-Policy"] == "sandbox"
        assert mp3.headers["X-Content-Type-Options"] == "nosniff"
        assert mp3.headers["Access-Control-Allow-Origin"] == "*"  # of no use to a page without the address
        assert "immutable" in mp3.headers["Cache-Control"]


async def test_swagger_ui_does_not_keep_the_token(service: Service) -> None:
    assert b"persistAuthorization: false" in (await service.get("/docs/start.js")).body
