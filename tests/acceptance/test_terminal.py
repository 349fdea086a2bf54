"""What a person at the terminal, or with a browser, gets: text, pages, and lines that work where they are printed."""

import asyncio
import html
import json
import os
import re
from pathlib import Path
from urllib.parse import quote

import pytest

from service.names import LONGEST_FILENAME
from tests.support.client import NOBODY, Account, Answer, Service, StartService
from tests.support.invariants import GOOD_WAV
from tests.support.mp3s import decode
from tests.support.raw import connect
from tests.support.tools import require_tool

TEXT = {"Accept": "text/plain"}
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
REGISTRATION_TOKEN = "opens"  # noqa: S105 - of a service of these tests
LOST = "/records/6f9619ff-8b86-4d01-b42d-00cf4fc964ff.mp3"
SAMPLE = (Path(__file__).parents[2] / "examples" / "talk.wav").read_bytes()


def lines_of(answer: Answer) -> list[str]:
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    text = answer.body.decode()
    assert not text or text.endswith("\n")
    return text.splitlines()


@pytest.mark.parametrize("path", ["/users", "/users/", "/api_v1/users/"])
async def test_new_user_as_text_is_its_token(service: Service, path: str) -> None:
    (token,) = lines_of(await service.post(path, data={"username": "ann"}, headers=TEXT))
    account = Account(0, token)
    assert (await service.get("/users/me", headers=account.headers)).json["username"] == "ann"
    (renewed,) = lines_of(await service.post("/users/me/token", headers=account.headers | TEXT))
    assert renewed != token
    assert (await service.get("/users/me", headers=Account(0, renewed).headers)).status == 200


async def test_older_api_answers_in_its_own_way_whatever_is_asked_for(service: Service) -> None:
    answer = await service.post("/user", json={"username": "ann"}, headers=TEXT)
    assert set(answer.json) == {"id", "access_token"}


async def test_list_as_text_has_an_address_and_a_name_in_each_line(service: Service, account: Account) -> None:
    assert lines_of(await service.get("/records", headers=account.headers | TEXT)) == []
    names = ["a b;c.wav", "ü.wav"]
    records = [(await service.upload(account, GOOD_WAV, filename=quote(name))).json for name in names]
    expected = [f"{record['url']}\t{name}" for record, name in zip(records, names, strict=True)]
    assert lines_of(await service.get("/records/", headers=account.headers | TEXT)) == expected[::-1]
    page = await service.get("/records?limit=1", headers=account.headers | TEXT)
    assert lines_of(page) == expected[1:]
    found = re.fullmatch(r'<(.+)>; rel="next"', page.headers["Link"])
    assert found
    assert lines_of(await service.get(found[1], headers=account.headers | TEXT)) == expected[:1]


async def test_uploads_as_text_have_an_address_and_a_name_in_each_line(service: Service, account: Account) -> None:
    assert lines_of(await service.get("/uploads", headers=account.headers | TEXT)) == []
    creation = {"Upload-Complete": "?0", "Content-Disposition": "attachment; filename*=UTF-8''%C3%BC.wav"}
    uploads = [(await service.post("/uploads", headers=account.headers | creation)).headers["Location"] for _ in "ab"]
    expected = [f"{service.url}records/{upload.rpartition('/')[2]}.mp3\tü.wav" for upload in uploads]
    assert lines_of(await service.get("/uploads", headers=account.headers | TEXT)) == expected[::-1]
    for upload in uploads:
        assert (await service.request("DELETE", upload, headers=account.headers)).status == 204


