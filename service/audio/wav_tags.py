"""Reads what a WAV says about itself: its INFO list and its bext chunk, if they come before the samples."""

# Sources: Microsoft's "Multimedia Programming Interface and Data Specifications 1.0" (INFO), EBU Tech 3285 (bext).

import codecs
import re
import struct
from collections.abc import Iterator
from datetime import date
from typing import NamedTuple

TAG_CHUNKS = (b"LIST", b"bext")
# How much of the chunks is read in all, so that the work is bounded. Of a bext chunk, this is all that has text for us.
_LONGEST_TAG_CHUNKS, _BEXT_BYTES = 2**14, 330
_INFO_FIELDS = {b"INAM": "title", b"IART": "artist", b"IPRD": "album", b"ICRD": "date", b"ICMT": "comment"}
_BEXT_FIELDS = {"comment": slice(256), "artist": slice(256, 288), "date": slice(320, 330)}
_BREAKS = re.compile("[\t\n\v\f\r\x85\u2028\u2029]+")
_NOT_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# EBU allows these between the parts of a date; INFO's ICRD is written in the same ways.
_DATE = re.compile(r"(\d{4})(?:[-_:/ .](\d\d)(?:[-_:/ .](\d\d))?)?(?!\d)", re.ASCII)


class WavTags(NamedTuple):
    """What a WAV says about itself, as clean text; `date` is "2026", "2026-11" or "2026-11-26". Empty: nothing."""

    title: str = ""
    artist: str = ""
    album: str = ""
    date: str = ""
    comment: str = ""

    def or_else(self, others: "WavTags") -> "WavTags":
        """Return these tags, and the others for those that are empty."""
        return WavTags(*(own or other for own, other in zip(self, others, strict=True)))


NO_TAGS = WavTags()


class TagReader:
    """Gathers the tags of a WAV from the chunks before its samples. What INFO says wins over bext."""

    def __init__(self) -> None:
        self.tags = NO_TAGS
        self._room = _LONGEST_TAG_CHUNKS

    def wanted(self, chunk_id: bytes, size: int) -> int:
        """Return how many bytes of the beginning of this chunk to read, 0 for none."""
        if chunk_id not in TAG_CHUNKS:
            return 0
        return min(size, self._room, _BEXT_BYTES if chunk_id == b"bext" else self._room)

    def read(self, chunk_id: bytes, content: bytes) -> None:
        """Read the beginning of a chunk."""
        self._room -= len(content)
        if chunk_id == b"LIST":
            self.tags = _info(content).or_else(self.tags)
        else:
            self.tags = self.tags.or_else(_bext(content))


def clean(text: str) -> str:
    """Return text in one line and without control characters."""
    return _NOT_TEXT.sub("", _BREAKS.sub(" ", text)).strip()


def _info(content: bytes) -> WavTags:
    found: dict[str, str] = {}
    if content[:4] == b"INFO":
        for name, raw in _subchunks(content[4:]):
            field = _INFO_FIELDS.get(name)
            if field is not None and field not in found:
                found[field] = _text(raw)
    return _tags(found)


def _subchunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    offset = 0
    while offset + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, offset)
        yield name, content[offset + 8 : offset + 8 + size]
        offset += 8 + size + size % 2


def _bext(content: bytes) -> WavTags:
    return _tags({field: _text(content[place]) for field, place in _BEXT_FIELDS.items()})


def _tags(found: dict[str, str]) -> WavTags:
    return WavTags(**found | {"date": _date(found.get("date", ""))})


def _text(raw: bytes) -> str:
    """Return text up to its NUL. What is not UTF-8 is Windows' Western code page, in which most of the rest is."""
    raw, terminator, _ = raw.partition(b"\0")
    try:
        # A field without its NUL was cut at its end, perhaps in the middle of a character.
        text = codecs.getincrementaldecoder("utf-8")().decode(raw, final=bool(terminator))
    except UnicodeDecodeError:
        text = raw.decode("cp1252", errors="ignore")
    return clean(text)


def _date(text: str) -> str:
    """Return an ISO 8601 date of the text's beginning, or nothing if there is none."""
    found = _DATE.match(text)
    if found is None:
        return ""
    parts = [part for part in found.groups() if part is not None]
    try:
        date(*(int(part) for part in [*parts, "01", "01"][:3]))
    except ValueError:
        return ""
    return "-".join(parts)
