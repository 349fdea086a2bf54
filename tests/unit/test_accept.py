"""What a request's Accept header prefers."""

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from service.web.accept import JSON, PAGE, TEXT, preferred

FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def preference(*accept: str) -> tuple[str, ...]:
    headers = CIMultiDict([("Accept", value) for value in accept])
    return preferred(make_mocked_request("GET", "/", headers=headers), JSON, TEXT, PAGE)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("text/plain", TEXT),
        ("TEXT/Plain; charset=utf-8", TEXT),
        ("text/plain, */*", TEXT),
        ("text/plain, */*; q=0.01", TEXT),
        ("text/plain,application/json", TEXT),
        ("*/*, text/plain", TEXT),
        ("text/*", TEXT),
        ("application/json, text/plain, */*", JSON),
        ("application/problem+json", JSON),
        ("application/problem+json;q=0.5, text/plain;q=0.4", JSON),
        ("application/json;q=0.4, text/plain;q=0.5", TEXT),
        ("application/json ; q = 0.4 , text/plain ;q=.5", TEXT),
        ("text/plain;q=0", JSON),
        ("text/plain;q=0, text/*", PAGE),
        ("text/plain;q=0.000, */*", JSON),
        ("*/*;q=0.1, application/*;q=0, application/problem+json;q=0", TEXT),
        ("text/plain;q=0.3, text/*;q=0.9, application/json;q=0.5", PAGE),
        ("image/png", JSON),
        ("text/plain;q=high", TEXT),
        ("text/plain;q=", TEXT),
        ("text/plain;q=.", TEXT),
        (";;,,=", JSON),
        (FIREFOX, PAGE),
        (f"{FIREFOX},image/avif", PAGE),
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", PAGE),
        ("*", JSON),
    ],
)
def test_preferred_form(accept: str, form: tuple[str, ...]) -> None:
    assert preference(accept) is form


def test_header_may_come_in_parts() -> None:
    assert preference("application/json;q=0.1", "text/plain;q=0.2") is TEXT
    assert preference() is JSON
