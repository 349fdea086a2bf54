"""The web page keeps recordings in order: it lists, finds, plays, links, saves and deletes them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support import wavs
from tests.support.front_page import choose, headers_of, is_playing, open_page, pages, payload, played, records_of, row
from tests.support.mp3s import decode
from tests.support.serving import Headers, Serving, serve
from tests.support.waiting import wait_until

RATE = 8_000
SECONDS = 40
WAV = wavs.wav(wavs.chirp(SECONDS * RATE, RATE, 1), sample_rate=RATE, channels=1)
BLIP = wavs.wav(wavs.chirp(RATE // 10, RATE, 1), sample_rate=RATE, channels=1)
COUNT = 70


@pytest.fixture(scope="module")
def serving(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    data_dir = tmp_path_factory.mktemp("keeping") / "data"
    with serve(data_dir, DATABASE_URL=postgres_url) as running:
        yield running


@pytest.fixture(scope="module")
def collector(serving: Serving) -> Headers:
    """A user with more records than a page of the list has."""
    user = serving.create_user()
    for number in range(COUNT):
        assert serving.request("PUT", f"/records/blip-{number:02}.wav", BLIP, user)[0] == 201
    return user


@pytest.fixture
def user(serving: Serving) -> Headers:
    """A user with three records."""
    user = serving.create_user()
    for name in ("first.wav", "second.wav", "third.wav"):
        assert serving.request("PUT", f"/records/{name}", WAV, user)[0] == 201
    return user


@pytest.fixture
def page(browser: Browser, serving: Serving, user: Headers) -> Iterator[Page]:
    """The page of that user."""
    with pages(browser, permissions=["clipboard-read", "clipboard-write"]) as page:
        open_as(page, serving, user)
        expect(page.locator("#records li")).to_have_count(3)
        yield page


def open_as(page: Page, serving: Serving, user: Headers) -> None:
    """Open the page with the token of a user that the page has not made."""
    open_page(page, serving)
    token = user["Authorization"].removeprefix("Bearer ")
    page.evaluate("token => localStorage.setItem('wavepress.token', token)", token)
    page.reload()


def names(page: Page) -> list[str]:
    return page.locator("#records .name").all_inner_texts()


def test_list_is_endless_and_newest_first(browser: Browser, serving: Serving, collector: Headers) -> None:
    with pages(browser) as page:
        open_as(page, serving, collector)
        expect(page.locator("#usage")).to_contain_text(f"{COUNT} in all, ")
        expect(page.locator("#usage")).to_contain_text(" of 1.1 TB")
        page.locator("#records li").first.wait_for()
        assert page.locator("#records li").count() < COUNT
        wait_until(lambda: _scrolled(page) == COUNT)
        assert names(page) == [f"blip-{number:02}" for number in reversed(range(COUNT))]


def _scrolled(page: Page) -> int:
    page.locator("#records li").last.scroll_into_view_if_needed()
    return page.locator("#records li").count()


def test_list_is_searched_by_name(browser: Browser, serving: Serving, collector: Headers) -> None:
    with pages(browser) as page:
        open_as(page, serving, collector)
        page.get_by_label("Search by name").fill("BLIP-1")
        expect(page.locator("#records li")).to_have_count(10)
        page.get_by_label("Search by name").fill("nothing")
        expect(page.locator("#empty")).to_have_text("No recording has such a name.")
        page.get_by_label("Search by name").fill("")
        expect(row(page, "blip-69")).to_be_visible()


def test_deleted_recording_is_gone_after_some_seconds(page: Page, serving: Serving, user: Headers) -> None:
    page.clock.install()
    page.get_by_role("button", name="Delete second").click()
    expect(page.locator("#toast")).to_contain_text("second is deleted.")
    assert names(page) == ["third", "first"]
    assert len(records_of(user, serving)) == 3
    page.clock.fast_forward(6_000)
    wait_until(lambda: len(records_of(user, serving)) == 2)
    expect(page.locator("#usage")).to_contain_text("2 in all, ")


def test_deletion_is_undone(page: Page, serving: Serving, user: Headers) -> None:
    page.clock.install()
    page.get_by_role("button", name="Delete second").click()
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#records li:visible")).to_have_count(3)
    assert names(page) == ["third", "second", "first"]
    page.clock.fast_forward(20_000)
    page.reload()
    expect(page.locator("#records li")).to_have_count(3)
    assert len(records_of(user, serving)) == 3


def test_deletion_is_done_if_the_page_is_closed_meanwhile(page: Page, serving: Serving, user: Headers) -> None:
    page.get_by_role("button", name="Delete first").click()
    page.goto("about:blank")
    wait_until(lambda: len(records_of(user, serving)) == 2)


def test_link_is_copied_and_leads_to_a_page_for_anybody(page: Page, browser: Browser) -> None:
    row(page, "second").get_by_role("button", name="Copy link").click()
    expect(page.locator("#toast")).to_have_text("Copied.")
    link = page.evaluate("navigator.clipboard.readText()")
    with pages(browser) as other:
        other.goto(link)
        expect(other.get_by_role("heading", name="second")).to_be_visible()
        expect(other.locator("#facts")).to_contain_text("0:40 · ")
        expect(other.locator(".wave canvas").first).to_be_visible()
        other.get_by_role("button", name="Play", exact=True).click()
        played(other, "0:40")
        with other.expect_download() as download:
            other.get_by_role("link", name="Download").click()
        assert download.value.suggested_filename == "second.mp3"
        assert other.evaluate("localStorage.length") == 0


def test_link_of_a_deleted_recording_leads_home(page: Page, serving: Serving, user: Headers) -> None:
    [first, *_] = records_of(user, serving)
    open_page(page, serving, f"/listen/{first['id']}")
    expect(page.get_by_role("heading", name="third")).to_be_visible()
    assert serving.request("DELETE", f"/records/{first['id']}", headers=user)[0] == 204
    page.reload()
    expect(page.get_by_text("This recording is not there any more.")).to_be_visible()
    page.get_by_role("link", name="The first page").click()
    expect(page.get_by_role("button", name="Record")).to_be_visible()


def test_mp3_is_saved_under_its_name(page: Page, tmp_path: Path) -> None:
    with page.expect_download() as download:
        row(page, "third").get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "third.mp3"
    download.value.save_as(tmp_path / "third.mp3")
    assert decode(tmp_path / "third.mp3").shape == (SECONDS * RATE, 1)


def test_player_obeys_the_keyboard_and_stays_while_one_scrolls(page: Page) -> None:
    row(page, "second").get_by_role("button", name="Play second").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#player strong")).to_have_text("first")
    played(page, "0:40")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    wait_until(lambda: position(page) >= 10)
    page.locator("h1").click()
    page.keyboard.press("Space")
    expect(page.locator("#player > button").first).to_have_attribute("aria-label", "Play")
    stopped = position(page)
    page.keyboard.press("ArrowLeft")
    wait_until(lambda: position(page) < stopped)
    page.mouse.wheel(0, 10_000)
    expect(page.locator("#player strong")).to_be_in_viewport()
    page.get_by_label("Search by name").fill("a b")
    page.keyboard.press("Space")
    assert not is_playing(page)


def test_click_into_a_waveform_plays_from_there(page: Page) -> None:
    own = row(page, "first").locator(".mini")
    box = own.bounding_box()
    assert box is not None
    own.click(position={"x": box["width"] * 0.5, "y": box["height"] / 2})
    wait_until(lambda: 19 <= position(page) < 30)
    picture = page.locator("#player .wave")
    picture.click(position={"x": 5, "y": 20})
    wait_until(lambda: position(page) < 10)


def position(page: Page) -> int:
    """Return at which second the player is."""
    minutes, seconds = page.locator("#player .clock").inner_text().split(" / ")[0].split(":")
    return 60 * int(minutes) + int(seconds)


def test_recording_without_a_waveform_plays_all_the_same(page: Page) -> None:
    page.route("**/peaks.json", lambda route: route.fulfill(status=404, body="{}"))
    page.route("**/waveform.svg*", lambda route: route.fulfill(status=404, body="{}"))
    page.reload()
    row(page, "third").get_by_role("button", name="Play third").click()
    played(page, "0:40")
    expect(page.locator("#player .wave")).to_be_hidden()
    expect(row(page, "third").locator("img")).to_be_hidden()
    page.get_by_label("Position").fill("0.5")
    wait_until(lambda: position(page) >= 20)


def test_trouble_of_the_service_is_said_on_top(page: Page, serving: Serving) -> None:
    problem = '{"status": 503, "code": "not_ready", "detail": "storage: There is no room for recordings now."}'
    page.route("**/health/ready", lambda route: route.fulfill(status=503, body=problem))
    open_page(page, serving)
    expect(page.locator("#banner")).to_have_text("storage: There is no room for recordings now.")
    expect(page.locator("#status")).to_have_text("Status: not ready")


def test_name_of_a_file_is_only_ever_text(page: Page) -> None:
    name = "<img src=x onerror=alert(1)>&amp;.wav"
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    choose(page, payload(name, BLIP))
    own = row(page, name.removesuffix(".wav"))
    expect(own).to_be_visible()
    own.get_by_role("button", name="Play").click()
    expect(page.locator("#player strong")).to_have_text(name.removesuffix(".wav"))
    own.get_by_role("link", name=name.removesuffix(".wav")).click()
    expect(page.get_by_role("heading")).to_have_text(name.removesuffix(".wav"))
    assert dialogs == []


def test_lines_for_a_terminal_are_copied(page: Page, serving: Serving) -> None:
    page.get_by_text("From a terminal").click()
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.locator("#toast")).to_have_text("Copied.")
    lines = page.evaluate("navigator.clipboard.readText()")
    assert lines == serving.request("GET", "/")[2].decode().removesuffix("\n")


def test_phone_shares_a_link_with_its_own_sheet(browser: Browser, serving: Serving, user: Headers) -> None:
    with pages(browser, viewport={"width": 390, "height": 844}, has_touch=True) as page:
        page.add_init_script("navigator.share = async data => { window.shared = data; };")
        open_as(page, serving, user)
        row(page, "first").get_by_role("button", name="Share").click()
        [*_, first] = records_of(user, serving)
        url = f"http://127.0.0.1:{serving.port}/listen/{first['id']}"
        assert page.evaluate("shared") == {"title": "first", "url": url}
        assert page.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ("NotAllowedError", "The browser does not allow the microphone."),
        ("NotFoundError", "There is no microphone."),
        ("NotReadableError", "Another program may have it."),
        (None, "Browsers record only on pages from HTTPS or from their own machine."),
    ],
)
def test_microphone_that_cannot_be_used_is_said_in_words(page: Page, error: str | None, sentence: str) -> None:
    if error is None:
        page.add_init_script("Object.defineProperty(navigator, 'mediaDevices', {value: undefined});")
    else:
        page.add_init_script(
            f"navigator.mediaDevices.getUserMedia = async () => {{ throw new DOMException('no', '{error}'); }};"
        )
    page.reload()
    page.get_by_role("button", name="Record").click()
    expect(page.locator("#toast")).to_contain_text(sentence)
    expect(page.get_by_role("button", name="Record")).to_be_enabled()
    assert headers_of(page)
