"""Requests without a form, as tools and hand-made clients really send them."""

import asyncio
import json
from pathlib import Path

import pytest

from service.web.app_keys import ADMISSION
from tests.support import wavs
from tests.support.client import TRANSPORTS, Account, Service, StartService, Transport
from tests.support.half_upload import half_upload
from tests.support.invariants import GOOD_WAV, invariants_hold
from tests.support.programs import output_of
from tests.support.raw import RawAnswer, RawClient, connect, framed, request_head
from tests.support.tools import require_tool
from tests.support.waiting import until

WAV = wavs.wav(wavs.chirp(44100 * 5, 44100, 2), sample_rate=44100, channels=2)


def head(account: Account | None, *lines: str, request: str = "PUT /records/", version: str = "1.1") -> bytes:
    authorization = [f"Authorization: Bearer {account.token}"] if account else []
    return "\r\n".join([f"{request} HTTP/{version}", *authorization, *lines, "", ""]).encode()


async def sent(service: Service, content: bytes) -> RawAnswer:
    """Send everything at once and return the first answer."""
    async with connect(service) as client, asyncio.timeout(20):
        await client.send(content)
        return await client.answer()


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_raw_body_of_an_unknown_type_is_judged_by_its_content(
    service: Service, account: Account, method: str
) -> None:
    for declared in (
        *("application/x-www-form-urlencoded", "application/x-www-form-urlencoded; charset=utf-8", "*/*", "audio/*"),
        *("binary/octet-stream", "application/wav", "application/x-unknown", "Audio/X-WAV", "wav", ""),
    ):
        headers = account.headers | {"Content-Type": declared}
        answer = await service.request(method, "/records", data=GOOD_WAV, headers=headers)
        assert answer.status == 201, declared
        bad = await service.request(method, "/records", data=b"file=talk.wav", headers=headers)
        assert (bad.status, bad.json["code"]) == (415, "not_wav"), declared


@pytest.mark.parametrize(
    "declared", ["audio/mpeg", "text/html", "application/json", "application/ld+json", "image/png"]
)
async def test_raw_post_of_a_known_other_type_is_415(service: Service, account: Account, declared: str) -> None:
    answer = await service.post("/records", data=GOOD_WAV, headers=account.headers | {"Content-Type": declared})
    assert (answer.status, answer.json["code"]) == (415, "unsupported_type")


async def test_slash_at_the_end_of_an_address_never_matters(service: Service, account: Account) -> None:
    record = (await service.upload(account, GOOD_WAV)).json
    token = account.headers
    for method, path, status, options in (
        ("POST", "/records", 201, {"data": GOOD_WAV}),
        ("PUT", "/records", 201, {"data": GOOD_WAV}),
        ("PUT", "/records/talk.wav", 201, {"data": GOOD_WAV}),
        ("GET", "/records", 200, {}),
        ("GET", f"/records/{record['id']}", 200, {}),
        ("GET", f"/records/{record['id']}.mp3", 200, {}),
        ("HEAD", f"/records/{record['id']}.mp3", 200, {}),
        ("GET", f"/audiotrack?id={record['id']}&user={account.id}", 200, {}),
        ("GET", f"/api_v1/records?record_id={record['id']}&user_id={account.id}", 200, {}),
        ("POST", "/users?username=bob", 201, {}),
        ("POST", "/user?username=bob", 200, {}),
        ("POST", "/api_v1/users?username=bob", 201, {}),
        ("GET", "/users/me", 200, {}),
        ("GET", "/health/live", 200, {}),
        ("GET", "/health/ready", 200, {}),
        ("GET", "/metrics", 200, {}),
        ("GET", "/openapi.json", 200, {}),
        ("GET", "/docs", 200, {}),
        ("PATCH", "/users", 405, {}),
        ("GET", "/nothing", 404, {}),
    ):
        address, _, query = path.partition("?")
        for form in (address, f"{address}/"):
            answer = await service.request(method, f"{form}?{query}" if query else form, headers=token, **options)
            assert answer.status == status, (method, form, answer.body)


