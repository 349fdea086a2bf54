"""What names from outside must be before they are kept: plain text without a path."""

import unicodedata

from service.refusals import INVALID_FILENAME

LONGEST_FILENAME = 1024
# Control characters, and halves of surrogate pairs, which are bytes that were no UTF-8.
_NOT_TEXT = {"Cc", "Cs"}


def has_control_characters(text: str) -> bool:
    """Say whether there is anything in `text` that a database, a header or a terminal could stumble over."""
    return any(unicodedata.category(character) in _NOT_TEXT for character in text)


def clean_filename(name: str) -> str:
    """Return an uploaded name without its folders, or "recording.wav" where nothing is left.

    Raises Unprocessable for control characters and for more than 1024 characters.
    """
    if has_control_characters(name):
        raise INVALID_FILENAME(rule="is UTF-8 and has no control characters")
    if len(name) > LONGEST_FILENAME:
        raise INVALID_FILENAME(rule=f"has at most {LONGEST_FILENAME} characters")
    base = name.replace("\\", "/").rpartition("/")[2].strip()
    return base if base.strip(".") else "recording.wav"
