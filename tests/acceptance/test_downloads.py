"""Downloads: ranges, conditions, names and headers, at every address that a record has."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from uuid import UUID, uuid4

import pytest

from service.web.app_keys import STORAGE
from tests.support import s3, wavs
from tests.support.client import Account, Service, StartService
from tests.support.invariants import GOOD_WAV

NOBODY = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
WAV = wavs.wav(wavs.chirp(44100, 44100, 1), sample_rate=44100, channels=1)


@dataclass(frozen=True)
class Kept:
    """A record and its MP3."""

    path: str
    mp3: bytes
    etag: str
    last_modified: str


@pytest.fixture(params=["disk", "s3"])
async def service(request: pytest.FixtureRequest, start_service: StartService) -> Service:
    """A service on each kind of storage; a client cannot tell them apart."""
    if request.param == "disk":
        return await start_service()
    return await start_service(**s3.settings(request.getfixturevalue("s3_endpoint_url"), uuid4().hex))


@pytest.fixture
async def kept(service: Service, account: Account) -> Kept:
    answer = await service.upload(account, WAV)
    path = f"/records/{answer.json['id']}.mp3"
    whole = await service.get(path)
    return Kept(path, whole.body, whole.headers["ETag"], whole.headers["Last-Modified"])


async def test_whole_mp3_comes_with_every_header_of_the_contract(service: Service, kept: Kept) -> None:
    answer = await service.get(kept.path)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "audio/mpeg"
    assert answer.headers["Content-Length"] == str(len(kept.mp3))
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["ETag"] == f'"{hashlib.sha256(answer.body).hexdigest()}"'
    assert answer.headers["Cache-Control"] == "private, max-age=31536000, immutable"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Content-Disposition"] == 'inline; filename="talk.mp3"'
    assert parsedate_to_datetime(answer.headers["Last-Modified"]) <= parsedate_to_datetime(answer.headers["Date"])
    assert "Server" not in answer.headers
    assert len(answer.headers["X-Request-Id"]) == 32


async def test_head_has_the_headers_and_no_body(service: Service, kept: Kept) -> None:
    answer = await service.request("HEAD", kept.path, headers={"Range": "bytes=0-9"})
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(kept.mp3))
    assert answer.headers["ETag"] == kept.etag


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [("bytes=0-0", 0, 0), ("bytes=5-9", 5, 9), ("BYTES=5-9", 5, 9), ("bytes=100-", 100, -1), ("bytes=-7", -7, -1)],
)
async def test_one_range_is_206(service: Service, kept: Kept, wanted: str, first: int, last: int) -> None:
    answer = await service.get(kept.path, headers={"Range": wanted})
    size = len(kept.mp3)
    first, last = first % size, last % size
    assert answer.status == 206
    assert answer.body == kept.mp3[first : last + 1]
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{size}"
    assert answer.headers["ETag"] == kept.etag


@pytest.mark.parametrize("wanted", ["bytes=0-99999999", "bytes=-99999999"])
async def test_range_past_the_end_is_cut(service: Service, kept: Kept, wanted: str) -> None:
    answer = await service.get(kept.path, headers={"Range": wanted})
    assert (answer.status, answer.body) == (206, kept.mp3)


@pytest.mark.parametrize("wanted", ["bytes=99999999-", "bytes=99999999-999999999", "bytes=-0"])
async def test_unsatisfiable_range_is_416(service: Service, kept: Kept, wanted: str) -> None:
    answer = await service.get(kept.path, headers={"Range": wanted})
    assert (answer.status, answer.json["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["Content-Range"] == f"bytes */{len(kept.mp3)}"


@pytest.mark.parametrize(
    "wanted",
    [
        *("samples=0-9", "bytes=0-1,5-6", "bytes=9-5", "bytes=-", "bytes=", "bytes", "", "bytes=a-b", "bytes=1-2-3"),
        "bytes=" + "9" * 5000 + "-",
        "bytes=\u0661-\u0662",
    ],
)
async def test_range_that_means_nothing_is_ignored(service: Service, kept: Kept, wanted: str) -> None:
    answer = await service.get(kept.path, headers={"Range": wanted})
    assert (answer.status, answer.body) == (200, kept.mp3)


async def test_known_etag_is_304_without_a_body(service: Service, kept: Kept) -> None:
    for known in (kept.etag, f"W/{kept.etag}", f'"other", {kept.etag}', "*"):
        answer = await service.get(kept.path, headers={"If-None-Match": known})
        assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", kept.etag), known


async def test_etag_takes_precedence_over_the_date(service: Service, kept: Kept) -> None:
    headers = {"If-None-Match": '"other"', "If-Modified-Since": kept.last_modified}
    assert (await service.get(kept.path, headers=headers)).status == 200


async def test_file_that_is_not_modified_since_a_date_is_304(service: Service, kept: Kept) -> None:
    date = parsedate_to_datetime(kept.last_modified)
    for since, status in ((date, 304), (date + timedelta(days=1), 304), (date - timedelta(seconds=1), 200)):
        headers = {"If-Modified-Since": format_datetime(since, usegmt=True)}
        assert (await service.get(kept.path, headers=headers)).status == status


@pytest.mark.parametrize(("condition", "status"), [('"other"', 412), ("*", 200), ('W/"{}"', 412), ('"{}"', 200)])
async def test_if_match_compares_strongly(service: Service, kept: Kept, condition: str, status: int) -> None:
    headers = {"If-Match": condition.format(kept.etag.strip('"'))}
    answer = await service.get(kept.path, headers=headers)
    assert answer.status == status
    if status == 412:
        assert answer.json["code"] == "precondition_failed"


async def test_if_range_with_another_etag_gets_the_whole_file(service: Service, kept: Kept) -> None:
    for version, status in ((kept.etag, 206), ('"old"', 200), (f"W/{kept.etag}", 200), (kept.last_modified, 206)):
        answer = await service.get(kept.path, headers={"Range": "bytes=0-9", "If-Range": version})
        assert answer.status == status, version
        assert answer.body == (kept.mp3[:10] if status == 206 else kept.mp3)
    earlier = format_datetime(parsedate_to_datetime(kept.last_modified) - timedelta(seconds=5), usegmt=True)
    answer = await service.get(kept.path, headers={"Range": "bytes=0-9", "If-Range": earlier})
    assert answer.status == 200


async def test_pieces_by_range_make_up_the_file(service: Service, kept: Kept) -> None:
    pieces = [
        (await service.get(kept.path, headers={"Range": f"bytes={start}-{start + 4095}"})).body
        for start in range(0, len(kept.mp3), 4096)
    ]
    assert b"".join(pieces) == kept.mp3


@pytest.mark.parametrize(
    "filename",
    ['a "quoted" name.wav', "речь.wav", "a;b=c,d.wav", "100%41.wav", "x" * 300 + ".wav", "名" * 300],
)
async def test_download_is_named_after_the_upload_in_ascii_and_in_utf8(
    service: Service, account: Account, filename: str
) -> None:
    form = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{filename.replace(chr(34), "%22")}"\r\n\r\n'
    headers = account.headers | {"Content-Type": "multipart/form-data; boundary=b"}
    answer = await service.post("/records", data=form.encode() + WAV + b"\r\n--b--\r\n", headers=headers)
    mp3 = await service.request("HEAD", answer.json["url"])
    value = mp3.headers["Content-Disposition"]
    value.encode("ascii")
    assert value.startswith("inline; filename=")
    assert ".mp3" in value
    assert len(mp3.headers["Content-Disposition"]) < 1500


@pytest.mark.parametrize("path", [f"/records/{NOBODY}.mp3", "/records/1.mp3", "/records/x/../y.mp3", "/records/.mp3"])
async def test_unknown_address_is_404(service: Service, path: str) -> None:
    answer = await service.get(path)
    assert (answer.status, answer.json["code"]) == (404, "record_not_found")
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_lost_file_is_404_and_not_an_empty_mp3(service: Service, kept: Kept) -> None:
    await service.app[STORAGE].delete(UUID(kept.path.removeprefix("/records/").removesuffix(".mp3")))
    answer = await service.get(kept.path)
    assert (answer.status, answer.json["code"]) == (404, "record_not_found")


async def test_uuid_in_upper_case_is_the_same_address(service: Service, kept: Kept) -> None:
    record_id = kept.path.removeprefix("/records/").removesuffix(".mp3")
    assert (await service.get(f"/records/{record_id.upper()}.mp3")).body == kept.mp3


async def test_download_needs_no_token(service: Service, kept: Kept) -> None:
    assert (await service.get(kept.path, headers={})).status == 200


@pytest.mark.parametrize("header", ["If-Modified-Since", "If-Unmodified-Since"])
@pytest.mark.parametrize(
    "date", ["Thu, 01 Jan 99999999999999999999 00:00:00 GMT", "Thu, 99999999999 Jan 2026 00:00:00 GMT", "x"]
)
async def test_date_that_cannot_be_read_is_ignored(service: Service, account: Account, header: str, date: str) -> None:
    mp3 = (await service.upload(account, GOOD_WAV)).json["url"]
    for path in (mp3, "/docs/start.js"):
        assert (await service.get(path, headers={header: date})).status == 200