@pytest.mark.parametrize(
    ("disposition", "kept"),
    [
        ('attachment; filename="talk.wav"', "talk.wav"),
        ("attachment; filename=talk.wav", "talk.wav"),
        ('inline; filename="a; b; c.wav"', "a; b; c.wav"),
        (r'filename; filename="C:\Users\ann\talk.wav"', "talk.wav"),
        ("attachment; filename=\"_.wav\"; filename*=UTF-8''%E2%82%AC.wav", "€.wav"),
        ("attachment", "recording.wav"),
    ],
)
async def test_raw_upload_has_the_name_in_its_disposition(
    service: Service, account: Account, disposition: str, kept: str
) -> None:
    headers = account.headers | {"Content-Disposition": disposition}
    for method, path in (("POST", "/records"), ("PUT", "/records/")):
        answer = await service.request(method, path, data=GOOD_WAV, headers=headers)
        assert (answer.status, answer.json["filename"]) == (201, kept)
    answer = await service.put("/records/mine.wav", data=GOOD_WAV, headers=headers)
    assert answer.json["filename"] == "mine.wav"


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize("content_range", ["bytes 0-999/20000", "bytes 0-999/*", "bytes */1000", "nonsense"])
async def test_upload_with_content_range_is_400_before_its_body(
    service: Service, account: Account, method: str, content_range: str
) -> None:
    answer = await sent(
        service,
        head(
            account,
            *("Host: x", f"Content-Range: {content_range}", "Content-Length: 1000", "Expect: 100-continue"),
            request=f"{method} /records",
        ),
    )
    assert (answer.status, answer.json["code"]) == (400, "partial_upload")


@pytest.mark.parametrize("expectation", ["100-continue", "200-ok"])
async def test_expectation_in_http_1_0_is_ignored(service: Service, account: Account, expectation: str) -> None:
    lines = (f"Content-Length: {len(GOOD_WAV)}", f"Expect: {expectation}")
    answer = await sent(service, head(account, *lines, version="1.0") + GOOD_WAV)
    assert answer.status == 201


async def test_expectation_in_http_1_1_is_still_answered(service: Service, account: Account) -> None:
    lines = ("Host: x", f"Content-Length: {len(GOOD_WAV)}", "Expect: 100-continue")
    assert (await sent(service, head(account, *lines) + GOOD_WAV)).status == 100


@pytest.mark.parametrize("encoding", ["", " ", "identity", "Identity"])
async def test_empty_content_encoding_is_none(service: Service, account: Account, encoding: str) -> None:
    lines = ("Host: x", f"Content-Length: {len(GOOD_WAV)}", f"Content-Encoding: {encoding}")
    assert (await sent(service, head(account, *lines) + GOOD_WAV)).status == 201


