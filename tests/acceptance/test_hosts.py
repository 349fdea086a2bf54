"""The service answers only to its own names, and never repeats a foreign one."""

import pytest

from tests.support.client import StartService
from tests.support.invariants import GOOD_WAV
from tests.support.raw import connect

OWN = [
    "localhost",
    "LOCALHOST:8001",
    "127.0.0.1",
    "10.0.0.7:80",
    "[::1]",
    "[fd00::1]:8001",
    "a.example",
    "B.Example:443",
]
MALFORMED = [
    "a:b",
    "[::1",
    "a b",
    "<svg/onload=alert(1)>",
    "$(touch${IFS}x)",
    "a/b",
    "a@b",
    "::1",
    "a.example:123456",
    "127.0.0.1:99999",
    "[1.2.3.4]",
    "",
]
FOREIGN = ["evil.example", "a.example.evil.example", "xn--a", "127.0.0.1.evil.example"]


@pytest.mark.parametrize("path", ["/", "/health/live", "/openapi.json", "/nothing"])
@pytest.mark.parametrize("host", [*MALFORMED, *FOREIGN])
async def test_foreign_or_malformed_host_is_400(start_service: StartService, path: str, host: str) -> None:
    service = await start_service(allowed_hosts="a.example, b.example")
    async with connect(service) as client:
        await client.send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        answer = await client.answer()
        assert answer.status == 400
        assert answer.json["code"] in {"invalid_host", "bad_request"}
        assert not host or host not in answer.body.decode()


async def test_host_that_is_not_ascii_is_400_and_its_upload_is_not_kept(start_service: StartService) -> None:
    service = await start_service()
    account = await service.create_user()
    head = f"PUT /records/ HTTP/1.1\r\nAuthorization: Bearer {account.token}\r\nContent-Length: {len(GOOD_WAV)}\r\n"
    async with connect(service) as client:
        await client.send(head.encode() + b"Host: \xff\r\n\r\n" + GOOD_WAV)
        assert (await client.answer()).status == 400
    assert (await service.get("/records", headers=account.headers)).json["records"] == []


@pytest.mark.parametrize("host", OWN)
async def test_own_names_localhost_and_ip_addresses_are_taken(start_service: StartService, host: str) -> None:
    service = await start_service(allowed_hosts="a.example", public_url="https://b.example/wavepress")
    async with connect(service) as client:
        await client.send(f"GET /health/live HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert (await client.answer()).status == 200


async def test_star_allows_any_well_formed_name(start_service: StartService) -> None:
    service = await start_service(allowed_hosts="*")
    for host, status in [("evil.example", 200), ("a:b", 400)]:
        async with connect(service) as client:
            await client.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert (await client.answer()).status == status


async def test_http_1_0_needs_no_host(start_service: StartService) -> None:
    service = await start_service()
    async with connect(service) as client:
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        answer = await client.answer()
    assert (answer.status, str(service.url).encode() in answer.body) == (200, True)


async def test_refusal_names_the_setting(start_service: StartService) -> None:
    service = await start_service()
    async with connect(service) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        assert "WAVEPRESS_ALLOWED_HOSTS" in (await client.answer()).json["detail"]
