"""Nothing on the web page keeps out who sees little, uses the keyboard alone, or listens to a screen reader."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, expect

from tests.support import wavs
from tests.support.front_page import choose, open_page, pages, payload, row
from tests.support.serving import Serving, serve

RATE = 8_000
WAV = wavs.wav(wavs.chirp(2 * RATE, RATE, 1), sample_rate=RATE, channels=1)


@pytest.fixture(scope="module")
def serving(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    data_dir = tmp_path_factory.mktemp("accessibility") / "data"
    with serve(data_dir, DATABASE_URL=postgres_url) as running:
        yield running


@pytest.fixture(params=["light", "dark"])
def page(browser: Browser, serving: Serving, request: pytest.FixtureRequest) -> Iterator[Page]:
    with pages(browser, color_scheme=request.param) as page:
        open_page(page, serving)
        expect(page.locator("#empty")).to_be_visible()
        yield page


def violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {node['html']} {node['failureSummary']}" for one in found for node in one["nodes"]]


def test_empty_page_keeps_nobody_out(page: Page) -> None:
    assert violations(page) == []


def test_full_page_keeps_nobody_out(page: Page) -> None:
    song = payload("song.m4a", b"\0\0\0\x20ftypM4A \0\0")
    choose(page, payload("talk.wav", WAV), payload("cut.wav", WAV[:8000]), song)
    expect(row(page, "cut")).to_be_visible()
    row(page, "talk").get_by_role("button", name="Play talk").click()
    expect(page.locator("#player .wave canvas").first).to_be_visible()
    page.get_by_text("From a terminal").click()
    page.locator("#banner").evaluate("banner => { banner.hidden = false; banner.textContent = 'The disk is full.'; }")
    assert violations(page) == []
    page.get_by_role("button", name="Delete talk").click()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    assert violations(page) == []


def test_dialog_keeps_nobody_out(page: Page) -> None:
    page.get_by_role("button", name="Account").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")
    choose(page, payload("talk.wav", WAV))
    expect(row(page, "talk")).to_be_visible()
    page.get_by_role("button", name="Account").click()
    page.get_by_role("button", name="Show token").click()
    page.get_by_text("Use another token").click()
    assert violations(page) == []


def test_page_of_a_recording_keeps_nobody_out(page: Page) -> None:
    choose(page, payload("talk.wav", WAV))
    row(page, "talk").get_by_role("link", name="talk", exact=True).click()
    expect(page.locator("#player .wave canvas").first).to_be_visible()
    assert violations(page) == []


def test_keyboard_reaches_everything_and_shows_where_it_is(page: Page) -> None:
    choose(page, payload("talk.wav", WAV))
    expect(row(page, "talk")).to_be_visible()
    page.locator("h1").click()
    reached: list[str] = []
    while "API" not in reached:
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        reached.append(focused.get_attribute("aria-label") or focused.inner_text())
        assert focused.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"
    wanted = {"Account", "Choose files", "● Record", "Try with a sample", "Search by name"}
    assert wanted | {"Play talk", "talk", "Copy link", "Download", "Delete talk", "From a terminal"} <= set(reached)
