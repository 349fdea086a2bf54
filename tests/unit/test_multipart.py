"""A form is read the same however the network cuts it up, and what is no form is refused: nothing else, ever."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.errors import ServiceError
from service.web.app_keys import BODY_LIMITS
from service.web.body import PIECE_BYTES, BodyLimits
from service.web.multipart import read_fields
from service.web.upload_body import form_wav

# Of parts' headers that are no good aiohttp warns; that the service is deaf to it is tested at the end.
pytestmark = [
    pytest.mark.filterwarnings("ignore::aiohttp.multipart.BadContentDispositionHeader"),
    pytest.mark.filterwarnings("ignore::aiohttp.multipart.BadContentDispositionParam"),
]

T = TypeVar("T")

BOUNDARY = b"b0undary"
LIMITS = BodyLimits(max_upload_bytes=2**20, stall_seconds=5, min_bytes_per_second=0)
REFUSALS = {
    *("malformed_multipart", "nested_multipart", "transfer_encoded", "too_many_fields", "field_too_long"),
    *("second_file", "no_file", "invalid_filename"),
}

fuzz = settings(derandomize=True, deadline=None, max_examples=200)


@dataclass(frozen=True)
class Form:
    """What a body was read as."""

    filename: str
    fields: dict[str, str]
    content: bytes


def part(name: str, content: bytes, *headers: bytes, filename: str | None = None) -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"'
    if filename is not None:
        disposition += f'; filename="{filename}"'
    return b"\r\n".join([disposition.encode(), *headers, b"", content])


def form(*parts: bytes) -> bytes:
    return b"".join(b"--%s\r\n%s\r\n" % (BOUNDARY, part) for part in parts) + b"--%s--\r\n" % BOUNDARY


def split(body: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    return [body[start:stop] for start, stop in pairwise(places)]


def outcome(pieces: Iterable[bytes]) -> Form | str:
    """Return what an upload was read as, or the code of its refusal; a hang or any other error fails the test."""

    async def read(request: web.Request) -> Form:
        upload = await form_wav(request)
        content = b"".join([piece async for piece in upload.pieces])
        return Form(upload.filename, dict(upload.fields), content)

    return asyncio.run(_outcome(read, list(pieces)))


def fields_outcome(pieces: Iterable[bytes]) -> dict[str, str] | str:
    """Do the same with a form that has no file."""
    return asyncio.run(_outcome(read_fields, list(pieces)))


async def _outcome(read: Callable[[web.Request], Awaitable[T]], pieces: list[bytes]) -> T | str:
    loop = asyncio.get_running_loop()
    connection = BaseProtocol(loop)
    connection.connection_made(asyncio.Transport())
    body = StreamReader(connection, PIECE_BYTES, loop=loop)
    app = web.Application()
    app[BODY_LIMITS] = LIMITS
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY.decode()}"}
    request = make_mocked_request("POST", "/records", headers, app=app, payload=body)

    async def arrive() -> None:
        for piece in pieces:
            body.feed_data(piece)
            await asyncio.sleep(0)
        body.feed_eof()

    arriving = asyncio.create_task(arrive())
    try:
        async with asyncio.timeout(10):
            return await read(request)
    except ServiceError as refusal:
        return _checked(refusal.code)
    finally:
        await arriving


def _checked(code: str) -> str:
    assert code in REFUSALS
    return code


CUTS = st.lists(st.integers(0, 100_000), max_size=8)
NAMES = st.text("abcdefgh_0123", min_size=1, max_size=8)
# Nothing in it starts a line with the boundary, but much looks like it.
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


@pytest.mark.parametrize("ending", [b"", b"\r", b"\r\n", b"\r\n--", b"\r\n--b0undar"])
def test_boundary_on_the_edge_of_what_is_read_at_once_is_seen(ending: bytes) -> None:
    for byte_count in range(PIECE_BYTES - 20, PIECE_BYTES + 4):
        content = b"\1" * byte_count + ending
        found = outcome([form(part("file", content, filename="talk.wav"))])
        assert found == Form("talk.wav", {}, content), f"{byte_count} bytes and {ending!r}"


def test_form_that_ends_too_early_is_refused_wherever_it_ends() -> None:
    body = form(part("a", b"1"), part("file", b"RIFF" * 9, filename="talk.wav"), part("b", b"2"))
    whole = len(body) - len(b"--\r\n")  # the boundary is there; whether dashes follow is read leniently
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
def test_any_bytes_are_a_form_or_a_refusal(fragments: list[bytes], cuts: list[int]) -> None:
    body = b"".join(fragments)
    for pieces in ([body], split(body, cuts)):
        outcome(pieces)
        fields_outcome(pieces)


@fuzz
@given(st.lists(GRAMMAR | st.binary(max_size=10), max_size=6), CONTENTS, CUTS)
@example([b"x" * 9000], b"", [])
def test_any_header_of_a_part_is_a_form_or_a_refusal(headers: list[bytes], content: bytes, cuts: list[int]) -> None:
    body = form(b"".join(headers) + b"\r\n\r\n" + content, part("file", content, *headers, filename="talk.wav"))
    assert outcome([body]) == outcome(split(body, cuts))


@fuzz
@given(st.lists(st.tuples(st.integers(0, 1000), st.binary(max_size=3)), min_size=1, max_size=4), CUTS)
def test_any_damaged_form_is_a_form_or_a_refusal(damage: list[tuple[int, bytes]], cuts: list[int]) -> None:
    body = form(part("a", b"1"), part("file", b"RIFF" * 9, b"Content-Type: audio/wav", filename="talk.wav"))
    for place, splinter in damage:
        start = place % len(body)
        body = body[:start] + splinter + body[start + 1 :]
    assert outcome([body]) == outcome(split(body, cuts))


def test_bad_headers_of_parts_are_neither_printed_nor_kept() -> None:
    """Python keeps every warning's text that it has shown, for ever: a client could fill the memory with them."""
    code = """
import aiohttp.multipart
from tests.unit.test_multipart import form, outcome, part
for number in range(20):
    outcome([form(part("file", b"RIFF", filename="talk.wav").replace(b"form-data", b"form-data; %d" % number))])
kept = getattr(aiohttp.multipart, "__warningregistry__", {})
print([text for text in kept if text != "version"])
"""
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (child.stdout, child.stderr) == ("[]\n", "")
