"""An owner's records and account: they are read, listed and deleted by their owner only."""

import base64
import hashlib
from io import BytesIO
from urllib.parse import quote

import pytest
from aiohttp import FormData
from yarl import URL

from tests.support.client import Account, Service, StartService
from tests.support.database import query, statement_counts
from tests.support.invariants import GOOD_WAV, invariants_hold
from tests.support.waiting import until

NOBODY = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"


async def keep(service: Service, account: Account, count: int = 1) -> list[str]:
    return [(await service.upload(account, GOOD_WAV, filename=f"{n}.wav")).json["id"] for n in range(count)]


async def test_owner_gets_the_record_as_it_was_answered(service: Service, account: Account) -> None:
    record = (await service.upload(account, GOOD_WAV)).json
    answer = await service.get(f"/records/{record['id']}", headers=account.headers)
    assert (answer.status, answer.json) == (200, record)


async def test_record_is_404_for_anybody_else(service: Service, account: Account) -> None:
    [record_id] = await keep(service, account)
    stranger = await service.create_user("bob")
    for method in ("GET", "DELETE"):
        answer = await service.request(method, f"/records/{record_id}", headers=stranger.headers)
        assert (answer.status, answer.json["code"]) == (404, "record_not_found")
        assert (await service.request(method, f"/records/{record_id}")).status == 401
        assert (await service.request(method, f"/records/{NOBODY}", headers=account.headers)).status == 404
    assert (await service.get(f"/records/{record_id}.mp3")).status == 200


async def test_deleted_record_is_gone_with_its_file(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    async with invariants_hold(service, caplog):
        kept, gone = await keep(service, account, 2)
        answer = await service.request("DELETE", f"/records/{gone}", headers=account.headers)
        assert (answer.status, answer.body) == (204, b"")
        assert (await service.get(f"/records/{gone}.mp3")).status == 404
        assert (await service.request("DELETE", f"/records/{gone}", headers=account.headers)).status == 404
        assert [file.stem for file in service.files()] == [kept]


async def test_list_pages_through_all_records_newest_first(service: Service, account: Account) -> None:
    ids = await keep(service, account, 5)
    await keep(service, await service.create_user("bob"))
    listed, path, pages = [], "/records?limit=2", 0
    while path:
        answer = await service.get(path, headers=account.headers)
        assert answer.status == 200
        listed += [record["id"] for record in answer.json["records"]]
        path, pages = answer.json["next"], pages + 1
        assert (f'<{path}>; rel="next"' == answer.headers.get("Link")) == (path is not None)
    assert listed == ids[::-1]
    assert pages == 3


async def test_next_page_starts_in_the_right_place_even_if_records_come_and_go(
    service: Service, account: Account
) -> None:
    ids = await keep(service, account, 4)
    first = await service.get("/records?limit=2", headers=account.headers)
    await service.request("DELETE", f"/records/{ids[2]}", headers=account.headers)
    await keep(service, account)
    second = await service.get(first.json["next"], headers=account.headers)
    assert [record["id"] for record in second.json["records"]] == [ids[1], ids[0]]


@pytest.mark.parametrize(
    ("search", "found"),
    [
        *(("CHOIR", ["2 Choir.wav", "choir %.wav"]), ("choir", ["2 Choir.wav", "choir %.wav"])),
        *(
            ("%", ["choir %.wav"]),
            ("_", ["a_b.wav"]),
            (".", ["(x).wav", "Übung.wav", "2 Choir.wav", "a_b.wav", "choir %.wav"]),
        ),
        *(("(x)", ["(x).wav"]), (r"\d", []), ("***:x", []), ("übung", ["Übung.wav"]), ("U\u0308BUNG", ["Übung.wav"])),
        *((" ", ["2 Choir.wav", "choir %.wav"]), ("]", []), ("^c", []), ("ß", [])),
    ],
)
async def test_list_is_searched_by_a_part_of_the_name(
    service: Service, account: Account, search: str, found: list[str]
) -> None:
    for name in ("choir %.wav", "a_b.wav", "2 Choir.wav", "Übung.wav", "(x).wav"):
        await service.upload(account, GOOD_WAV, filename=quote(name))
    answer = await service.get(URL("/records").with_query(search=search), headers=account.headers)
    assert [record["filename"] for record in answer.json["records"]] == found


async def test_pages_of_a_search_go_on_with_it(service: Service, account: Account) -> None:
    for name in ("ab & c.wav", "x.wav", "ab & c.wav", "x.wav", "ab & c.wav"):
        await service.upload(account, GOOD_WAV, filename=quote(name))
    names, path = list[str](), "/records?limit=1&search=B%20%26%20C"
    while path is not None:
        answer = await service.get(path, headers=account.headers)
        names += [record["filename"] for record in answer.json["records"]]
        path = answer.json["next"]
    assert names == ["ab & c.wav"] * 3


async def test_empty_list_is_a_list(service: Service, account: Account) -> None:
    assert (await service.get("/records", headers=account.headers)).json == {"records": [], "next": None}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        *(("limit=0", "invalid_limit"), ("limit=501", "invalid_limit"), ("limit=x", "invalid_limit")),
        *(("search=%00", "invalid_search"), ("search=" + 201 * "a", "invalid_search")),
        *(("limit=", "invalid_limit"), ("limit=99999999999", "invalid_limit"), ("after=x", "invalid_after")),
        *(("limit=0001", "invalid_limit"), ("limit=00001999999", "invalid_limit"), ("limit=%D9%A1", "invalid_limit")),
        *((f"limit={'9' * 5000}", "invalid_limit"), (f"limit={'0' * 5000}1", "invalid_limit")),
        *((f"after=0001-01-01T00:00:00%2B14:00,{NOBODY}", "invalid_after"),),
        *(("after=2026-01-01T00:00:00,x", "invalid_after"), (f"after=2026-01-01T00:00:00,{NOBODY}", "invalid_after")),
    ],
)
async def test_list_says_what_is_wrong_with_its_query(
    service: Service, account: Account, query: str, code: str
) -> None:
    answer = await service.get(f"/records?{query}", headers=account.headers)
    assert (answer.status, answer.json["code"]) == (422, code)


