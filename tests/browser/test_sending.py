"""The web page sends files over lines that break, through reloads, as a person steers it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support import wavs
from tests.support.front_page import (
    arrived,
    begin_halfway,
    choose,
    headers_of,
    is_playing,
    pages,
    payload,
    played,
    records_of,
    row,
    upload,
    wait_for_bytes,
)
from tests.support.lines import Line, line_to
from tests.support.serving import Serving, serve
from tests.support.waiting import wait_until

RATE = 16_000
WAV = wavs.wav(wavs.chirp(2 * RATE, RATE, 1), sample_rate=RATE, channels=1)
# More than the kernel and the browser take off a page's hands.
LONG = wavs.wav(wavs.chirp(120 * 2 * RATE, 2 * RATE, 1), sample_rate=2 * RATE, channels=1)
MEDIUM = wavs.wav(wavs.chirp(10 * RATE, RATE, 1), sample_rate=RATE, channels=1)
MEGABYTE = 1_000_000
# Before the service takes an upload for interrupted, the page knows it.
SOON_MILLISECONDS = 15_000


@pytest.fixture(scope="module")
def serving(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    data_dir = tmp_path_factory.mktemp("sending") / "data"
    with serve(data_dir, DATABASE_URL=postgres_url, MAX_UPLOAD_BYTES=10 * MEGABYTE) as running:
        yield running


@pytest.fixture
def line(serving: Serving) -> Iterator[Line]:
    with line_to(serving.port) as line:
        yield line


@pytest.fixture
def page(browser: Browser, line: Line) -> Iterator[Page]:
    with pages(browser) as page:
        page.goto(f"http://127.0.0.1:{line.port}/")
        expect(page.locator("#status")).to_contain_text("ready")
        yield page


@pytest.fixture(scope="module")
def long_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "long.wav"
    path.write_bytes(LONG)
    return path


def is_whole(page: Page, serving: Serving) -> bool:
    [record] = records_of(headers_of(page), serving)
    return bool(record["complete"]) and record["duration"] == 120


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("song.m4a", b"\0\0\0\x20ftypM4A \0\0", "This is an M4A file. Convert it to WAV first."),
        ("song.mp3", b"ID3\x04\0\0\0\0\0\0\xff\xfb\x90\x64", "This is an MP3 file. Convert it to WAV first."),
        ("notes.txt", b"Good morning", "This is not a WAV file."),
        ("nothing.wav", b"", "This file is empty."),
        ("huge.wav", WAV + bytes(10 * MEGABYTE), "This file is too large. The most is 10 MB."),
    ],
)
def test_file_that_cannot_work_is_refused_before_a_byte_is_sent(
    page: Page, name: str, content: bytes, sentence: str
) -> None:
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url) if request.method == "POST" else None)
    choose(page, payload(name, content))
    expect(upload(page, name)).to_contain_text(sentence)
    assert requests == []
    upload(page, name).get_by_role("button", name="Dismiss").click()
    expect(page.locator("#now")).to_be_hidden()


def test_refusal_of_the_service_is_shown_with_its_sentence(page: Page) -> None:
    choose(page, payload("header.wav", WAV[:40]))
    expect(upload(page, "header.wav")).to_contain_text("The body ends after")


def test_several_files_are_sent_two_at_a_time(page: Page, line: Line) -> None:
    line.hold_after(100_000)
    choose(page, *(payload(f"{number}.wav", MEDIUM) for number in range(4)))
    expect(page.locator("#uploads li")).to_have_count(4)
    expect(page.get_by_text("waiting")).to_have_count(2)
    line.release()
    expect(page.locator("#records li")).to_have_count(4)
    expect(page.locator("#now")).to_be_hidden()


def test_row_says_how_far_how_fast_and_how_long_and_plays_what_has_arrived(
    page: Page, line: Line, long_file: Path, serving: Serving
) -> None:
    own = begin_halfway(page, line, long_file)
    expect(own).to_contain_text("MB of 7.7 MB, ")
    expect(own).to_contain_text("B/s, ")
    expect(own).to_contain_text(" left")
    line.release()
    expect(row(page, "long")).to_be_visible()
    assert is_whole(page, serving)


def test_upload_is_paused_resumed_and_cancelled(page: Page, line: Line, long_file: Path, serving: Serving) -> None:
    own = begin_halfway(page, line, long_file)
    own.get_by_role("button", name="Pause").click()
    expect(own).to_contain_text("paused")
    line.release()
    assert page.locator("#records li").count() == 0
    own.get_by_role("button", name="Resume").click()
    expect(row(page, "long")).to_be_visible()
    assert is_whole(page, serving)
    own = begin_halfway(page, line, long_file)
    own.get_by_role("button", name="Cancel long.wav").click()
    expect(page.locator("#now")).to_be_hidden()
    line.release()
    wait_until(lambda: arrived(page, serving) == [])
    expect(page.locator("#records li")).to_have_count(1)


def test_upload_survives_a_line_that_breaks(page: Page, line: Line, long_file: Path, serving: Serving) -> None:
    own = begin_halfway(page, line, long_file)
    wait_for_bytes(page, serving)
    line.cut()
    expect(own).to_contain_text("The service cannot be reached. Trying again")
    begun = arrived(page, serving)[0]
    offsets: list[int] = []
    page.on("request", lambda request: offsets.append(int(request.headers.get("upload-offset", "0"))))
    line.mend()
    expect(row(page, "long")).to_be_visible()
    assert is_whole(page, serving)
    assert max(offsets) >= begun > 0


def test_upload_survives_a_reload_if_its_file_is_chosen_again(
    page: Page, line: Line, long_file: Path, serving: Serving
) -> None:
    begin_halfway(page, line, long_file)
    wait_for_bytes(page, serving)
    page.on("dialog", lambda dialog: dialog.accept())
    line.cut()
    line.mend()
    page.reload()
    expect(upload(page, "long.wav")).to_contain_text("Interrupted. Choose long.wav again", timeout=SOON_MILLISECONDS)
    begun = arrived(page, serving)[0]
    offsets: list[int] = []
    page.on("request", lambda request: offsets.append(int(request.headers.get("upload-offset", "0"))))
    with page.expect_file_chooser() as chooser:
        upload(page, "long.wav").get_by_role("button", name="Choose files").click()
    chooser.value.set_files(long_file)
    expect(row(page, "long")).to_be_visible()
    assert is_whole(page, serving)
    assert max(offsets) >= begun > 0
    assert len(records_of(headers_of(page), serving)) == 1


def test_upload_goes_on_in_another_tab_if_its_own_is_closed(
    page: Page, line: Line, long_file: Path, serving: Serving
) -> None:
    begin_halfway(page, line, long_file)
    wait_for_bytes(page, serving)
    other = page.context.new_page()
    other.goto(page.url)
    expect(upload(other, "long.wav")).to_contain_text("Arriving: ")
    assert upload(other, "long.wav").get_by_role("button", name="Choose files").count() == 0
    line.cut()
    page.close()
    line.mend()
    expect(upload(other, "long.wav")).to_contain_text("Interrupted. Choose long.wav again", timeout=SOON_MILLISECONDS)
    begun = arrived(other, serving)[0]
    offsets: list[int] = []
    other.on("request", lambda request: offsets.append(int(request.headers.get("upload-offset", "0"))))
    choose(other, long_file)
    expect(row(other, "long")).to_be_visible()
    assert is_whole(other, serving)
    assert max(offsets) >= begun > 0


def test_second_tab_lists_and_plays_what_the_first_one_still_sends(
    page: Page, line: Line, long_file: Path, serving: Serving
) -> None:
    begin_halfway(page, line, long_file)
    wait_for_bytes(page, serving)
    other = page.context.new_page()
    other.goto(page.url)
    expect(upload(other, "long.wav")).to_contain_text("Arriving: 0:")
    upload(other, "long.wav").get_by_role("button", name="Play long.wav").click()
    played(other, "2:00")
    assert is_playing(other)
    assert other.locator("#records li").count() == 0
    line.release()
    expect(row(page, "long")).to_be_visible()
    expect(row(other, "long")).to_be_visible()
    assert is_playing(other)


def test_files_and_folders_are_dropped(page: Page, tmp_path: Path) -> None:
    folder = tmp_path / "takes"
    (folder / "inner").mkdir(parents=True)
    for name in ("one.wav", "notes.txt", "inner/two.WAV"):
        (folder / name).write_bytes(WAV)
    session = page.context.new_cdp_session(page)
    files = [str(folder)]
    data = {"items": [], "files": files, "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 150, "data": data})
    expect(row(page, "one")).to_be_visible()
    expect(row(page, "two")).to_be_visible()
    expect(page.locator("#records li")).to_have_count(2)


def test_file_is_pasted(page: Page) -> None:
    page.evaluate(
        """content => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([Uint8Array.from(content)], "pasted.wav"));
          document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true}));
        }""",
        list(WAV),
    )
    expect(row(page, "pasted")).to_be_visible()


def test_link_of_what_is_still_sent_is_listened_to_by_anybody(
    page: Page, browser: Browser, line: Line, long_file: Path
) -> None:
    own = begin_halfway(page, line, long_file)
    expect(own.locator(".mini img")).to_be_visible()
    page.evaluate("navigator.clipboard.writeText = async text => { window.copied = text; }")
    own.get_by_role("button", name="Copy link").click()
    expect(page.locator("#toast")).to_have_text("Copied.")
    with pages(browser) as other:
        other.goto(page.evaluate("copied"))
        expect(other.locator("#facts")).to_contain_text("Arriving now · 2:00 · ")
        other.get_by_role("button", name="Play", exact=True).click()
        played(other, "2:00")
        expect(other.locator(".wave canvas").first).to_be_visible()
        line.release()
        expect(row(page, "long")).to_be_visible()
        other.get_by_label("Position").fill("0.9")
        expect(other.locator("#player .clock")).to_have_text(re.compile("^1:[45].|^2:00"))
        assert is_playing(other)


def test_picture_of_a_recording_is_not_that_of_its_beginning(page: Page, line: Line, long_file: Path) -> None:
    own = begin_halfway(page, line, long_file)
    expect(own.locator(".mini img")).to_be_visible()
    with page.expect_response(lambda response: response.url.endswith("&v=")) as answered:
        line.release()
        expect(row(page, "long").locator(".mini img")).to_be_visible()
    assert "etag" in answered.value.headers
