"""Checks and cleans names that clients send."""

import unicodedata

from service.refusals import INVALID_FILENAME

LONGEST_FILENAME = 1024
# Control characters, and lone surrogates, which stand for bytes that were not UTF-8.
_NOT_TEXT = {"Cc", "Cs"}


def has_control_characters(text: str) -> bool:
    """Return whether `text` has characters that a database, a header or a terminal may not take."""
    return any(unicodedata.category(character) in _NOT_TEXT for character in text)


def clean_filename(name: str) -> str:
    """Return an uploaded name without its folders, or "recording.wav" if nothing is left.

    Raises Unprocessable for control characters and for more than 1024 characters.
    """
    if has_control_characters(name):
        raise INVALID_FILENAME(rule="is UTF-8 and has no control characters")
    if len(name) > LONGEST_FILENAME:
        raise INVALID_FILENAME(rule=f"has at most {LONGEST_FILENAME} characters")
    base = name.replace("\\", "/").rpartition("/")[2].strip()
    return base if base.strip(".") else "recording.wav"