@pytest.mark.parametrize("offset", ["%2B23:59", "-23:59", "-16:00", "%2B01:00", "Z"])
async def test_list_goes_on_after_a_moment_in_any_time_zone(service: Service, account: Account, offset: str) -> None:
    """PostgreSQL takes offsets of less than 16 hours; what Python takes beyond them is the same moment in UTC."""
    [record] = await keep(service, account)
    answer = await service.get(f"/records?after=2999-01-01T00:00:00{offset},{record}", headers=account.headers)
    assert (answer.status, [found["id"] for found in answer.json["records"]]) == (200, [record])


async def test_me_shows_the_user_and_their_usage(service: Service, account: Account) -> None:
    records = [(await service.upload(account, GOOD_WAV)).json for _ in range(2)]
    me = (await service.get("/users/me", headers=account.headers)).json
    assert set(me) == {"id", "username", "created_at", "records", "bytes", "max_records", "max_bytes"}
    assert (me["id"], me["username"], me["records"]) == (account.id, "ann", 2)
    assert me["bytes"] == sum(record["size"] for record in records)
    assert (me["max_records"], me["max_bytes"]) == (1_000_000, 2**40)


async def test_new_token_works_and_the_old_one_stops_at_once(service: Service, account: Account) -> None:
    answer = await service.post("/users/me/token", headers=account.headers)
    assert answer.status == 200
    renewed = Account(account.id, answer.json["token"])
    assert (await service.get("/users/me", headers=renewed.headers)).status == 200
    assert (await service.get("/users/me", headers=account.headers)).status == 401