@pytest.mark.parametrize("accept", ["text/plain", "text/plain, */*; q=0.01", "text/plain, application/json"])
async def test_refusal_as_text_is_its_sentence(service: Service, account: Account, accept: str) -> None:
    wanted = {"Accept": accept}
    for method, path, headers, data in (
        ("GET", "/users/me", {}, None),
        ("GET", LOST, {}, None),
        ("PUT", "/records/a.wav", account.headers, b"fLaC"),
        ("PUT", "/records/a.wav", account.headers, GOOD_WAV[:-1]),
        ("PUT", f"/records/{'a' * (LONGEST_FILENAME + 1)}", account.headers, GOOD_WAV),
        ("PATCH", "/records", account.headers, None),
        ("GET", "/nothing", {}, None),
    ):
        problem = await service.request(method, path, headers=headers, data=data)
        text = await service.request(method, path, headers=headers | wanted, data=data)
        assert (text.status, lines_of(text)) == (problem.status, [problem.json["detail"]])
        assert {name: text.headers.get(name) for name in ("Allow", "WWW-Authenticate")} == {
            name: problem.headers.get(name) for name in ("Allow", "WWW-Authenticate")
        }


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/json, text/plain, */*", "application/xml"])
async def test_refusal_is_a_problem_for_programs(service: Service, accept: str) -> None:
    answer = await service.get("/users/me", headers={"Accept": accept})
    assert answer.headers["Content-Type"].startswith("application/problem+json")


async def test_refused_upload_as_text_ends_its_connection(service: Service, account: Account) -> None:
    head = "PUT /records/ HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain\r\n"
    for more, status in (("Content-Length: 1000\r\n", 401), (f"Authorization: Bearer {account.token}\r\n", 411)):
        async with connect(service) as client:
            await client.send(f"{head}{more}\r\n".encode())
            answer = await client.answer()
            assert (answer.status, answer.headers["connection"]) == (status, "close")
            assert await client.is_closed_by_service()


@pytest.mark.parametrize(
    ("path", "status"), [("/nothing", 404), ("/a/b/c/", 404), (LOST, 404), ("/users/me", 401), ("/users", 405)]
)
async def test_dead_link_in_a_browser_is_a_small_page(service: Service, path: str, status: int) -> None:
    problem = await service.get(path)
    page = await service.get(path, headers=BROWSER)
    assert (page.status, page.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert page.headers["Cache-Control"] == "no-store"
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; base-uri 'none'; form-action 'none'")
    assert "style-src 'sha256-" in policy
    text = html.unescape(page.body.decode())
    assert problem.json["detail"] in text
    for link in re.findall(r'href="([^"]+)"', text):
        assert not re.match("/|[a-z]+:", link)  # relative: a proxy may serve us below a path
        target = (service.url / path.lstrip("/")).join(type(service.url)(link))
        assert (await service.get(target)).status == 200


async def test_page_repeats_nothing_of_the_request(service: Service) -> None:
    for path, headers in (("/%3Cscript%3E", {}), ("/", {"Host": "<script>.example"}), ("/?<script>", {"Host": "a b"})):
        answer = await service.get(path, headers=BROWSER | headers)
        assert (answer.status, b"script>" in answer.body) == (404 if path == "/%3Cscript%3E" else 400, False)


async def test_refused_form_of_a_program_is_a_problem_even_if_it_names_html(service: Service) -> None:
    java = {"Accept": "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"}
    answer = await service.post("/records", data=b"x", headers=java)
    assert (answer.status, answer.json["code"]) == (401, "missing_token")


async def test_mp3_is_deleted_by_its_own_address(service: Service, account: Account) -> None:
    other = await service.create_user("bob")
    record = (await service.upload(account, GOOD_WAV)).json
    for headers, status in (({}, 401), (NOBODY.headers, 401), (other.headers, 404)):
        assert (await service.request("DELETE", record["url"], headers=headers)).status == status
    assert (await service.get(record["url"])).status == 200
    assert (await service.request("DELETE", record["url"], headers=account.headers)).status == 204
    assert (await service.get(record["url"])).status == 404
    assert not service.files()


@pytest.mark.parametrize("slash", ["", "/"])
async def test_put_on_an_mp3_is_refused_with_the_reason(service: Service, account: Account, slash: str) -> None:
    record = (await service.upload(account, GOOD_WAV)).json
    answer = await service.put(f"{record['url']}{slash}", data=GOOD_WAV, headers=account.headers)
    assert (answer.status, answer.json["code"]) == (405, "mp3_not_replaceable")
    assert answer.headers["Allow"] == "DELETE, GET, HEAD"
    assert "never changes" in answer.json["detail"]
    assert len((await service.get("/records", headers=account.headers)).json["records"]) == 1
    name = f"{record['id']}.mp3.wav"
    assert (await service.put(f"/records/{name}", data=GOOD_WAV, headers=account.headers)).json["filename"] == name


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        *[(query, "attachment") for query in ("?download=1", "?download", "?download=true")],
        *[(query, "inline") for query in ("", "?download=0", "?download=false", "?other=1")],
    ],
)
async def test_link_can_ask_a_browser_to_save(service: Service, account: Account, query: str, kind: str) -> None:
    record = (await service.upload(account, GOOD_WAV, filename="%C3%BC.wav")).json
    for headers in ({}, {"Range": "bytes=0-9"}):
        answer = await service.get(record["url"] + query, headers=headers)
        assert answer.headers["Content-Disposition"] == f"{kind}; filename=\"_.mp3\"; filename*=UTF-8''%C3%BC.mp3"
        assert answer.headers["ETag"] == f'"{record["sha256"]}"'


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/docs/", "text/html; charset=utf-8"),
        ("/health", "application/json"),
        ("/health/", "application/json"),
        ("/favicon.ico", "image/png"),
        ("/examples/talk.wav", "audio/wav"),
    ],
)
async def test_address_that_people_and_browsers_guess_is_there(service: Service, path: str, content_type: str) -> None:
    for method in ("GET", "HEAD"):
        answer = await service.request(method, path, headers=BROWSER)
        assert (answer.status, answer.headers["Content-Type"]) == (200, content_type)


async def test_docs_with_a_slash_lead_to_the_page_whose_links_work(service: Service) -> None:
    answer = await service.get("/docs/", allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (302, "../docs")


async def test_sample_comes_with_the_service(service: Service) -> None:
    answer = await service.get("/examples/talk.wav")
    assert answer.body == SAMPLE
    assert answer.headers["Content-Security-Policy"] == "sandbox"  # with a stricter one, Chromium would not play it
    assert answer.headers["Access-Control-Allow-Origin"] == "*"  # as this, because a sandbox has no origin
    part = await service.get("/examples/talk.wav", headers={"Range": "bytes=0-3"})
    assert (part.status, part.body) == (206, b"RIFF")


async def printed(service: Service, path: str) -> str:
    answer = await service.get(path)
    if path == "/openapi.json":
        (lines,) = re.findall(r"```\n(.+?)\n```", answer.json["info"]["description"], re.DOTALL)
    else:
        lines = answer.body.decode().removesuffix("\n")
    return html.unescape(lines)


async def shell(directory: Path, lines: str) -> tuple[int, str]:
    """Paste the lines into a shell; return its status and everything that it wrote."""
    require_tool("curl")
    process = await asyncio.create_subprocess_exec(
        "/bin/sh",
        cwd=directory,
        env={"PATH": os.environ["PATH"]},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate(f"{lines}\n".encode())
    assert process.returncode is not None
    return process.returncode, output.decode()


@pytest.mark.parametrize("path", ["/", "/openapi.json"])
async def test_lines_work_where_they_are_printed(service: Service, tmp_path: Path, path: str) -> None:
    status, output = await shell(tmp_path, await printed(service, path))
    assert (status, "talk.mp3" in output) == (0, True), output
    assert decode(tmp_path / "talk.mp3").shape[0] == (len(SAMPLE) - 44) // 2


@pytest.mark.parametrize("path", ["/", "/openapi.json"])
async def test_lines_of_a_service_that_is_not_open_have_a_place_for_the_token(
    start_service: StartService, tmp_path: Path, path: str
) -> None:
    service = await start_service(registration="token", registration_token=REGISTRATION_TOKEN)
    lines = await printed(service, path)
    given = "REGISTRATION_TOKEN='the registration token of this service'"
    assert given in lines
    status, output = await shell(tmp_path, lines.replace(given, f"REGISTRATION_TOKEN={REGISTRATION_TOKEN}"))
    assert status == 0, output
    account = await (await start_service()).create_user()
    for settings in ({"registration": "token"}, {"registration": "closed"}):
        lines = await printed(await start_service(**settings), path)
        assert "/users" not in lines
        status, output = await shell(tmp_path, re.sub(r"TOKEN='.*'", f"TOKEN={account.token}", lines, count=1))
        assert status == 0, output


async def test_lines_say_why_they_fail_and_leave_no_false_mp3(start_service: StartService, tmp_path: Path) -> None:
    for settings, sentence in (
        ({"registration": "closed"}, "This service takes no new users."),
        ({"max_upload_bytes": 1000}, "The body is too large: 1000 bytes is the most."),
    ):
        service = await start_service()
        lines = await printed(service, "/")
        refusing = await start_service(**settings)
        status, output = await shell(tmp_path, lines.replace(str(service.url), str(refusing.url)))
        assert status != 0
        assert sentence in output
        assert "curl: (22)" in output
        assert not (tmp_path / "talk.mp3").exists()


async def test_curl_shows_the_sentence_and_not_json(service: Service, account: Account, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"\xff\xfb\x90\x64" * 100)
    status, output = await shell(
        tmp_path,
        f'curl -sS --fail-with-body -T a.wav -H "Authorization: Bearer {account.token}" -H "Accept: text/plain" '
        f"{service.url}records/",
    )
    assert status == 22
    assert "This is an MP3 file. Convert it first" in output
    with pytest.raises(json.JSONDecodeError):
        json.loads(output)
