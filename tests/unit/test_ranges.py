"""The parser of the Range header: any text is one range of bytes or is ignored, and none is an error."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.errors import RangeNotSatisfiable
from service.web.byte_range import byte_range

SIZE = 1000
FILE = bytes(number % 251 for number in range(SIZE))
IGNORED = None

fuzz = settings(derandomize=True, deadline=None, max_examples=500)


def served(wanted: str) -> bytes | None:
    """Return the part of the file that is sent."""
    try:
        single = byte_range(wanted, SIZE)
    except RangeNotSatisfiable:
        return b""
    if single is None:
        return IGNORED
    assert single  # never an empty one
    return FILE[single.start : single.stop]


def by_the_rfc(wanted: str) -> bytes | None:
    """Read one range as RFC 9110, 14.1.2 says; a malformed range, another unit and several ranges are ignored."""
    unit, equals, spec = wanted.partition("=")
    if unit.lower() != "bytes" or not equals or not re.fullmatch("[0-9]*-[0-9]*", spec) or spec == "-":
        return IGNORED
    first, last = spec.split("-")
    if not first:
        return FILE[max(SIZE - int(last), 0) :]
    if last and int(last) < int(first):
        return IGNORED
    return FILE[int(first) : int(last) + 1 if last else None]


POSITIONS = st.integers(0, SIZE + 10).map(str) | st.integers(0, 10**18 - 1).map(str) | st.just("007")
RANGES = st.builds("{}={}-{}".format, st.sampled_from(["bytes", "Bytes", "BYTES"]), POSITIONS | st.just(""), POSITIONS)
OPEN_RANGES = st.builds("bytes={}-".format, POSITIONS)
FRAGMENTS = st.sampled_from(
    ["bytes", "BYTES", "byte", "items", "=", "-", "--", ",", "0", "9", "00", "10", "999", "1000", "+1", "0x1", "1e3"]
) | st.sampled_from(["1_0", "\u00b2", "\u0661", "\U0001d7cf", "\0", "\n", ";", "*", "/"])


@fuzz
@given(RANGES | OPEN_RANGES)
@example("bytes=-0")
@example("bytes=0-0")
@example("bytes=999-999")
@example("bytes=1000-")
@example("bytes=-1000")
@example("bytes=-1001")
def test_any_range_is_read_as_the_rfc_says(wanted: str) -> None:
    assert served(wanted) == by_the_rfc(wanted)


@fuzz
@given(st.lists(FRAGMENTS, max_size=8).map("".join) | st.text(max_size=30) | st.text("bytes=-,0123456789", max_size=30))
def test_any_text_is_a_range_or_is_ignored(wanted: str) -> None:
    assert served(wanted) == by_the_rfc(wanted)


@fuzz
@given(RANGES | OPEN_RANGES, st.integers(1, 60), st.sampled_from([" ", "\t", "  "]))
@example("bytes=12-34", 7, " ")
@example("bytes=12-34", 2, " ")
def test_space_does_not_change_a_range(wanted: str, place: int, space: str) -> None:
    before, after = wanted[:place], wanted[place:]
    is_inside_a_word = before[-1:].isalnum() and after[:1].isalnum()
    right = {IGNORED} if is_inside_a_word else {IGNORED, by_the_rfc(wanted)}
    assert served(before + space + after) in right


@pytest.mark.parametrize("digit_count", [18, 19, 20, 4300, 4301, 8000])
@pytest.mark.parametrize("form", ["bytes={}-", "bytes=0-{}", "bytes=-{}", "bytes={0}-{0}"])
def test_position_of_any_length_is_no_error(form: str, digit_count: int) -> None:
    """Such a range may be ignored or used; the bytes must be right in both cases."""
    number = 10 ** min(digit_count, 100) - 1
    assert served(form.format("9" * digit_count)) in {IGNORED, by_the_rfc(form.format(number))}
