"""The table of refusals has each code once, and each of its sentences is complete."""

import string

import pytest

from service import errors, refusals
from service.errors import ServiceError
from service.refusals import TABLE, Refusal

ROWS = [row for row in vars(refusals).values() if isinstance(row, Refusal)]


def facts_in(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name is not None}


def test_each_code_stands_in_the_table_once() -> None:
    assert sorted(row.code for row in ROWS) == sorted(TABLE)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.code)
def test_a_sentence_is_complete_with_the_facts_of_its_example(row: Refusal[ServiceError]) -> None:
    assert set(row.example) == facts_in(row.sentence)
    shown = row.shown()
    assert shown.detail.endswith(".")
    assert (shown.code, shown.offset) == (row.code, row.offset)


def test_a_missing_fact_is_an_error_and_not_half_a_sentence() -> None:
    with pytest.raises(KeyError, match="max_bytes"):
        refusals.TOO_LARGE()


def test_a_refusal_under_another_status_says_the_same() -> None:
    refusal = refusals.EMPTY(byte_count=0, advice="Send a WAV with sound.", offset=0)
    other = refusal.as_kind(errors.MalformedRequest)
    assert (other.status, other.title) == (400, "Malformed request")
    assert (other.code, other.detail, other.offset, other.facts) == ("empty", refusal.detail, 0, refusal.facts)
