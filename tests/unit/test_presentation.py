"""A download has the name of its upload and an address that clients can reach."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from email.message import Message
from unittest.mock import Mock
from uuid import UUID

import pytest
from aiohttp import web
from aiohttp.multipart import content_disposition_filename, parse_content_disposition
from aiohttp.test_utils import make_mocked_request
from hypothesis import given, settings
from hypothesis import strategies as st

from service.models import Record, RecordWarning
from service.web.addresses import base_url
from service.web.app_keys import PUBLIC_URL
from service.web.presentation import content_disposition, record_json, record_url

RECORD = Record(
    id=UUID("7f3c2f0e-5a0e-4c53-9c0f-0f2b6c1d9e11"),
    user_id=1,
    filename="talk.wav",
    duration=1.5,
    sample_rate=44_100,
    channels=2,
    bit_rate=128_000,
    size=24_000,
    sha256="ab" * 32,
    warnings=(RecordWarning("odd", "This is odd."),),
    created_at=datetime(2026, 1, 2, 12, 30, tzinfo=timezone(timedelta(hours=2))),
    expires_at=None,
)


def saved_name(filename: str) -> str:
    """Return the name under which a modern client saves the download; fails the test if the header is malformed."""
    kind, parameters = parse_content_disposition(content_disposition(filename))
    name = content_disposition_filename(parameters)
    assert kind == "inline"
    assert name is not None
    return name


def plainly_saved_name(filename: str) -> str:
    """Return the name under which a client that knows only ASCII saves the download."""
    message = Message()
    message["Content-Disposition"] = content_disposition(filename)
    name = message.get_param("filename", header="Content-Disposition")
    assert isinstance(name, str)
    return name


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("talk.wav", "talk.mp3"),
        ("TALK.WAV", "TALK.mp3"),
        ("talk", "talk.mp3"),
        ("talk.mp3", "talk.mp3"),
        ("talk.aiff", "talk.mp3"),
        ("talk.wav.wav", "talk.wav.mp3"),
        ("Dr. Ann's talk, part 1; final.wav", "Dr. Ann's talk, part 1; final.mp3"),
        ("v1.2.wav", "v1.2.mp3"),
        (".wav", ".wav.mp3"),
        ("a=b;filename=evil.exe.wav", "a=b;filename=evil.exe.mp3"),
        ("folder/talk.wav", "talk.mp3"),
        ("../../etc/talk.wav", "talk.mp3"),
    ],
)
def test_a_plain_name_is_given_plainly(filename: str, expected: str) -> None:
    assert content_disposition(filename) == f'inline; filename="{expected}"'
    assert saved_name(filename) == plainly_saved_name(filename) == expected


@pytest.mark.parametrize(
    ("filename", "expected", "plain"),
    [
        ('the "best" talk.wav', 'the "best" talk.mp3', "the _best_ talk.mp3"),
        (r"back\slash.wav", r"back\slash.mp3", "back_slash.mp3"),
        ("100%41.wav", "100%41.mp3", "100_41.mp3"),
        ("%2e%2e%2f.wav", "%2e%2e%2f.mp3", "_2e_2e_2f.mp3"),
        ("Gespräch.wav", "Gespräch.mp3", "Gespr_ch.mp3"),
        ("日本語.wav", "日本語.mp3", "___.mp3"),
        ("مرحبا.wav", "مرحبا.mp3", "_____.mp3"),
        ("👩‍💻 it's.wav", "👩‍💻 it's.mp3", "___ it's.mp3"),
        ("a'b''ü.wav", "a'b''ü.mp3", "a'b''_.mp3"),
    ],
)
def test_any_other_name_is_given_twice_in_ascii_and_in_full(filename: str, expected: str, plain: str) -> None:
    assert saved_name(filename) == expected
    assert plainly_saved_name(filename) == plain


@pytest.mark.parametrize("filename", ["Dr. Smith", "Interview 3.5", "2026-01-02 12.30"])
def test_a_name_without_a_suffix_keeps_everything_after_its_dots(filename: str) -> None:
    assert saved_name(filename) == f"{filename}.mp3"


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("x" * 251 + ".wav", "x" * 251 + ".mp3"),
        ("x" * 300 + ".wav", "x" * 251 + ".mp3"),
        ("ü" * 300 + ".wav", "ü" * 125 + ".mp3"),
        ("😀" * 300 + ".wav", "😀" * 62 + ".mp3"),
        ("x" * 249 + "😀.wav", "x" * 249 + ".mp3"),
    ],
    ids=["just fits", "ASCII", "two bytes each", "four bytes each", "cut inside an emoji"],
)
def test_a_long_name_is_cut_between_characters_to_what_file_systems_take(filename: str, expected: str) -> None:
    assert saved_name(filename) == expected
    assert len(expected.encode()) <= 255


@settings(derandomize=True, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=300))
def test_any_name_makes_a_header_that_is_one_line_of_ascii_and_reads_back(filename: str) -> None:
    disposition = content_disposition(filename)
    assert disposition.isascii()
    assert disposition.isprintable()
    name = saved_name(filename)
    assert name.endswith(".mp3")
    assert len(name.encode()) <= 255
    assert len(plainly_saved_name(filename)) <= len(name)


def request(public_url: str = "", *, host: str | None = "wav.example:8001", sockname: object = None) -> web.Request:
    app = web.Application()
    app[PUBLIC_URL] = public_url
    extra = {"sockname": sockname, "sslcontext": None}
    transport = Mock(get_extra_info=extra.get)
    return make_mocked_request("GET", "/records", {"Host": host} if host else {}, app=app, transport=transport)


def test_the_public_address_is_used_if_there_is_one() -> None:
    assert base_url(request("https://wav.example/api")) == "https://wav.example/api"


def test_without_a_public_address_the_clients_own_is_used() -> None:
    assert base_url(request()) == "http://wav.example:8001"


def test_a_client_that_names_no_host_is_given_the_address_that_it_reached() -> None:
    assert base_url(request(host=None, sockname=("127.0.0.1", 8001))) == "http://127.0.0.1:8001"


def test_a_client_that_names_no_host_may_have_come_by_ipv6() -> None:
    assert base_url(request(host=None, sockname=("::1", 8001, 0, 0))) == "http://[::1]:8001"


def test_a_record_is_shown_with_its_address_and_in_universal_time() -> None:
    assert record_url(request(), RECORD) == f"http://wav.example:8001/records/{RECORD.id}.mp3"
    assert record_json(request("https://wav.example"), RECORD) == {
        "id": "7f3c2f0e-5a0e-4c53-9c0f-0f2b6c1d9e11",
        "url": "https://wav.example/records/7f3c2f0e-5a0e-4c53-9c0f-0f2b6c1d9e11.mp3",
        "filename": "talk.wav",
        "duration": 1.5,
        "sample_rate": 44_100,
        "channels": 2,
        "bit_rate": 128_000,
        "size": 24_000,
        "sha256": "ab" * 32,
        "warnings": [{"code": "odd", "detail": "This is odd."}],
        "created_at": "2026-01-02T10:30:00+00:00",
        "complete": True,
        "source_size": None,
        "expires_at": None,
    }


def test_a_record_from_any_time_zone_is_shown_the_same() -> None:
    universal = replace(RECORD, created_at=RECORD.created_at.astimezone(UTC))
    assert record_json(request(), universal) == record_json(request(), RECORD)


def test_name_of_a_download_cannot_be_turned_round() -> None:
    """A right-to-left override would show "talk\u202e3pm.exe" as "talkexe.mp3"."""
    assert content_disposition("talk\u202e\u2066.wav") == 'inline; filename="talk.mp3"'
