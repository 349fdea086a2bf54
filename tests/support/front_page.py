"""The web page in a browser, as a person uses it."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, FilePayload, Locator, Page, expect

from tests.support.lines import Line
from tests.support.serving import Headers, Serving
from tests.support.waiting import wait_until

# Pages wait for other processes, which may have little of the machine.
PATIENCE_MILLISECONDS = 30_000
expect.set_options(timeout=PATIENCE_MILLISECONDS)


@contextmanager
def pages(browser: Browser, **options: Any) -> Iterator[Page]:
    """Open a page in a profile of its own. Fails at the end if it broke a rule of its own, or a script failed."""
    troubles: list[str] = []
    with browser.new_context(**options) as context:
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        context.on("weberror", lambda error: troubles.append(str(error.error)))
        context.on(
            "console",
            lambda message: troubles.append(message.text) if "Content Security Policy" in message.text else None,
        )
        yield context.new_page()
    assert troubles == []


def open_page(page: Page, serving: Serving, path: str = "/") -> None:
    page.goto(f"http://127.0.0.1:{serving.port}{path}")


def payload(name: str, content: bytes) -> FilePayload:
    return {"name": name, "mimeType": "audio/wav", "buffer": content}


def choose(page: Page, *files: FilePayload | Path) -> None:
    """Pick files, as the dialog of the button does."""
    page.locator("#files").set_input_files(files)  # type: ignore[arg-type]


def row(page: Page, name: str) -> Locator:
    """Return the row of a recording in the list."""
    return page.locator("#records li", has=page.get_by_text(name, exact=True))


def upload(page: Page, name: str) -> Locator:
    """Return the row of a file that is on its way."""
    return page.locator("#uploads li", has=page.get_by_text(name, exact=True))


def begin_halfway(page: Page, line: Line, file: Path) -> Locator:
    """Begin to send a file, and return its row; a megabyte of it arrives, and the rest waits."""
    line.hold_after(1_000_000)
    choose(page, file)
    expect(upload(page, file.name)).to_be_visible()
    return upload(page, file.name)


def arrived(page: Page, serving: Serving) -> list[int]:
    """Return how much the service has of each upload of the page's account."""
    _, _, body = serving.request("GET", "/uploads", headers=headers_of(page))
    return [one["offset"] for one in json.loads(body)["uploads"]]


def wait_for_bytes(page: Page, serving: Serving) -> None:
    """Wait until the service has some of the newest upload of the page's account."""
    wait_until(lambda: any(arrived(page, serving)[:1]))


def headers_of(page: Page) -> Headers:
    """Return the headers that say who the page's account is."""
    token = page.evaluate("localStorage.getItem('wavepress.token')")
    return {"Authorization": f"Bearer {token}"}


def records_of(headers: Headers, serving: Serving) -> list[dict[str, Any]]:
    """Return an account's records, as the service has them."""
    status, _, body = serving.request("GET", "/records", headers=headers)
    assert status == 200, body
    found: list[dict[str, Any]] = json.loads(body)["records"]
    return found


def played(page: Page, whole: str) -> None:
    """Wait until a second or more has been played of what is so long."""
    expect(page.locator("#player .clock")).to_have_text(re.compile(rf"^(?!0:00)\d:\d\d / {whole}$"))


def is_playing(page: Page) -> bool:
    return page.locator("#player > button").first.get_attribute("aria-label") == "Pause"
