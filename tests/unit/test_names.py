"""Names from outside become plain text without a path, or are refused."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import Unprocessable
from service.names import LONGEST_FILENAME, clean_filename, has_control_characters

CONTROL = ["\0", "\n", "\r", "\t", "\x1b", "\x1f", "\x7f", "\x80", "\x85", "\x9f", "\udc80", "\ud83d"]
TEXT = [
    "talk",
    "Ann's talk.wav",
    "日本語",
    "مرحبا",
    "e\N{COMBINING ACUTE ACCENT}",
    "👩\N{ZERO WIDTH JOINER}💻",
    '"%;=',
    "",
]


@pytest.mark.parametrize("character", CONTROL, ids=ascii)
def test_control_characters_are_found_anywhere(character: str) -> None:
    assert has_control_characters(character)
    assert has_control_characters(f"ta{character}lk")


@pytest.mark.parametrize("text", TEXT)
def test_text_in_any_script_has_no_control_characters(text: str) -> None:
    assert not has_control_characters(text)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("talk.wav", "talk.wav"),
        ("My talk, part 1.WAV", "My talk, part 1.WAV"),
        ("日本語.wav", "日本語.wav"),
        ("/etc/passwd", "passwd"),
        ("../../talk.wav", "talk.wav"),
        (r"C:\Users\ann\talk.wav", "talk.wav"),
        (r"..\mixed/ways\talk.wav", "talk.wav"),
        ("  talk.wav ", "talk.wav"),
        ("folder/ talk.wav", "talk.wav"),
        (".wav", ".wav"),
        ("talk", "talk"),
        ("%2e%2e%2ftalk.wav", "%2e%2e%2ftalk.wav"),
    ],
)
def test_a_name_is_kept_without_its_folders(name: str, expected: str) -> None:
    assert clean_filename(name) == expected


@pytest.mark.parametrize("name", ["", " ", ".", "..", "...", "/", "folder/", "folder\\", "a/..", "folder/ . "])
def test_a_name_of_which_nothing_is_left_is_replaced(name: str) -> None:
    assert clean_filename(name) == "recording.wav"


@pytest.mark.parametrize("character", CONTROL, ids=ascii)
def test_control_characters_are_refused(character: str) -> None:
    with pytest.raises(Unprocessable, match="no control characters") as error:
        clean_filename(f"folder{character}/talk.wav")
    assert error.value.code == "invalid_filename"


def test_a_name_may_have_the_longest_length_and_no_more() -> None:
    assert clean_filename("x" * LONGEST_FILENAME) == "x" * LONGEST_FILENAME
    with pytest.raises(Unprocessable, match="at most 1024 characters") as error:
        clean_filename("x" * (LONGEST_FILENAME + 1))
    assert error.value.code == "invalid_filename"


@settings(derandomize=True, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from("/\\. "), max_size=50))
def test_any_text_becomes_a_name_that_is_kept_as_it_is(name: str) -> None:
    cleaned = clean_filename(name)
    assert not set(cleaned) & {"/", "\\"}
    assert cleaned.strip(". ")
    assert clean_filename(cleaned) == cleaned


@settings(derandomize=True, deadline=None)
@given(st.text(st.characters(codec=None), max_size=50))
def test_any_string_is_a_name_or_refused(name: str) -> None:
    is_bad = any(unicodedata.category(character) in {"Cc", "Cs"} for character in name)
    assert has_control_characters(name) == is_bad
    if is_bad:
        with pytest.raises(Unprocessable):
            clean_filename(name)
    else:
        clean_filename(name).encode()
