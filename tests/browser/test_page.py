"""The web page in a browser: it begins an account, sends files, lists what became of them, and plays it."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support import wavs
from tests.support.front_page import choose, open_page, pages, payload, played, row
from tests.support.serving import Serving, serve

RATE = 16_000
WAV = wavs.wav(wavs.chirp(4 * RATE, RATE, 1), sample_rate=RATE, channels=1)


@pytest.fixture(scope="module")
def serving(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serve(tmp_path_factory.mktemp("page") / "data", DATABASE_URL=postgres_url) as running:
        yield running


@pytest.fixture
def page(browser: Browser, serving: Serving) -> Iterator[Page]:
    with pages(browser) as page:
        open_page(page, serving)
        yield page


def test_first_file_makes_an_account_without_a_form_and_becomes_a_row(page: Page) -> None:
    expect(page.locator("#empty")).to_contain_text("There is nothing here yet.")
    choose(page, payload("choir.wav", WAV))
    expect(row(page, "choir").locator(".clock")).to_have_text("0:04")
    expect(page.locator("#usage")).to_contain_text("1 in all, ")
    expect(page.locator("#empty")).to_be_hidden()
    page.reload()
    expect(row(page, "choir")).to_be_visible()


def test_recording_plays_with_its_waveform_in_one_player_that_stays(page: Page) -> None:
    page.get_by_role("button", name="Try with a sample").click()
    talk = row(page, "talk")
    expect(talk.locator(".mini img")).to_be_visible()
    talk.get_by_role("button", name="Play talk").click()
    played(page, "0:04")
    expect(page.locator("#player .wave canvas").first).to_be_visible()
    page.locator("#player").get_by_role("button", name="Close").click()
    expect(page.locator("#player")).to_be_hidden()
    expect(talk.get_by_role("button", name="Play talk")).to_have_text("▶")


def test_browser_without_javascript_says_what_this_is_and_what_works(browser: Browser, serving: Serving) -> None:
    with pages(browser, java_script_enabled=False) as page:
        open_page(page, serving)
        expect(page.locator("noscript p")).to_contain_text("Without it, send WAVs with curl")
        expect(page.locator("button:visible, select:visible, input:visible")).to_have_count(0)
        page.get_by_text("From a terminal").click()
        expect(page.get_by_text("curl -fsS")).to_be_visible()
        page.locator("noscript a").click()
        expect(page).to_have_url(f"http://127.0.0.1:{serving.port}/docs")


def test_page_of_a_long_name_fits_a_phone(browser: Browser, serving: Serving) -> None:
    with pages(browser, viewport={"width": 390, "height": 844}) as page:
        open_page(page, serving)
        choose(page, payload(f"{'Interview with the baker, ' * 5}.wav", WAV))
        widths = "[document.documentElement.scrollWidth, innerWidth]"
        link = page.locator("#records .name")
        expect(link).to_be_visible()
        assert page.evaluate(widths) == [390, 390]
        link.click()
        expect(page.locator(".wave canvas").first).to_be_visible()
        assert page.evaluate(widths) == [390, 390]
