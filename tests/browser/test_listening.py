"""A browser plays an MP3 while its WAV is still being sent, with nothing but its address."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from playwright.sync_api import Browser, Page

from tests.support import wavs
from tests.support.browser import blank_pages
from tests.support.serving import Headers, Serving, serve
from tests.support.waiting import wait_until

SECONDS, RATE = 60, 16_000
WAV = wavs.wav(wavs.chirp(SECONDS * RATE, RATE, 1), sample_rate=RATE, channels=1)


class SlowUpload:
    """An upload of which a test sends as much as it likes."""

    def __init__(self, serving: Serving, user: Headers) -> None:
        self.connection = serving.connect()
        self.connection.putrequest("PUT", "/records/slow.wav")
        for name, value in (user | {"Content-Length": str(len(WAV))}).items():
            self.connection.putheader(name, value)
        self.connection.endheaders()
        self._sent = 0

    def send(self, seconds: float | None = None) -> None:
        """Send up to that second, or the rest."""
        end = len(WAV) if seconds is None else 44 + int(seconds * RATE) * 2
        self.connection.send(WAV[self._sent : end])
        self._sent = end

    def finish(self) -> int:
        self.send()
        with self.connection.getresponse() as response:
            response.read()
            return response.status


@pytest.fixture(scope="module")
def serving(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serve(tmp_path_factory.mktemp("browser") / "data", DATABASE_URL=postgres_url) as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with blank_pages() as origin, browser.new_context() as context:
        page = context.new_page()
        page.goto(origin)
        yield page


@contextmanager
def slow_upload(serving: Serving) -> Iterator[tuple[SlowUpload, str]]:
    """Begin an upload, and yield it with the URL of its MP3."""
    user = serving.create_user()
    upload = SlowUpload(serving, user)
    with closing(upload.connection):
        upload.send(10)
        found: list[str] = []

        def is_on_air() -> bool:
            uploads = json.loads(serving.request("GET", "/uploads", headers=user)[2])["uploads"]
            found[:] = [one["id"] for one in uploads if one["expected_size"]]
            return bool(found) and serving.request("HEAD", f"/records/{found[0]}.mp3")[0] == 200

        wait_until(is_on_air)
        yield upload, f"http://127.0.0.1:{serving.port}/records/{found[0]}.mp3"


def play(page: Page, url: str) -> None:
    page.evaluate(
        """url => { window.audio = new Audio(url); audio.muted = true; document.body.append(audio); audio.play(); }""",
        url,
    )


def test_audio_knows_the_duration_plays_and_seeks_in_what_has_arrived(page: Page, serving: Serving) -> None:
    with slow_upload(serving) as (upload, url):
        play(page, url)
        page.wait_for_function("audio.currentTime > 0.3")
        assert page.evaluate("audio.duration") == pytest.approx(SECONDS, abs=0.01)
        page.evaluate("audio.currentTime = 5")
        page.wait_for_function("audio.currentTime > 5.2")
        assert upload.finish() == 201
        page.evaluate("audio.currentTime = 58")
        page.wait_for_function("audio.ended")
        assert page.evaluate("audio.error") is None


def test_seek_beyond_what_has_arrived_waits_for_it(page: Page, serving: Serving) -> None:
    with slow_upload(serving) as (upload, url):
        play(page, url)
        page.wait_for_function("audio.currentTime > 0.3")
        page.evaluate("audio.currentTime = 40")
        page.wait_for_function("audio.seeking && audio.readyState <= 1")
        later = threading.Timer(0.3, upload.send, [50])
        later.start()
        page.wait_for_function("audio.currentTime > 40.2")
        later.join()
        assert page.evaluate("audio.error") is None
        assert upload.finish() == 201
