"""Which web pages of other origins may use the service; tests/browser has the same in a real browser."""

import pytest

from tests.support.client import NOBODY, Account, Answer, Service, StartService
from tests.support.invariants import GOOD_WAV
from tests.support.raw import connect

PAGE = "https://app.example"
OTHER = "https://other.example"
# What axios, fetch, tus-js-client, Uppy and an IETF client of resumable uploads ask for.
ASKED = [
    *("authorization", "content-type", "idempotency-key", "content-digest", "repr-digest", "content-disposition"),
    *("tus-resumable", "upload-length", "upload-offset", "upload-metadata", "upload-defer-length", "upload-checksum"),
    *("upload-complete", "upload-draft-interop-version", "x-http-method-override", "x-request-id"),
]
READ = [
    *("location", "etag", "content-range", "repr-digest", "retry-after", "x-request-id", "idempotency-replayed"),
    *("wavepress-warning", "upload-offset", "upload-length", "upload-complete", "upload-limit", "upload-expires"),
    *("tus-resumable", "tus-version", "tus-extension", "tus-max-size", "content-location", "content-disposition"),
    *("accept-ranges", "www-authenticate", "link", "allow"),
]
CORS_HEADERS = {
    "Access-Control-Allow-Origin",
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Headers",
    "Access-Control-Expose-Headers",
    "Access-Control-Max-Age",
}


async def preflight(service: Service, path: str, *, origin: str = PAGE, method: str = "POST") -> Answer:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": ",".join(ASKED),
    }
    return await service.request("OPTIONS", path, headers=headers)


def listed(answer: Answer, name: str) -> set[str]:
    return {value.strip().lower() for value in answer.headers[name].split(",")}


@pytest.fixture
async def shared(start_service: StartService) -> Service:
    """A service whose API is for the pages of two origins."""
    return await start_service(cors_origins=f"{PAGE}, https://more.example:443")


@pytest.mark.parametrize("path", ["/users", "/records", "/records/", "/records/talk.wav", "/users/me", "/audiotrack"])
@pytest.mark.parametrize("origin", [PAGE, "https://more.example"])
async def test_preflight_of_an_allowed_origin_names_what_clients_send(shared: Service, path: str, origin: str) -> None:
    answer = await preflight(shared, path, origin=origin)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert answer.headers["Vary"] == "Origin"
    assert listed(answer, "Access-Control-Allow-Methods") == {"get", "head", "post", "put", "patch", "delete"}
    assert listed(answer, "Access-Control-Allow-Headers") >= {*ASKED, "range"}
    assert int(answer.headers["Access-Control-Max-Age"]) >= 600
    assert "Access-Control-Allow-Credentials" not in answer.headers


NOT_ALLOWED = [OTHER, "http://app.example", "https://app.example:8443", "https://app.example.evil.example", "null", ""]


@pytest.mark.parametrize("origin", [*NOT_ALLOWED, "https://APP.example", f"{PAGE}/", f"{PAGE},{PAGE}"])
async def test_origin_that_is_not_allowed_gets_no_header(shared: Service, origin: str) -> None:
    answer = await preflight(shared, "/records", origin=origin)
    assert (answer.status, answer.json["code"]) == (403, "origin_not_allowed")
    assert "WAVEPRESS_CORS_ORIGINS" in answer.json["detail"]
    for refused in (answer, await shared.get("/users/me", headers={"Origin": origin})):
        assert not CORS_HEADERS & set(refused.headers)
        assert refused.headers["Vary"] == "Origin"


async def test_without_the_setting_no_origin_may_use_the_api(service: Service, account: Account) -> None:
    assert (await preflight(service, "/records")).status == 403
    answer = await service.get("/records", headers=account.headers | {"Origin": PAGE})
    assert answer.status == 200
    assert not (CORS_HEADERS | {"Vary"}) & set(answer.headers)


async def test_star_allows_every_origin_without_naming_it(start_service: StartService) -> None:
    service = await start_service(cors_origins="*")
    answer = await preflight(service, "/records", origin="null")
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (204, "*")
    assert "Vary" not in answer.headers
    answer = await service.get("/users/me")
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (401, "*")


