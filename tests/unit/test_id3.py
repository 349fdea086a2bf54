"""The ID3 tag has what was put in, by another library's word, and is never too long."""

from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutagen.id3 import ID3

from service.audio.id3 import MAX_TAG_BYTES, id3_tag
from service.audio.wav_tags import WavTags, clean

FRAMES = ("TIT2", "TPE1", "TALB", "TDRC", "COMM::XXX")
TAGS = WavTags("Речь 🎤", "Ann & Bob", "Talks", "2026-11-26", "In the rain")


def parsed(tag: bytes) -> dict[str, str]:
    """Return what mutagen reads, which also checks the tag's size against its bytes."""
    read: Any = ID3(BytesIO(tag))  # type: ignore[no-untyped-call]
    assert (read.version, read.size) == ((2, 4, 0), len(tag))
    return {name: str(frame) for name, frame in read.items()}


def test_every_field_is_read_back() -> None:
    assert parsed(id3_tag(TAGS)) == dict(zip(FRAMES, TAGS, strict=True))


@pytest.mark.parametrize("empty", range(5))
def test_empty_field_has_no_frame(empty: int) -> None:
    values = [value if place != empty else "" for place, value in enumerate(TAGS)]
    assert set(parsed(id3_tag(WavTags(*values)))) == set(FRAMES) - {FRAMES[empty]}


def test_tag_without_a_word_has_the_least_size_that_ffmpeg_reserves() -> None:
    assert id3_tag(WavTags()) == b"ID3\x04\0\0\0\0\0\x0a" + bytes(10)


@pytest.mark.parametrize("character", ["x", "é", "€", "😀"])
def test_long_text_is_cut_at_a_character_and_leaves_room_for_the_others(character: str) -> None:
    text = character * 10_000
    tag = id3_tag(WavTags(text, text, text, "2026-11-26", text))
    assert MAX_TAG_BYTES - 32 <= len(tag) <= MAX_TAG_BYTES
    found = parsed(tag)
    assert {set(found[name]) == {character} for name in FRAMES if name != "TDRC"} == {True}
    assert len(found["TIT2"].encode()) in range(2_045, 2_049)


# mutagen reads a NUL as the separator of a list; control characters are removed before.
TEXT = st.text(max_size=3_000).map(clean)


@given(title=TEXT, artist=TEXT, album=TEXT, comment=TEXT)
def test_any_text_makes_a_tag_that_can_be_read(title: str, artist: str, album: str, comment: str) -> None:
    tag = id3_tag(WavTags(title, artist, album, "", comment))
    assert 20 <= len(tag) <= MAX_TAG_BYTES
    expected = {"TIT2": title, "TPE1": artist, "TALB": album, "COMM::XXX": comment}
    found = parsed(tag)
    assert found.keys() == {name for name, text in expected.items() if text}
    assert all(expected[name].startswith(text) for name, text in found.items())
