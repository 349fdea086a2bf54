"""The web page keeps what there is of a file that was cut, interrupted or paused."""

import contextlib
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Error, Page, expect

from tests.support import wavs
from tests.support.front_page import (
    arrived,
    begin_halfway,
    choose,
    headers_of,
    open_page,
    pages,
    payload,
    records_of,
    row,
    upload,
    wait_for_bytes,
)
from tests.support.lines import Line, line_to
from tests.support.serving import Serving, serve
from tests.support.waiting import wait_until

RATE = 32_000
# More than the kernel and the browser take off a page's hands.
LONG = wavs.wav(wavs.chirp(120 * RATE, RATE, 1), sample_rate=RATE, channels=1)
SHORT = wavs.wav(wavs.chirp(2 * RATE, RATE, 1), sample_rate=RATE, channels=1)


@pytest.fixture(scope="module")
def serving(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A service that takes an upload for interrupted after a second."""
    data_dir = tmp_path_factory.mktemp("parts") / "data"
    with serve(data_dir, DATABASE_URL=postgres_url, STALL_SECONDS=1) as running:
        yield running


@pytest.fixture
def line(serving: Serving) -> Iterator[Line]:
    with line_to(serving.port) as line:
        yield line


@pytest.fixture
def page(browser: Browser, line: Line) -> Iterator[Page]:
    with pages(browser) as page:
        page.on("dialog", lambda dialog: dialog.accept())
        open_through(line, page)
        yield page


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "long.wav"
    path.write_bytes(LONG)
    return path


def open_through(line: Line, page: Page) -> None:
    page.goto(f"http://127.0.0.1:{line.port}/")
    expect(page.locator("#status")).to_contain_text("ready")


def interrupt(page: Page, line: Line, serving: Serving, file: Path) -> None:
    """Send a part of the file, and break the line."""
    begin_halfway(page, line, file)
    wait_for_bytes(page, serving)
    line.cut()
    line.mend()


def is_cut_short(page: Page, serving: Serving) -> bool:
    """Return whether the account has one record, which is a part of the file."""
    [record] = records_of(headers_of(page), serving)
    return not record["complete"] and 0 < record["duration"] < 120


def is_whole(page: Page, serving: Serving) -> bool:
    """Return whether the account has one record, which is all of the file."""
    [record] = records_of(headers_of(page), serving)
    return bool(record["complete"]) and record["duration"] == 120


def offsets_of(page: Page) -> list[int]:
    """Return a list that gets the offset of each request from now on."""
    offsets: list[int] = []
    page.on("request", lambda request: offsets.append(int(request.headers.get("upload-offset", "0"))))
    return offsets


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (SHORT[: len(SHORT) // 2], "This file ends before its sound does. What it has is kept."),
        (SHORT + SHORT, "A second recording follows in this file. Only the first one is kept."),
    ],
)
def test_file_that_was_cut_is_kept_as_far_as_it_goes_and_says_so(page: Page, content: bytes, sentence: str) -> None:
    choose(page, payload("cut.wav", content))
    expect(row(page, "cut")).to_contain_text("cut short")
    expect(page.locator("#toast")).to_contain_text("cut.wav is kept, but it is cut short.")
    expect(upload(page, "cut.wav")).to_contain_text(sentence)
    upload(page, "cut.wav").get_by_role("button", name="Dismiss").click()
    expect(page.locator("#now")).to_be_hidden()
    expect(row(page, "cut")).to_be_visible()


def test_file_that_a_reload_interrupted_is_kept_as_far_as_it_arrived(
    page: Page, line: Line, file: Path, serving: Serving
) -> None:
    interrupt(page, line, serving, file)
    page.reload()
    expect(upload(page, "long.wav")).to_contain_text("Interrupted. Choose long.wav again to go on.")
    upload(page, "long.wav").get_by_role("button", name="Keep what arrived").click()
    expect(row(page, "long")).to_contain_text("cut short")
    expect(row(page, "long").get_by_role("button", name="Play long")).to_be_focused()
    expect(page.locator("#now")).to_be_hidden()
    assert is_cut_short(page, serving)
    wait_until(lambda: page.evaluate("localStorage.getItem('wavepress.sending')") is None)


def test_file_that_is_paused_is_kept_as_far_as_it_arrived(page: Page, line: Line, file: Path, serving: Serving) -> None:
    own = begin_halfway(page, line, file)
    wait_for_bytes(page, serving)
    own.get_by_role("button", name="Pause").click()
    expect(own.get_by_role("button", name="Resume")).to_be_focused()
    own.get_by_role("button", name="Keep what arrived").click()
    expect(row(page, "long")).to_contain_text("cut short")
    expect(page.locator("#now")).to_be_hidden()
    assert is_cut_short(page, serving)


def test_file_goes_on_although_its_tab_crashed(page: Page, line: Line, file: Path, serving: Serving) -> None:
    begin_halfway(page, line, file)
    wait_for_bytes(page, serving)
    other = page.context.new_page()
    line.cut()
    with page.expect_event("crash"), contextlib.suppress(Error):
        page.goto("chrome://crash", wait_until="commit")
    line.mend()
    open_through(line, other)
    expect(upload(other, "long.wav")).to_contain_text("Interrupted. Choose long.wav again to go on.")
    begun, offsets = arrived(other, serving)[0], offsets_of(other)
    choose(other, file)
    expect(row(other, "long")).to_be_visible()
    assert is_whole(other, serving)
    assert max(offsets) >= begun > 0


@pytest.mark.parametrize("query", ["?incomplete=keep", ""])
def test_interrupted_upload_from_elsewhere_is_kept_if_it_may_be(page: Page, serving: Serving, query: str) -> None:
    choose(page, payload("first.wav", SHORT))
    expect(row(page, "first")).to_be_visible()
    headers = headers_of(page) | {"Upload-Complete": "?0"}
    status, begun, _ = serving.request("PUT", f"/records/other.wav{query}", headers=headers)
    assert status == 201
    headers |= {"Upload-Offset": "0", "Content-Type": "application/partial-upload"}
    assert serving.request("PATCH", urlsplit(begun["Location"]).path, LONG[:500_000], headers)[0] == 204
    own = upload(page, "other.wav")
    expect(own).to_contain_text("Interrupted: 0:07 so far")
    expect(own.get_by_role("progressbar")).to_be_hidden()
    if not query:
        assert own.get_by_role("button", name="Keep what arrived").count() == 0
        own.get_by_role("button", name="Discard").click()
        expect(page.locator("#now")).to_be_hidden()
        return
    own.get_by_role("button", name="Keep what arrived").click()
    expect(row(page, "other")).to_contain_text("cut short")
    expect(page.locator("#now")).to_be_hidden()


def test_file_is_whole_in_the_end_although_the_service_kept_a_part(
    browser: Browser, postgres_url: str, tmp_path: Path, file: Path
) -> None:
    with (
        serve(tmp_path / "data", DATABASE_URL=postgres_url, STALL_SECONDS=1, RESUME_SECONDS=2) as hasty,
        line_to(hasty.port) as line,
        pages(browser) as page,
    ):
        open_through(line, page)
        begin_halfway(page, line, file)
        wait_for_bytes(page, hasty)
        line.cut()
        wait_until(lambda: records_of(headers_of(page), hasty))
        assert is_cut_short(page, hasty)
        line.mend()
        expect(row(page, "long").locator(".clock")).to_have_text("2:00")
        wait_until(lambda: len(records_of(headers_of(page), hasty)) == 1)
        assert is_whole(page, hasty)


def test_part_that_somebody_has_kept_outlives_a_cancelled_file(
    page: Page, line: Line, file: Path, serving: Serving
) -> None:
    deleted = []
    page.on("request", lambda request: deleted.append(request.url) if request.method == "DELETE" else None)
    own = begin_halfway(page, line, file)
    wait_for_bytes(page, serving)
    own.get_by_role("button", name="Pause").click()
    [begun] = json.loads(serving.request("GET", "/uploads", headers=headers_of(page))[2])["uploads"]
    kept = serving.request("DELETE", f"/uploads/{begun['id']}?incomplete=keep", headers=headers_of(page))
    assert kept[0] == 204
    line.hold_after(1_000_000)
    own.get_by_role("button", name="Resume").click()
    wait_for_bytes(page, serving)
    own.get_by_role("button", name="Cancel long.wav").click()
    expect(page.locator("#now")).to_be_hidden()
    wait_until(lambda: not arrived(page, serving))
    assert [url for url in deleted if "/records/" in url] == []
    assert is_cut_short(page, serving)


@pytest.mark.parametrize("garbage", ["{not json", "null", "{}", "[null]"])
def test_page_goes_on_whatever_stands_in_its_storage(page: Page, garbage: str) -> None:
    page.evaluate("garbage => localStorage.setItem('wavepress.sending', garbage)", garbage)
    page.reload()
    choose(page, payload("first.wav", SHORT))
    expect(row(page, "first")).to_be_visible()


def test_file_that_is_too_long_is_kept_up_to_the_limit(
    browser: Browser, postgres_url: str, tmp_path: Path, file: Path
) -> None:
    with (
        serve(tmp_path / "data", DATABASE_URL=postgres_url, MAX_DURATION_SECONDS=60) as strict,
        pages(browser) as page,
    ):
        open_page(page, strict)
        choose(page, file)
        expect(row(page, "long")).to_contain_text("cut short")
        expect(upload(page, "long.wav")).to_contain_text("This is longer than the service takes. What fits is kept.")
        wait_until(lambda: len(records_of(headers_of(page), strict)) == 1)
        assert records_of(headers_of(page), strict)[0]["duration"] == 60


def test_file_is_whole_in_the_end_although_the_service_was_restarted(
    browser: Browser, postgres_url: str, tmp_path: Path, file: Path
) -> None:
    settings: dict[str, object] = {"DATABASE_URL": postgres_url, "SHUTDOWN_SECONDS": 10}
    with ExitStack() as stack:
        before = stack.enter_context(serve(tmp_path / "data", **settings))
        line = stack.enter_context(line_to(before.port))
        page = stack.enter_context(pages(browser))
        open_through(line, page)
        begin_halfway(page, line, file)
        wait_for_bytes(page, before)
        before.process.terminate()
        before.process.wait(30)
        line.cut()
        after = stack.enter_context(serve(tmp_path / "data", PORT=before.port, **settings))
        assert is_cut_short(page, after)
        line.mend()
        expect(row(page, "long").locator(".clock")).to_have_text("2:00")
        wait_until(lambda: len(records_of(headers_of(page), after)) == 1)
        assert is_whole(page, after)