async def test_deleting_a_user_deletes_their_records_and_files(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    async with invariants_hold(service, caplog):
        ids = await keep(service, account, 3)
        assert (await service.request("DELETE", "/users/me", headers=account.headers)).status == 204
        assert (await service.get("/users/me", headers=account.headers)).status == 401
        assert (await service.get(f"/records/{ids[0]}.mp3")).status == 404
        await until(lambda: not query(service.database_url, "SELECT 1 FROM users WHERE id = %s", [account.id]))
        assert not service.files()


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_me_needs_a_token(service: Service, method: str) -> None:
    assert (await service.request(method, "/users/me")).status == 401


async def test_records_per_user_are_limited(start_service: StartService) -> None:
    service = await start_service(max_records_per_user=2)
    account = await service.create_user()
    ids = await keep(service, account, 2)
    answer = await service.upload(account, GOOD_WAV)
    assert (answer.status, answer.json["code"]) == (403, "quota_exceeded")
    await service.request("DELETE", f"/records/{ids[0]}", headers=account.headers)
    assert (await service.upload(account, GOOD_WAV)).status == 201


def digest_field(wav: bytes, digest: str, *, first: bool) -> FormData:
    form = FormData()
    if first:
        form.add_field("content_digest", digest)
    form.add_field("file", BytesIO(wav), filename="talk.wav")
    if not first:
        form.add_field("content_digest", digest)
    return form


def sha256_digest(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


RIGHT = sha256_digest(GOOD_WAV)
WRONG = "sha-256=:" + "A" * 43 + "=:"


@pytest.mark.parametrize(
    ("digest", "status"), [(RIGHT, 201), (WRONG, 422), (f"md5=:AAAA:, {RIGHT}", 201), ("md5=:AA:", 201)]
)
async def test_digest_of_the_wav_is_checked_if_it_is_sent(
    service: Service, account: Account, digest: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with invariants_hold(service, caplog):
        headers = account.headers | {"Content-Digest": digest}
        answers = [await service.put("/records/", data=GOOD_WAV, headers=headers)]
        for first in (True, False):
            form = digest_field(GOOD_WAV, digest, first=first)
            answers.append(await service.post("/records", data=form, headers=account.headers))
        assert [answer.status for answer in answers] == [status] * 3
        if status == 422:
            assert {answer.json["code"] for answer in answers} == {"digest_mismatch"}


async def test_wrong_digest_wins_over_a_truncated_wav(service: Service, account: Account) -> None:
    """A body that was cut in transfer has a wrong digest, and that refusal describes it better."""
    cut = GOOD_WAV[:-100]
    for digest, code in [(RIGHT, "digest_mismatch"), (sha256_digest(cut), "truncated")]:
        headers = account.headers | {"Content-Digest": digest}
        answers = [
            await service.put("/records/", data=cut, headers=headers),
            await service.post("/records", data=digest_field(cut, digest, first=False), headers=account.headers),
        ]
        assert [(answer.status, answer.json["code"]) for answer in answers] == [(422, code)] * 2


@pytest.mark.parametrize("digest", ["sha-256=:AAAA:", "sha-256=:…:", "sha-256=abc", "md5=:AA:, sha-256 = :AAAA"])
async def test_digest_that_cannot_be_read_is_400(service: Service, account: Account, digest: str) -> None:
    headers = account.headers | {"Content-Digest": digest}
    answer = await service.put("/records/", data=GOOD_WAV, headers=headers)
    assert (answer.status, answer.json["code"]) == (400, "malformed_digest")


async def test_download_has_the_digest_of_the_mp3(service: Service, account: Account) -> None:
    record = (await service.upload(account, GOOD_WAV)).json
    mp3 = await service.get(record["url"])
    assert mp3.headers["Repr-Digest"] == sha256_digest(mp3.body)


async def test_page_of_long_names_ends_early_and_loses_none(service: Service, account: Account) -> None:
    """A page of a few records may be as large as one of hundreds, and a client that does not read it holds it."""
    names = [f"{number:02}" + "\N{MUSICAL SYMBOL G CLEF}" * 600 + ".wav" for number in range(20)]
    for name in names:
        path = URL(f"/records/{quote(name)}", encoded=True)
        assert (await service.put(path, data=GOOD_WAV, headers=account.headers)).status == 201
    url, found, pages = "/records?limit=100", [], 0
    while url:
        answer = await service.get(url, headers=account.headers)
        assert len(answer.body) < 140_000
        found += [record["filename"] for record in answer.json["records"]]
        url, pages = answer.json["next"], pages + 1
    assert (found, pages) == (names[::-1], 2)


async def test_upload_takes_three_statements_and_gives_its_lease_back_with_its_record(
    service: Service, account: Account
) -> None:
    of_uploads = {"select_user_by_token", "insert_upload_lease", "insert_record", "delete_leases"}
    before = statement_counts()
    assert (await service.upload(account, GOOD_WAV)).status == 201
    found = statement_counts() - before
    assert {name: count for name, count in found.items() if name in of_uploads} == {
        "select_user_by_token": 1,
        "insert_upload_lease": 1,
        "insert_record": 1,
    }
    assert query(service.database_url, "SELECT * FROM upload_leases") == []