@pytest.mark.parametrize("request_line", ["PUT /records/", "POST /records", "POST /audiotrack"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_upload_without_a_length_is_411_wherever_it_is_cut(
    service: Service, account: Account, request_line: str, version: str
) -> None:
    start = head(account, "Host: x", request=request_line, version=version)
    for first, second in ((start + GOOD_WAV, b""), (start + GOOD_WAV[:1], GOOD_WAV[1:]), (start, GOOD_WAV)):
        async with connect(service) as client, asyncio.timeout(20):
            await client.send(first)
            answer = await client.answer()
            assert (answer.status, answer.json["code"]) == (411, "length_required")
            assert "Content-Length" in answer.json["detail"]
            await client.send(second)
            assert await client.is_closed_by_service()


async def test_request_without_a_host_is_400_that_names_it(service: Service, account: Account) -> None:
    for request in ("GET /health/live", "PUT /records/", "POST /users"):
        answer = await sent(service, head(account, "Content-Length: 0", request=request))
        assert (answer.status, answer.json["code"]) == (400, "missing_host")
        assert "Host" in answer.json["detail"]
    assert (await sent(service, head(None, request="GET /health/live", version="1.0"))).status == 200


async def half_closed(client: RawClient, content: bytes) -> None:
    """Send everything and then FIN, as `nc -N` does."""
    await client.send(content)
    client.writer.write_eof()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_whole_upload_is_answered_although_the_client_has_closed_its_side(
    service: Service, account: Account, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    async with invariants_hold(service, caplog), connect(service) as client, asyncio.timeout(30):
        await half_closed(client, request_head(account, transport, len(WAV)) + framed(WAV, transport))
        answer = await client.answer()
        assert answer.status == 201
        assert await client.is_closed_by_service()
        assert len(service.files()) == 1


@pytest.mark.parametrize(
    "request_line", ["GET /health/live", "GET /openapi.json", "GET /docs/swagger-ui-bundle.js", "GET /nothing"]
)
async def test_request_without_a_body_is_answered_before_the_connection_closes(
    service: Service, request_line: str
) -> None:
    async with connect(service) as client, asyncio.timeout(20):
        await half_closed(client, head(None, "Host: x", request=request_line))
        answer = await client.answer()
        assert answer.status == (404 if "nothing" in request_line else 200)
        assert await client.is_closed_by_service()


async def test_all_requests_in_front_of_the_fin_are_answered(service: Service, account: Account) -> None:
    one = request_head(account, "raw", len(GOOD_WAV)) + GOOD_WAV
    other = head(None, "Host: x", request="GET /health/live")
    async with connect(service) as client, asyncio.timeout(30):
        await half_closed(client, one + other + one + other + b"GET /half")
        assert [(await client.answer()).status for _ in range(4)] == [201, 200, 201, 200]
        assert await client.is_closed_by_service()


UPGRADES = {"websocket": "GET /health/live", "CONNECT": "CONNECT x:443"}


@pytest.mark.parametrize("upgrade", UPGRADES)
@pytest.mark.parametrize("answered_before", [0, 2])
async def test_requests_behind_an_upgrade_are_answered_in_front_of_the_fin(
    service: Service, upgrade: str, answered_before: int
) -> None:
    """aiohttp reads them only when it has declined the upgrade."""
    lines = ("Host: x", "Connection: Upgrade", f"Upgrade: {upgrade}")
    other = head(None, "Host: x", request="GET /health/live")
    requests = [head(None, *lines, request=UPGRADES[upgrade]), other, other]
    async with connect(service) as client, asyncio.timeout(20):
        await client.send(b"".join(requests[:answered_before]))
        statuses = [(await client.answer()).status for _ in range(answered_before)]
        await half_closed(client, b"".join(requests[answered_before:]))
        statuses += [(await client.answer()).status for _ in requests[answered_before:]]
        assert statuses[1:] == [200, 200]
        assert await client.is_closed_by_service()


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("upgrade", [(), ("Connection: Upgrade", "Upgrade: websocket")])
async def test_requests_in_front_of_half_an_upload_are_answered_although_the_client_has_closed_its_side(
    service: Service,
    account: Account,
    transport: Transport,
    caplog: pytest.LogCaptureFixture,
    upgrade: tuple[str, ...],
) -> None:
    whole = head(None, "Host: x", *upgrade, request="GET /health/live")
    async with invariants_hold(service, caplog), connect(service) as client, asyncio.timeout(20):
        await half_closed(client, whole + request_head(account, transport, len(WAV)) + framed(WAV, transport)[:10_000])
        assert [(await client.answer()).status for _ in range(2)] == [200, 499]
        assert await client.is_closed_by_service()


async def test_upload_that_waits_in_the_queue_is_answered_although_its_client_has_closed_its_side(
    start_service: StartService,
) -> None:
    service = await start_service(max_encodings=1, max_waiting=1)
    account = await service.create_user()
    async with half_upload(service, account, WAV) as (first, rest), connect(service) as client:
        sending = asyncio.create_task(half_closed(client, request_head(account, "raw", len(WAV)) + WAV))
        await until(lambda: service.app[ADMISSION].waiting)
        await first.send(rest)
        assert (await first.answer()).status == 201
        assert (await client.answer()).status == 201
        await sending
        assert await client.is_closed_by_service()


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
async def test_half_an_upload_in_front_of_the_fin_leaves_nothing(
    service: Service, account: Account, transport: Transport, share: float
) -> None:
    body = framed(WAV, transport)
    async with connect(service) as client, asyncio.timeout(20):
        await half_closed(client, request_head(account, transport, len(WAV)) + body[: int(len(body) * share)])
        assert await client.is_closed_by_service()
    await until(lambda: not service.app[ADMISSION].running and not service.app[ADMISSION].waiting)
    assert not service.files()


async def test_connection_without_a_request_is_closed_at_its_fin(service: Service) -> None:
    for content in (b"", b"GET /hea", head(None, "Host: x", request="GET /health/live")[:-2]):
        async with connect(service) as client, asyncio.timeout(5):
            await half_closed(client, content)
            assert await client.is_closed_by_service()


TOOLS = {
    "curl --data-binary": ("curl", "-sS", "--data-binary", "@{wav}", "-H", "{authorization}", "{url}"),
    "curl with 1.0": (
        "curl",
        "-0",
        "-sS",
        "-T",
        "{wav}",
        "-H",
        "Expect: 100-continue",
        "-H",
        "{authorization}",
        "{url}/",
    ),
    "curl -T without a slash": ("curl", "-sS", "-T", "{wav}", "-H", "{authorization}", "{url}"),
    "curl -F with a slash": ("curl", "-sS", "-F", "file=@{wav}", "-H", "{authorization}", "{url}/"),
    "curl -X PUT -F": ("curl", "-sS", "-X", "PUT", "-F", "file=@{wav}", "-H", "{authorization}", "{url}"),
    "wget --post-file": ("wget", "-qO-", "--post-file={wav}", "--header={authorization}", "{url}"),
    "wget --body-file": ("wget", "-qO-", "--method=PUT", "--body-file={wav}", "--header={authorization}", "{url}/"),
}


@pytest.mark.parametrize("tool", TOOLS)
async def test_tools_upload_by_default(service: Service, account: Account, tmp_path: Path, tool: str) -> None:
    require_tool(TOOLS[tool][0])
    wav = tmp_path / "talk.wav"
    wav.write_bytes(WAV)
    values = {"wav": wav, "authorization": f"Authorization: Bearer {account.token}", "url": f"{service.url}records"}
    answer = await output_of(*(argument.format(**values) for argument in TOOLS[tool]))
    assert json.loads(answer)["duration"] == 5
