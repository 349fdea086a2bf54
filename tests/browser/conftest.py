"""Fixtures of the tests in a real browser. They are not coroutines: see `tests.support.browser.chromium`."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.support.browser import chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of a module; each test has pages of its own."""
    with chromium() as running:
        yield running
