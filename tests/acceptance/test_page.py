"""The web page as HTTP shows it: its files, the page of a recording, and what nobody may put into them."""

import gzip
import html
import re
from uuid import uuid4

from service.web.page_files import FILES
from tests.support.client import Account, Service, StartService
from tests.support.invariants import GOOD_WAV
from tests.support.resumable import begun

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
LARGEST_BYTES, LARGEST_COMPRESSED_BYTES = 100_000, 40_000


async def page_of(service: Service, path: str) -> str:
    answer = await service.get(path, headers=BROWSER)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    return answer.body.decode()


def addresses_in(page: str) -> list[str]:
    return re.findall(r'(?:href|src)="([^"]+)"', page)


async def sizes_of(service: Service, page: str, headers: dict[str, str]) -> dict[str, int]:
    """Return how many bytes are sent of each file that a browser loads for the page."""
    (folder,) = {match[1] for match in re.finditer(r'"\./(page/\w+/)', page)}
    wanted = {address.removeprefix("./") for address in addresses_in(page) if address.startswith(f"./{folder}")}
    sizes: dict[str, int] = {}
    while wanted:
        path = wanted.pop()
        answer = await service.get(f"/{path}", headers=headers)
        assert answer.status == 200, path
        sizes[path.removeprefix(folder)] = int(answer.headers["Content-Length"])
        imported = re.findall(r'(?:from|URL\()"\.?/?([\w./-]+\.js)"', answer.body.decode())
        wanted |= {folder + name for name in imported if name not in sizes}
    return sizes


async def test_whole_page_is_small(service: Service) -> None:
    page = await page_of(service, "/")
    plain = await sizes_of(service, page, {"Accept-Encoding": "identity"})
    compressed = await sizes_of(service, page, {"Accept-Encoding": "gzip"})
    assert set(plain) == set(compressed) >= {"page.css", "main.js", "worklet.js", "vendor/wavesurfer.esm.js"}
    sizes = len(page.encode()) + sum(plain.values()), len(gzip.compress(page.encode())) + sum(compressed.values())
    assert sizes[0] < LARGEST_BYTES, sizes
    assert sizes[1] < LARGEST_COMPRESSED_BYTES, sizes


async def test_files_of_the_page_are_kept_for_ever_under_an_address_of_their_content(service: Service) -> None:
    (script,) = [address for address in addresses_in(await page_of(service, "/")) if address.endswith("main.js")]
    answer = await service.get(script.removeprefix("."))
    assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["Vary"] == "Accept-Encoding"
    other = await service.get(re.sub(r"/page/\w+/", f"/page/{'0' * 16}/", script.removeprefix(".")))
    assert (other.body, other.headers["Cache-Control"]) == (answer.body, "no-store")
    assert (await service.get(script.removeprefix(".").replace("main.js", "main.py"))).json["code"] == "not_found"


async def test_licence_of_what_is_vendored_comes_along(service: Service) -> None:
    (script,) = [address for address in addresses_in(await page_of(service, "/")) if address.endswith("main.js")]
    answer = await service.get(script.removeprefix(".").replace("main.js", "vendor/wavesurfer.LICENSE"))
    assert b"BSD 3-Clause" in answer.body
    assert "vendor/wavesurfer.esm.js" in FILES


async def test_terminal_gets_lines_where_a_browser_gets_the_page(service: Service) -> None:
    page = await page_of(service, "/")
    for headers in ({}, {"Accept": "text/plain"}, {"Accept": "*/*"}):
        answer = await service.get("/", headers=headers)
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert answer.body.decode().strip() in html.unescape(page)


async def test_page_runs_no_script_and_no_style_but_its_own(service: Service) -> None:
    for path in ("/", f"/listen/{await record_id(service)}"):
        policy = (await service.get(path, headers=BROWSER)).headers["Content-Security-Policy"]
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        page = await page_of(service, path)
        assert not re.search(r"<script(?! type=\"module\" src=)|<style| style=| on\w+=", page)


async def record_id(service: Service, filename: str = "talk.wav") -> str:
    account = await service.create_user()
    return str((await service.upload(account, GOOD_WAV, filename=filename)).json["id"])


async def test_page_of_a_recording_has_what_chats_show_and_is_not_indexed(start_service: StartService) -> None:
    service = await start_service(public_url="https://sound.example.com/press")
    wanted = await record_id(service, "Choir%20%C3%BCbt.wav")
    answer = await service.get(f"/listen/{wanted}", headers=BROWSER)
    page = html.unescape(answer.body.decode())
    assert answer.headers["X-Robots-Tag"] == "noindex"
    tags = dict(re.findall(r'<meta (?:name|property)="([^"]+)" content="([^"]*)">', page))
    assert tags["og:title"] == "Choir übt"
    assert tags["og:description"].startswith("A recording of 0:00, ")
    assert tags["og:url"] == f"https://sound.example.com/press/listen/{wanted}"
    assert tags["og:audio"] == f"https://sound.example.com/press/records/{wanted}.mp3"
    assert tags["robots"] == "noindex"
    for address in addresses_in(page):
        assert address.startswith("../")  # relative: a proxy may serve us below a path
        assert (await service.get(f"/listen/{address}")).status == 200


async def test_page_of_an_arriving_recording_is_there_through_another_process(start_service: StartService) -> None:
    here, there = await start_service(), await start_service()
    upload = await begun(here, await here.create_user(), "ietf", len(GOOD_WAV))
    for service in (here, there):
        page = await page_of(service, f"/listen/{upload.id}")
        assert 'content="A recording, ' in page
    assert (await upload.append(GOOD_WAV[:4_000], 0)).status == 204
    for service in (here, there):
        page = await page_of(service, f"/listen/{upload.id}")
        assert 'content="A recording of 0:00, ' in page
        assert ">talk</h1>" in page
    assert (await upload.cancel()).status == 204
    for service in (here, there):
        assert (await service.get(f"/listen/{upload.id}")).json["code"] == "recording_gone"


async def test_name_of_a_file_is_text_in_the_page_of_its_recording(service: Service) -> None:
    wanted = await record_id(service, "%22%3E%3Cscript%3Ealert(1)%3C!--$id.wav")
    page = await page_of(service, f"/listen/{wanted}")
    assert page.count("<script") == 1
    assert "&quot;&gt;&lt;script&gt;alert(1)&lt;!--$id" in page


async def test_recording_that_is_gone_has_a_page_with_a_way_home(service: Service, account: Account) -> None:
    gone = (await service.upload(account, GOOD_WAV)).json["id"]
    await service.request("DELETE", f"/records/{gone}", headers=account.headers)
    for wanted in (gone, uuid4()):
        answer = await service.get(f"/listen/{wanted}", headers=BROWSER)
        assert answer.status == 404
        assert b"This recording is not there any more." in answer.body
        assert '<a href="../">' in answer.body.decode()
        assert (await service.get(f"/listen/{wanted}")).json["code"] == "recording_gone"
