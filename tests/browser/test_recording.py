"""The web page records the microphone: what comes back sounds like what went in, and no end of a tab loses it."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Error, Page, Route, expect
from scipy.signal import correlate  # type: ignore[import-untyped]

from tests.support import wavs
from tests.support.browser import chromium
from tests.support.front_page import headers_of, open_page, pages, records_of
from tests.support.mp3s import decode, resample
from tests.support.serving import Serving, serve
from tests.support.waiting import wait_until

RATE = 44_100
# Ten seconds that repeat nothing, so that there is one place at which a part of it fits.
SOUND = wavs.chirp(10 * RATE, RATE, 1)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser whose microphone is a file."""
    microphone = tmp_path_factory.mktemp("microphone") / "sound.wav"
    microphone.write_bytes(wavs.wav(SOUND, sample_rate=RATE, channels=1))
    with chromium(
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}",
    ) as running:
        yield running


@pytest.fixture(scope="module")
def serving(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    data_dir = tmp_path_factory.mktemp("recording") / "data"
    with serve(data_dir, DATABASE_URL=postgres_url) as running:
        yield running


@pytest.fixture
def hasty(postgres_url: str, tmp_path: Path) -> Iterator[Serving]:
    """A service that waits only for seconds until an upload goes on."""
    with serve(tmp_path / "data", DATABASE_URL=postgres_url, STALL_SECONDS=1, RESUME_SECONDS=2) as running:
        yield running


@pytest.fixture
def page(browser: Browser, serving: Serving) -> Iterator[Page]:
    with pages(browser) as page:
        open_page(page, serving)
        yield page


def wait_for_seconds(page: Page, seconds: int) -> None:
    expect(page.locator("#recording .clock")).to_have_text(re.compile(f"^0:0[{seconds}-9]$"))


def record(page: Page, seconds: int) -> None:
    """Record at least so long."""
    page.get_by_role("button", name="Record").click()
    wait_for_seconds(page, seconds)


def test_microphone_comes_back_as_an_mp3_that_sounds_like_it(page: Page, serving: Serving) -> None:
    record(page, 3)
    page.get_by_role("button", name="Stop and keep").click()
    expect(page.locator("#records li")).to_have_count(1)
    [kept] = records_of(headers_of(page), serving)
    assert (kept["complete"], kept["channels"]) == (True, 1)
    rate = kept["sample_rate"]  # the machine's
    status, _, mp3 = serving.request("GET", f"/records/{kept['id']}.mp3")
    assert status == 200
    heard = decode(mp3)[:, 0].astype(float)
    assert len(heard) > 3 * rate
    part = heard[rate // 2 : 3 * rate]
    sound = resample(np.concatenate([SOUND, SOUND]), RATE, rate)[:, 0]  # at the file's end, it begins anew
    place = int(np.argmax(np.abs(correlate(sound, part, mode="valid"))))
    assert abs(np.corrcoef(sound[place : place + len(part)], part)[0, 1]) > 0.95


def test_tab_that_is_closed_keeps_its_recording_at_once(browser: Browser, serving: Serving) -> None:
    with pages(browser) as page:
        open_page(page, serving)
        record(page, 2)
        headers = headers_of(page)
        page.close(run_before_unload=False)
        wait_until(lambda: records_of(headers, serving))
    [kept] = records_of(headers, serving)
    assert kept["duration"] > 1


def test_recording_that_is_closed_amid_a_request_is_kept_at_once(browser: Browser, serving: Serving) -> None:
    with pages(browser) as page:
        open_page(page, serving)
        record(page, 2)
        headers = headers_of(page)
        page.route("**/uploads/*", lambda route: None if route.request.method == "PATCH" else route.continue_())
        with page.expect_request(lambda request: request.method == "PATCH"):
            pass
        page.goto("about:blank")
        wait_until(lambda: records_of(headers, serving))
    [kept] = records_of(headers, serving)
    assert kept["complete"] is False
    assert kept["duration"] > 0.5


def test_tab_that_is_killed_keeps_what_had_arrived(browser: Browser, hasty: Serving) -> None:
    with pages(browser) as page:
        open_page(page, hasty)
        record(page, 2)
        headers = headers_of(page)
        with page.expect_event("crash"), contextlib.suppress(Error):
            page.goto("chrome://crash", wait_until="commit")
        assert records_of(headers, hasty) == []
        wait_until(lambda: records_of(headers, hasty))
    [kept] = records_of(headers, hasty)
    assert kept["complete"] is False
    assert kept["duration"] > 0.5


def test_recording_is_listed_once_wherever_it_is(page: Page) -> None:
    record(page, 1)
    arriving = page.locator("#uploads li")
    expect(arriving.get_by_role("button", name="Copy link")).to_be_visible()
    expect(arriving.get_by_role("button", name="Cancel")).to_have_count(0)  # that is in its panel
    looks: list[Route] = []
    page.route("**/uploads", lambda route: looks.append(route))  # noqa: PLW0108 - playwright looks at its signature
    while not looks:
        page.wait_for_timeout(50)
    late = looks[0].fetch()
    page.get_by_role("button", name="Stop and keep").click()
    expect(page.locator("#records li")).to_have_count(1)
    assert arriving.count() == 0
    with page.expect_response("**/uploads"):
        looks[0].fulfill(response=late)
    page.wait_for_timeout(200)  # the page has read it by then
    assert arriving.count() == 0


def test_pause_leaves_out_what_is_said_meanwhile(page: Page) -> None:
    record(page, 1)
    page.get_by_role("button", name="Pause").click()
    paused = page.locator("#recording .clock").inner_text()
    page.wait_for_timeout(1000)  # this is what is left out
    expect(page.locator("#recording .clock")).to_have_text(paused)
    page.get_by_role("button", name="Resume").click()
    wait_for_seconds(page, 2)
    page.get_by_role("button", name="Stop and keep").click()
    expect(page.locator("#records li")).to_have_count(1)


def test_discarded_recording_leaves_nothing(page: Page, serving: Serving) -> None:
    record(page, 1)
    expect(page.locator("#uploads li")).to_be_visible()
    page.get_by_role("button", name="Discard").click()
    expect(page.locator("#recording")).to_be_hidden()
    assert page.locator("#uploads li").count() == 0
    assert records_of(headers_of(page), serving) == []
    assert json.loads(serving.request("GET", "/uploads", headers=headers_of(page))[2]) == {"uploads": []}
