"""Builds the ID3 tag in front of an MP3, which players show."""

# Source: id3.org, "ID3 tag version 2.4.0 - Main Structure" and "Native Frames".

from service.audio.wav_tags import WavTags

MAX_TAG_BYTES = 8_192
# ffmpeg reserves at least this much.
_LEAST_TAG_BYTES = 20
_HEADER_BYTES = 10
_UTF_8 = b"\x03"
# The language is unknown and the description empty.
_COMMENT_START = b"XXX\0"
# Title, artist, album, date, comment: how a frame begins, and how many bytes of text it may have. Together they and
# their headers fit into the tag.
_FRAMES = ((b"TIT2", b"", 2_048), (b"TPE1", b"", 1_024), (b"TALB", b"", 1_024), (b"TDRC", b"", 10))
_COMMENT_FRAME = (b"COMM", _COMMENT_START, 4_000)


def id3_tag(tags: WavTags) -> bytes:
    """Return an ID3v2.4 tag of 20 to 8,192 bytes. Text that is too long ends after its last whole character."""
    frames = (*_FRAMES, _COMMENT_FRAME)
    body = b"".join(
        _frame(name, start, _cut(text, longest))
        for (name, start, longest), text in zip(frames, tags, strict=True)
        if text
    ).ljust(_LEAST_TAG_BYTES - _HEADER_BYTES, b"\0")
    return b"ID3\x04\0\0" + _syncsafe(len(body)) + body


def _frame(name: bytes, start: bytes, text: bytes) -> bytes:
    content = _UTF_8 + start + text
    return name + _syncsafe(len(content)) + b"\0\0" + content


def _cut(text: str, longest: int) -> bytes:
    return text.encode()[:longest].decode(errors="ignore").encode()


def _syncsafe(number: int) -> bytes:
    """Return a number of up to 28 bits as four bytes whose highest bits are zero."""
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))
