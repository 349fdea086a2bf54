"""The web page's account: it begins without a form, and no way of losing it is a dead end."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support import wavs
from tests.support.front_page import choose, headers_of, open_page, pages, payload, records_of, row
from tests.support.serving import Serving, serve

RATE = 16_000
WAV = wavs.wav(wavs.chirp(RATE, RATE, 1), sample_rate=RATE, channels=1)
REGISTRATION_TOKEN = 4 * "of-a-test-"


@pytest.fixture(scope="module")
def serving(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    data_dir = tmp_path_factory.mktemp("account") / "data"
    with serve(data_dir, DATABASE_URL=postgres_url) as running:
        yield running


@pytest.fixture
def page(browser: Browser, serving: Serving) -> Iterator[Page]:
    """A page whose account has one record."""
    with pages(browser, permissions=["clipboard-read", "clipboard-write"]) as page:
        open_page(page, serving)
        choose(page, payload("talk.wav", WAV))
        expect(row(page, "talk")).to_be_visible()
        yield page


def open_account(page: Page) -> None:
    page.get_by_role("button", name="Account").click()
    expect(page.get_by_role("dialog")).to_be_visible()


def press_twice(page: Page, name: str, question: str) -> None:
    page.get_by_role("button", name=name).click()
    page.get_by_role("button", name=question).click()


def test_token_is_kept_here_shown_and_copied_and_stands_in_no_address(page: Page) -> None:
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    token = headers_of(page)["Authorization"].removeprefix("Bearer ")
    open_account(page)
    expect(page.get_by_role("dialog")).to_contain_text("This account is called web and has 1 recording.")
    assert not page.locator("code").is_visible()
    page.get_by_role("button", name="Show token").click()
    expect(page.locator("code")).to_have_text(token)
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.locator("#toast")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == token
    page.reload()
    expect(row(page, "talk")).to_be_visible()
    assert not [address for address in addresses if token in address]


def test_account_is_used_elsewhere_with_its_token(page: Page, browser: Browser, serving: Serving) -> None:
    token = headers_of(page)["Authorization"].removeprefix("Bearer ")
    with pages(browser) as other:
        open_page(other, serving)
        open_account(other)
        other.get_by_text("Use another token").click()
        other.get_by_label("Token", exact=True).fill("nobody's")
        other.get_by_role("button", name="Use it").click()
        expect(other.get_by_role("alert").filter(visible=True)).to_contain_text("belongs to no one")
        other.get_by_label("Token", exact=True).fill(f" {token} ")
        other.get_by_role("button", name="Use it").click()
        expect(other.get_by_role("dialog")).to_be_hidden()
        expect(row(other, "talk")).to_be_visible()


def test_new_token_ends_the_old_one(page: Page, serving: Serving) -> None:
    old = headers_of(page)
    open_account(page)
    press_twice(page, "New token", "End the old token: really?")
    expect(page.get_by_role("button", name="New token")).to_be_visible()
    assert serving.request("GET", "/users/me", headers=old)[0] == 401
    assert len(records_of(headers_of(page), serving)) == 1


def test_forgotten_token_leaves_an_empty_page_that_begins_anew(page: Page, serving: Serving) -> None:
    old = headers_of(page)
    open_account(page)
    press_twice(page, "Forget token", "Without a copy, the list is lost. Really?")
    expect(page.locator("#empty")).to_be_visible()
    assert page.evaluate("localStorage.length") == 0
    choose(page, payload("new.wav", WAV))
    expect(row(page, "new")).to_be_visible()
    assert len(records_of(old, serving)) == 1
    assert headers_of(page) != old


def test_everything_is_deleted_with_the_account(page: Page, serving: Serving) -> None:
    old = headers_of(page)
    open_account(page)
    press_twice(page, "Delete all", "Recordings and links are lost. Really?")
    expect(page.locator("#empty")).to_be_visible()
    assert serving.request("GET", "/users/me", headers=old)[0] == 401


def test_account_that_is_gone_is_no_dead_end(page: Page, serving: Serving) -> None:
    assert serving.request("DELETE", "/users/me", headers=headers_of(page))[0] == 204
    page.reload()
    expect(page.locator("#toast")).to_contain_text("Your next file begins a new account.")
    expect(page.locator("#empty")).to_be_visible()
    choose(page, payload("new.wav", WAV))
    expect(row(page, "new")).to_be_visible()


def test_account_that_goes_while_the_page_is_open_is_no_dead_end(page: Page, serving: Serving) -> None:
    # Else the page could notice it by a look, before the file does.
    with page.expect_response("**/uploads"):
        pass
    page.route("**/uploads", lambda _: None)
    assert serving.request("DELETE", "/users/me", headers=headers_of(page))[0] == 204
    choose(page, payload("new.wav", WAV))
    expect(page.locator("#uploads")).to_contain_text("This token belongs to no one.")
    expect(page.locator("#toast")).to_contain_text("Your next file begins a new account.")
    choose(page, payload("next.wav", WAV))
    expect(row(page, "next")).to_be_visible()


def test_service_that_wants_a_registration_token_is_given_it(
    browser: Browser, postgres_url: str, tmp_path: Path
) -> None:
    settings = {"REGISTRATION": "token", "REGISTRATION_TOKEN": REGISTRATION_TOKEN, "DATABASE_URL": postgres_url}
    with serve(tmp_path / "data", **settings) as serving, pages(browser) as page:
        open_page(page, serving)
        choose(page, payload("talk.wav", WAV), payload("song.wav", WAV))
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("New accounts need this service's registration token.")
        page.get_by_label("Registration token").fill("wrong")
        page.get_by_role("button", name="Use it").click()
        expect(dialog).to_contain_text("Creating a user needs the registration token")
        page.get_by_label("Registration token").fill(REGISTRATION_TOKEN)
        page.get_by_role("button", name="Use it").click()
        expect(row(page, "talk")).to_be_visible()
        expect(row(page, "song")).to_be_visible()


def test_service_that_takes_no_accounts_asks_for_ones_token(
    browser: Browser, postgres_url: str, tmp_path: Path, serving: Serving
) -> None:
    token = serving.create_user()["Authorization"].removeprefix("Bearer ")
    with serve(tmp_path / "data", REGISTRATION="closed", DATABASE_URL=postgres_url) as closed, pages(browser) as page:
        open_page(page, closed)
        choose(page, payload("talk.wav", WAV))
        expect(page.get_by_role("dialog")).to_contain_text("This service takes no new accounts.")
        page.keyboard.press("Escape")
        expect(page.locator("#uploads")).to_contain_text("Not sent: there is no account yet.")
        choose(page, payload("talk.wav", WAV))
        page.get_by_label("Token", exact=True).fill(token)
        page.get_by_role("button", name="Use it").click()
        expect(row(page, "talk")).to_be_visible()
