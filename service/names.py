"""Checks and cleans names that clients send."""

import re
import unicodedata
from pathlib import PurePosixPath

from service.refusals import INVALID_FILENAME

LONGEST_FILENAME = 1024
# Control characters, and lone surrogates, which stand for bytes that were not UTF-8.
_NOT_TEXT = {"Cc", "Cs"}
# A suffix begins with a letter and has no space. Anything else after a dot belongs to the name, as in "Interview 3.5".
_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,4}$")
# They make a name look like another one.
_DIRECTIONS = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")


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


def stem(filename: str) -> str:
    """Return a file's name without its suffix, and without characters that only turn the direction of writing."""
    base = _DIRECTIONS.sub("", PurePosixPath(filename).name)
    return _SUFFIX.sub("", base) or base
