"""Takes the pictures of the web page that docs/images has: `make screenshots`."""

import tempfile
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page, expect

from tests.support import wavs
from tests.support.browser import chromium
from tests.support.front_page import choose, pages, payload, played, row
from tests.support.lines import line_to
from tests.support.serving import Serving, serve

IMAGES = Path(__file__).parents[1] / "docs" / "images"
RATE = 16_000
SIZES = {"wide": (1280, 800), "phone": (390, 844)}
NAMES = ("Interview with the baker.wav", "Choir rehearsal, second half.wav", "Rain on the roof.wav")


def main() -> None:
    """Take one picture for each size and each colour scheme."""
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder) / "data") as serving, chromium() as browser:
        for size in SIZES:
            for scheme in ("light", "dark"):
                _take(browser, serving, size, scheme)


def _take(browser: Browser, serving: Serving, size: str, scheme: str) -> None:
    width, height = SIZES[size]
    options = {"viewport": {"width": width, "height": height}, "color_scheme": scheme}
    with line_to(serving.port) as line, pages(browser, **options) as page:
        page.goto(f"http://127.0.0.1:{line.port}/")
        for number, name in enumerate(NAMES):
            choose(page, payload(name, _sound(40 * (number + 1), number)))
            expect(row(page, name.removesuffix(".wav"))).to_be_visible()
        line.hold_after(2_000_000)
        choose(page, payload("Evening concert.wav", _sound(300, 9)), payload("song.m4a", b"\0\0\0\x20ftypM4A \0\0"))
        expect(page.locator("#uploads")).to_contain_text(" left")
        page.get_by_role("button", name=f"Play {NAMES[1].removesuffix('.wav')}").click()
        played(page, "1:20")
        expect(page.locator("#toast")).to_be_empty()
        page.evaluate("scrollTo(0, 0)")
        _shoot(page, f"page-{size}-{scheme}")
        page.goto(page.locator("#records .name").nth(1).evaluate("link => link.href"))
        expect(page.locator(".wave canvas").first).to_be_visible()
        _shoot(page, f"listen-{size}-{scheme}")


def _shoot(page: Page, name: str) -> None:
    page.screenshot(path=IMAGES / f"{name}.png", animations="disabled")


def _sound(seconds: int, seed: int) -> bytes:
    """Return a WAV that swells like speech and song do."""
    random = np.random.default_rng(seed)
    places = np.arange(seconds * RATE)
    loudness = np.interp(places, np.arange(0, len(places), RATE // 4), random.beta(2, 4, seconds * 4))
    samples = (loudness * random.uniform(-1, 1, len(places))).reshape(-1, 1)
    return wavs.wav(samples, sample_rate=RATE, channels=1)


if __name__ == "__main__":
    main()
