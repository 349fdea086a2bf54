"""Behind a proxy: what it says about the client is believed only if the proxy is a trusted one."""

import pytest
import structlog

from tests.support.client import StartService


@pytest.mark.parametrize(
    ("trusted", "forwarded", "remote"),
    [
        (None, "203.0.113.9", "127.0.0.1"),
        ("10.0.0.0/8", "203.0.113.9", "127.0.0.1"),
        ("127.0.0.0/8", "203.0.113.9", "203.0.113.9"),
        ("127.0.0.0/8", "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("127.0.0.0/8,10.0.0.0/8", "203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("127.0.0.0/8, fd00::/8", "2001:db8::1, fd00::7", "2001:db8::1"),
        ("127.0.0.0/8", "", "127.0.0.1"),
        ("127.0.0.0/8", "unknown", "unknown"),
    ],
)
async def test_logged_address_is_the_last_one_that_is_not_a_trusted_proxy(
    start_service: StartService, trusted: str | None, forwarded: str, remote: str
) -> None:
    service = await start_service(trusted_proxies=trusted)
    with structlog.testing.capture_logs() as events:
        await service.post("/users", json={"username": "ann"}, headers={"X-Forwarded-For": forwarded})
    assert [event["remote"] for event in events if event["event"] == "request"] == [remote]


@pytest.mark.parametrize(("trusted", "scheme"), [(None, "http"), ("127.0.0.1/32", "https")])
async def test_links_have_the_scheme_that_the_client_used(
    start_service: StartService, trusted: str | None, scheme: str
) -> None:
    service = await start_service(trusted_proxies=trusted)
    document = (await service.get("/openapi.json", headers={"X-Forwarded-Proto": "https"})).json
    assert document["servers"][0]["url"].startswith(f"{scheme}://")
