"""A form is read the same however the network splits it, and anything that is not a form is refused."""

import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.web.multipart import PIECE_BYTES
from tests.support.forms import BOUNDARY, Form, fields_outcome, form, outcome, part
from tests.support.pieces import split

fuzz = settings(derandomize=True, deadline=None, max_examples=200)


CUTS = st.lists(st.integers(0, 100_000), max_size=8)
NAMES = st.text("abcdefgh_0123", min_size=1, max_size=8)
# No line in it starts with the boundary, but much of it looks like the boundary.
CONTENTS = (
    st.lists(
        st.sampled_from([b"\r\n", b"\r", b"\n", b"--", b"-", BOUNDARY[:-1], b"\r\n--" + BOUNDARY[:-1], b"\0", b"\xff"])
        | st.binary(max_size=20),
        max_size=12,
    )
    .map(b"".join)
    .filter(lambda content: BOUNDARY not in content)
)
FIELDS = st.dictionaries(NAMES, st.text("abc \u00e9\u20ac", max_size=20), max_size=4)


@fuzz
@given(FIELDS, FIELDS, CONTENTS, CUTS)
@example({}, {}, b"", [])
@example({}, {}, b"\r\n--b0undar", [75])
def test_any_form_is_read_the_same_in_any_pieces(
    before: dict[str, str], after: dict[str, str], content: bytes, cuts: list[int]
) -> None:
    parts = [part(name, value.encode()) for name, value in before.items()]
    parts.append(part("file", content, filename="talk.wav"))
    parts += [part(name, value.encode()) for name, value in after.items()]
    expected = Form("talk.wav", before | after, content)
    assert outcome([form(*parts)]) == expected
    assert outcome(split(form(*parts), cuts)) == expected


@fuzz
@given(FIELDS, CUTS)
def test_any_form_without_a_file_is_read_the_same_in_any_pieces(fields: dict[str, str], cuts: list[int]) -> None:
    body = form(*[part(name, value.encode()) for name, value in fields.items()])
    assert fields_outcome(split(body, cuts)) == fields
    assert outcome(split(body, cuts)) == "no_file"


def test_form_is_read_the_same_wherever_it_is_cut_in_two() -> None:
    content = b"RIFF\r\n--b0undar\r\n--\r\n" * 3
    body = form(part("a", b"1"), part("file", content, filename="talk.wav"), part("b", b"2"))
    found = {
        outcome([body[:place], body[place:]]) == Form("talk.wav", {"a": "1", "b": "2"}, content)
        for place in range(len(body) + 1)
    }
    assert found == {True}


def test_form_is_read_the_same_a_byte_at_a_time() -> None:
    content = b"\r\n--b0undar" * 5
    body = form(part("file", content, filename="talk.wav"))
    assert outcome(split(body, range(len(body)))) == Form("talk.wav", {}, content)


def test_field_of_the_forms_charset_is_a_field_like_any_other() -> None:
    body = form(part("_charset_", b"utf-8"), part("file", b"RIFF", filename="talk.wav"))
    expected = Form("talk.wav", {"_charset_": "utf-8"}, b"RIFF")
    assert [outcome([body[:place], body[place:]]) for place in range(len(body))] == [expected] * len(body)


@pytest.mark.parametrize("ending", [b"", b"\r", b"\r\n", b"\r\n--", b"\r\n--b0undar"])
def test_boundary_on_the_edge_of_what_is_read_at_once_is_seen(ending: bytes) -> None:
    for byte_count in range(PIECE_BYTES - 20, PIECE_BYTES + 4):
        content = b"\1" * byte_count + ending
        found = outcome([form(part("file", content, filename="talk.wav"))])
        assert found == Form("talk.wav", {}, content), f"{byte_count} bytes and {ending!r}"


def test_form_that_ends_too_early_is_refused_wherever_it_ends() -> None:
    body = form(part("a", b"1"), part("file", b"RIFF" * 9, filename="talk.wav"), part("b", b"2"))
    whole = len(body) - len(b"--\r\n")  # from here on the last boundary is complete; its final dashes may be missing
    taken = [length for length in range(whole) if not isinstance(outcome([body[:length]]), str)]
    assert taken == []


GRAMMAR = st.sampled_from(
    [
        *(b"--" + BOUNDARY, b"--" + BOUNDARY + b"--", b"\r\n", b"\n", b"\r\n\r\n", b": ", b"; ", b"=", b'"', b"\\"),
        *(
            b"Content-Disposition: form-data",
            b'; name="a"',
            b'; filename="a.wav"',
            b"; filename*=utf-8''%ff",
            b"; a*0=x",
        ),
        *(b"Content-Type: multipart/mixed; boundary=c", b"Content-Transfer-Encoding: base64", b"Content-Length: 9999"),
        *(b"Content-Encoding: gzip", b"Content-Type: text/plain; charset=klingon", b"x" * 9000, b"\0", b"\xff\xfe"),
    ]
)


@fuzz
@given(st.lists(GRAMMAR | st.binary(max_size=10), max_size=20), CUTS)
def test_any_bytes_are_a_form_or_are_refused(fragments: list[bytes], cuts: list[int]) -> None:
    body = b"".join(fragments)
    for pieces in ([body], split(body, cuts)):
        outcome(pieces)
        fields_outcome(pieces)


@fuzz
@given(st.lists(GRAMMAR | st.binary(max_size=10), max_size=6), CONTENTS, CUTS)
@example([b"x" * 9000], b"", [])
def test_any_header_of_a_part_is_read_or_refused(headers: list[bytes], content: bytes, cuts: list[int]) -> None:
    body = form(b"".join(headers) + b"\r\n\r\n" + content, part("file", content, *headers, filename="talk.wav"))
    assert outcome([body]) == outcome(split(body, cuts))


@fuzz
@given(st.lists(st.tuples(st.integers(0, 1000), st.binary(max_size=3)), min_size=1, max_size=4), CUTS)
def test_any_damaged_form_is_read_or_refused(damage: list[tuple[int, bytes]], cuts: list[int]) -> None:
    body = form(part("a", b"1"), part("file", b"RIFF" * 9, b"Content-Type: audio/wav", filename="talk.wav"))
    for place, splinter in damage:
        start = place % len(body)
        body = body[:start] + splinter + body[start + 1 :]
    assert outcome([body]) == outcome(split(body, cuts))


def test_bad_headers_of_parts_are_neither_printed_nor_kept() -> None:
    """Python keeps the text of every warning that it has shown, so a client could fill the memory."""
    code = """
import aiohttp.multipart
from tests.support.forms import form, outcome, part
for number in range(20):
    outcome([form(part("file", b"RIFF", filename="talk.wav").replace(b"form-data", b"form-data; %d" % number))])
kept = getattr(aiohttp.multipart, "__warningregistry__", {})
print([text for text in kept if text != "version"])
"""
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (child.stdout, child.stderr) == ("[]\n", "")
