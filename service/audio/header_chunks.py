"""Reads the chunks of a WAV that stand before its samples."""

import struct
from collections.abc import Generator
from dataclasses import dataclass, field

from service.audio.chunks import CHUNK_HEADER_BYTES, KNOWN_CHUNKS, is_name
from service.audio.wav_format import FMT_BYTES, parse_fmt
from service.audio.wav_tags import TAG_CHUNKS, TagReader
from service.errors import Unprocessable
from service.refusals import HEADER_TOO_LARGE, MALFORMED_HEADER

# Broadcast WAVs have some MB of metadata before the samples. A longer header is refused.
MAX_HEADER_BYTES = 16 * 2**20
# Skipping millions of empty chunks would take more CPU than encoding sound.
MAX_CHUNKS = 2**16
# How much of each chunk before the samples is read.
_HELD_BYTES = {b"fmt ": FMT_BYTES, b"ds64": 16, b"fact": 4}


@dataclass(slots=True)
class HeaderChunks:
    """The chunks so far: where each one that counts stands, and what it holds; `tags` reads those that say what it is.

    `broken` is the refusal of the first chunk that no chunk follows, because its size is wrong. It counts only if no
    samples are found, because some programs write chunks without a name.
    """

    held: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)
    tags: TagReader = field(default_factory=TagReader)
    broken: Unprocessable | None = None
    _count: int = 0
    _last: tuple[bytes, int] | None = None

    def add(self, chunk_id: bytes, padded: int, offset: int) -> None:
        """Count a chunk that has `padded` bytes, and whose header stands at `offset`. Raises Unprocessable."""
        if chunk_id in self.held and padded and chunk_id != b"fact":
            raise malformed(f"There is a second {_shown(chunk_id)} chunk.", offset)
        before, self._last = self._last, (chunk_id, offset)
        self._count += 1
        if offset + CHUNK_HEADER_BYTES + padded > MAX_HEADER_BYTES or self._count > MAX_CHUNKS:
            if before is not None and chunk_id not in KNOWN_CHUNKS:
                self._note_broken(*before, offset)
            raise self.broken or HEADER_TOO_LARGE(max_bytes=MAX_HEADER_BYTES, max_chunks=MAX_CHUNKS, offset=offset)

    def hold(self, chunk_id: bytes, content: bytes, offset: int) -> None:
        """Keep the start of a chunk whose content stands at `offset`. Raises Unprocessable for a bad fmt chunk."""
        self.held[chunk_id] = offset, content
        if chunk_id == b"fmt ":
            parse_fmt(offset, content)  # refuse now, not after megabytes of other chunks

    def check_next(self, chunk_id: bytes, pad: bytes, offset: int) -> None:
        """Check that a chunk follows the last one, from its name and the pad byte before it. Raises Unprocessable."""
        if self._last is None:
            return
        name, place = self._last
        if pad.strip(b"\0") and (pad + chunk_id)[:4] in KNOWN_CHUNKS | {b"data"}:
            raise malformed(f"The {_shown(name)} chunk at byte {place} has an odd size and no pad byte.", place)
        if is_name(name) and not is_name(chunk_id):
            self._note_broken(name, place, offset)

    def _note_broken(self, name: bytes, place: int, offset: int) -> None:
        if self.broken is None:
            what = f"The {_shown(name)} chunk at byte {place} has a wrong size: no chunk follows it at byte {offset}."
            self.broken = malformed(what, place)


def find_data(chunks: HeaderChunks, offset: int) -> Generator[int, bytes, tuple[int, int]]:
    """Read the chunks from `offset` up to the samples, as `parse_header` does.

    Returns where the samples begin, and how many bytes of them the data chunk declares.
    """
    pad = b""
    while True:
        chunk_id, size = struct.unpack("<4sI", (yield CHUNK_HEADER_BYTES))
        chunks.check_next(chunk_id, pad, offset)
        content = offset + CHUNK_HEADER_BYTES
        if chunk_id == b"data":
            return content, size
        chunks.add(chunk_id, size + size % 2, offset)
        kept = min(size, _HELD_BYTES.get(chunk_id, 0)) or chunks.tags.wanted(chunk_id, size)
        if kept and chunk_id in TAG_CHUNKS:
            chunks.tags.read(chunk_id, (yield kept))
        elif kept:
            chunks.hold(chunk_id, (yield kept), content)
        if size > kept:
            yield kept - size
        pad = (yield 1) if size % 2 else b""
        offset = content + size + size % 2


def malformed(what: str, offset: int) -> Unprocessable:
    """Return the refusal of a header that cannot be read."""
    return MALFORMED_HEADER(what=what, offset=offset)


def _shown(name: bytes) -> str:
    """Return a chunk's name as people and PostgreSQL can take it: it is the client's, and may be any four bytes."""
    text = name.decode("ascii", "replace").strip()
    return "".join(character if character.isprintable() else "?" for character in text)