async def test_page_may_read_answers_and_refusals_alike(start_service: StartService) -> None:
    service = await start_service(cors_origins=PAGE, max_upload_bytes=100_000, max_uploads_per_user=1)
    account = await service.create_user()
    headers = account.headers | {"Origin": PAGE}
    answers = [
        await service.put("/records/", data=GOOD_WAV, headers=headers),
        await service.get("/users/me", headers={"Origin": PAGE}),
        await service.get("/nothing", headers=headers),
        await service.request("PATCH", "/users", headers=headers),
        await service.put("/records/", data=bytes(100_001), headers=headers),
        await service.put("/records/", data=b"fLaC", headers=headers),
        await service.put("/records/?bit_rate=1", data=GOOD_WAV, headers=headers),
        await service.get("/health/live", headers=headers | {"Host": "other.example"}),
    ]
    assert [answer.status for answer in answers] == [201, 401, 404, 405, 413, 415, 422, 400]
    for answer in answers:
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE
        assert listed(answer, "Access-Control-Expose-Headers") >= set(READ)
        assert answer.headers["Vary"] == "Origin"
        assert "Access-Control-Allow-Credentials" not in answer.headers


async def test_page_may_read_that_the_service_is_busy(start_service: StartService) -> None:
    service = await start_service(cors_origins=PAGE, min_free_bytes=2**60, max_failures_per_address=1)
    account = await service.create_user()
    full = await service.put("/records/", data=GOOD_WAV, headers=account.headers | {"Origin": PAGE})
    wrong = NOBODY.headers | {"Origin": PAGE}
    answers = [full, *[await service.get("/users/me", headers=wrong) for _ in range(3)]]
    assert [answer.status for answer in answers][::3] == [507, 429]
    assert {answer.headers["Access-Control-Allow-Origin"] for answer in answers} == {PAGE}


@pytest.mark.parametrize("cors_origins", [None, PAGE])
async def test_mp3_is_for_every_page_with_ranges_and_without_credentials(
    start_service: StartService, cors_origins: str | None
) -> None:
    service = await start_service(cors_origins=cors_origins)
    account = await service.create_user()
    record = (await service.upload(account, GOOD_WAV)).json
    older = [
        f"/audiotrack?id={record['id']}&user={account.id}",
        f"/api_v1/records/?record_id={record['id']}&user_id={account.id}",
    ]
    for path in (f"/records/{record['id']}.mp3", *older):
        for method in ("GET", "HEAD"):
            asked = await preflight(service, path, origin=OTHER, method=method)
            assert (asked.status, asked.headers["Access-Control-Allow-Origin"]) == (204, "*")
            assert listed(asked, "Access-Control-Allow-Methods") == {"get", "head"}
            assert listed(asked, "Access-Control-Allow-Headers") >= {"range", "if-range", "if-none-match"}
            assert "authorization" not in listed(asked, "Access-Control-Allow-Headers")
        for status, sent in (
            (200, {}),
            (206, {"Range": "bytes=0-9"}),
            (304, {"If-None-Match": f'"{record["sha256"]}"'}),
            (412, {"If-Match": '"other"'}),
            (416, {"Range": "bytes=999999-"}),
        ):
            answer = await service.get(path, headers=sent | {"Origin": OTHER})
            assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (status, "*")
            assert "content-range" in listed(answer, "Access-Control-Expose-Headers")
            assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
            assert "Vary" not in answer.headers
            assert "Access-Control-Allow-Credentials" not in answer.headers
    lost = await service.get("/records/6f9619ff-8b86-4d01-b42d-00cf4fc964ff.mp3", headers={"Origin": OTHER})
    assert (lost.status, lost.headers["Access-Control-Allow-Origin"]) == (404, "*")
    for path, method in ((f"/records/{record['id']}.mp3", "DELETE"), (older[0], "POST"), ("/records", "GET")):
        assert (await preflight(service, path, origin=OTHER, method=method)).status == 403


@pytest.mark.parametrize("database_url", ["postgresql://nobody@127.0.0.1:1/nothing"])
async def test_preflight_needs_no_token_no_known_host_and_no_database(start_service: StartService) -> None:
    service = await start_service(cors_origins=PAGE)
    async with connect(service) as client:
        await client.send(
            b"OPTIONS /records HTTP/1.1\r\nHost: evil.example\r\nOrigin: https://app.example\r\n"
            b"Access-Control-Request-Method: PUT\r\n\r\n"
        )
        answer = await client.answer()
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (204, PAGE)
    assert b"evil.example" not in answer.body
    busy = await service.get("/users/me", headers=NOBODY.headers | {"Origin": PAGE})
    assert (busy.status, busy.headers["Access-Control-Allow-Origin"]) == (503, PAGE)


@pytest.mark.parametrize("missing", ["Origin", "Access-Control-Request-Method"])
async def test_options_that_are_no_preflight_are_not_answered_as_one(shared: Service, missing: str) -> None:
    headers = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    del headers[missing]
    answer = await shared.request("OPTIONS", "/records", headers=headers)
    assert (answer.status, answer.json["code"]) == (405, "method_not_allowed")
