"""A real browser, and pages of origins that are not the service's."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.tools import require_tool

# The browser may not look for updates and the like: there may be no network, and it would wait for it.
_ARGUMENTS = [
    "--no-sandbox",  # root cannot have it
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--autoplay-policy=no-user-gesture-required",
]


@contextmanager
def chromium(*arguments: str) -> Iterator[Browser]:
    """Start the system's Chromium, with further arguments if a test needs them; playwright's own one is not used.

    While it runs, no coroutine can run in this thread: playwright has its loop there.
    """
    executable = require_tool("chromium", "chromium-browser", "google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=[*_ARGUMENTS, *arguments])
        try:
            yield browser
        finally:
            browser.close()


class _BlankPage(BaseHTTPRequestHandler):
    """Answers every request with an empty page."""

    def __init__(self, *arguments: Any, headers: dict[str, str]) -> None:
        self._own_headers = headers
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self.send_response(200)
        for name, value in {"Content-Type": "text/html", "Content-Length": "15", **self._own_headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"<!doctype html>")

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@contextmanager
def blank_pages(**headers: str) -> Iterator[str]:
    """Serve empty pages with these headers at an origin of its own; `Some_Header` stands for Some-Header."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_BlankPage, headers=named)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def run(page: Page, script: str, **values: object) -> Any:
    """Run the body of an async function in the page, with these values as its variables; return what it returns."""
    names = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in values.items())
    return page.evaluate(f"async () => {{ {names}{script} }}")
