"""What a WAV says about itself is read as clean text, if it comes before the samples."""

import pytest

from service.audio.wav import WavReader
from service.audio.wav_tags import NO_TAGS, TagReader, WavTags, clean
from tests.support.wavs import bext_chunk, chunk, info_chunk, wav

ALL_OF_INFO = info_chunk(INAM=b"Talk", IART=b"Ann", IPRD=b"Talks", ICRD=b"2026-11-26", ICMT=b"In the rain", ISFT=b"x")
ALL = WavTags("Talk", "Ann", "Talks", "2026-11-26", "In the rain")
BEXT = bext_chunk(b"A description", b"Recorder 7", b"2025-01-02")


def tags(*before: bytes, after: bytes = b"", piece_bytes: int = 10**9) -> WavTags:
    """Return the tags of a WAV that has these chunks before its samples and arrives in pieces."""
    reader = WavReader()
    content = wav(bytes(400), sample_rate=44_100, channels=1, before=list(before), after=[after])
    for start in range(0, len(content), piece_bytes):
        reader.feed(content[start : start + piece_bytes])
    reader.finish()
    assert reader.sample_count == 200
    assert reader.header is not None
    return reader.header.tags


@pytest.mark.parametrize("piece_bytes", [1, 7, 10**9])
def test_info_list_is_read_whatever_the_pieces(piece_bytes: int) -> None:
    assert tags(ALL_OF_INFO, piece_bytes=piece_bytes) == ALL


def test_bext_chunk_gives_comment_artist_and_date() -> None:
    assert tags(BEXT) == WavTags(comment="A description", artist="Recorder 7", date="2025-01-02")


@pytest.mark.parametrize("is_bext_first", [False, True])
def test_info_wins_over_bext_in_either_order(is_bext_first: bool) -> None:
    chunks = [info_chunk(INAM=b"Talk", IART=b"Ann"), BEXT]
    assert tags(*chunks[:: -1 if is_bext_first else 1]) == WavTags(
        "Talk", "Ann", date="2025-01-02", comment="A description"
    )


def test_tags_behind_the_samples_are_too_late() -> None:
    assert tags(after=ALL_OF_INFO) == NO_TAGS


@pytest.mark.parametrize(
    "before",
    [
        b"",
        chunk(b"LIST", b""),
        chunk(b"LIST", b"INF"),
        chunk(b"LIST", b"INFO"),
        chunk(b"LIST", b"INFOINAM"),
        chunk(b"LIST", b"INFOINAM\xff\xff\xff\xff"),
        chunk(b"LIST", b"adtl" + chunk(b"INAM", b"Talk\0")),
        chunk(b"bext", b""),
        chunk(b"JUNK", b"INFO" + chunk(b"INAM", b"Talk\0")),
        info_chunk(INAM=b"", IART=b" \t\r\n", ICMT=b"\x01\x02"),
    ],
)
def test_empty_and_broken_chunks_give_no_tags(before: bytes) -> None:
    assert tags(before) == NO_TAGS


def test_field_that_says_it_is_longer_than_its_list_ends_with_it() -> None:
    assert tags(chunk(b"LIST", b"INFOINAM\xff\xff\0\0Talk")).title == "Talk"


def test_first_of_equal_fields_counts() -> None:
    doubled = chunk(b"LIST", b"INFO" + chunk(b"INAM", b"One\0") + chunk(b"INAM", b"Two\0"))
    assert tags(doubled).title == "One"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("речь 🎤 نص".encode(), "речь 🎤 نص"),
        ("Café „Ünï”".encode("cp1252"), "Café „Ünï”"),
        (b"\x81\x8d\x9d caf\xe9", "café"),
        (b"before\0behind", "before"),
        (b" two\r\nlines\tand\x1b[31m red ", "two lines and[31m red"),
        ("c1 \x85 \u2028 end".encode(), "c1     end"),
        (b"\xed\xa0\x80", "í\xa0€"),
    ],
    ids=repr,
)
def test_text_is_utf_8_or_windows_and_has_no_control_characters(raw: bytes, expected: str) -> None:
    assert tags(info_chunk(INAM=raw)).title == expected


def test_description_that_is_cut_in_a_character_loses_only_this_one() -> None:
    assert tags(bext_chunk("é".encode() * 200)).comment == "é" * 128
    assert tags(bext_chunk(b"x" + "é".encode() * 200)).comment == "x" + "é" * 127


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"2026", "2026"),
        (b"2026-11", "2026-11"),
        (b"2026-11-26", "2026-11-26"),
        (b"2026:11:26", "2026-11-26"),
        (b"2026/11/26 12:00", "2026-11-26"),
        (b"2026-11-26T12:00:00Z", "2026-11-26"),
        (b"2026-02-30", ""),
        (b"2026-13", ""),
        (b"0000-00-00", ""),
        (b"20261126", ""),
        (b"Nov 26, 2026", ""),
        ("\uff12\uff10\uff12\uff16".encode(), ""),
    ],
    ids=repr,
)
def test_date_is_iso_8601_or_left_out(raw: bytes, expected: str) -> None:
    assert tags(info_chunk(ICRD=raw)).date == expected


def test_long_list_is_read_by_its_beginning() -> None:
    long = info_chunk(INAM=b"Talk", ICMT=b"c" * 50_000, IART=b"too late")
    assert (tags(long).title, tags(long).artist) == ("Talk", "")
    assert 8_000 < len(tags(long).comment) < 16_384


def test_many_lists_are_read_no_further_than_one() -> None:
    lists = [info_chunk(ICMT=b"c" * 5_000), info_chunk(IART=b"a" * 5_000), info_chunk(ICMT=b"x" * 9_000)]
    found = tags(*lists, *[info_chunk(INAM=b"too late", ICMT=b"too late")] * 3_000)
    assert (found.title, found.artist) == ("", "a" * 5_000)
    assert set(found.comment) == {"x"}


def test_reader_of_tags_reads_16_kib_in_all() -> None:
    reader, sizes = TagReader(), []
    for chunk_id in (b"LIST", b"bext", b"JUNK") * 10:
        sizes.append(reader.wanted(chunk_id, 5_001))
        reader.read(b"LIST", bytes(sizes[-1]))
    assert sizes[:3] == [5_001, 330, 0]
    assert sizes[-3:] == [0, 0, 0]
    assert sum(sizes) == 2**14


@pytest.mark.parametrize("text", ["a\x00b", "a\x7fb", "a\x9bb", "a\ud800b"], ids=repr)
def test_clean_text_has_no_control_characters_or_halves(text: str) -> None:
    assert clean(text) == "ab"
