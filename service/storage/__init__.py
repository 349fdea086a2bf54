"""The protocols of storages, which keep finished MP3s."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What was committed: its size in bytes and its sha256 in hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One file in a storage, as the sweep sees it."""

    id: UUID
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class Room:
    """How many bytes are free in a directory, and how many must be. As text, a sentence for the operator."""

    directory: Path
    free_bytes: int
    min_free_bytes: int

    @property
    def is_enough(self) -> bool:
        """Whether another upload may begin."""
        return self.free_bytes >= self.min_free_bytes

    def __str__(self) -> str:
        free, least = self.free_bytes // 2**20, self.min_free_bytes // 2**20
        only = "" if self.is_enough else "Only "
        return (
            f"{only}{free} MiB are free in {self.directory}; "
            f"uploads are refused below {least} MiB (WAVEPRESS_MIN_FREE_BYTES)."
        )


class Draft(Protocol):
    """A file that is being written and that nobody can see yet."""

    def fileno(self) -> int:
        """Return the descriptor to write to. It is also readable and seekable."""

    async def commit(self, seal: Callable[[], None]) -> StoredFile:
        """Call `seal`, which completes the draft and may block, and make the draft the file of its record, for good.

        When this returns, the file survives a power cut. When it raises (StorageFull, Unavailable, or what `seal`
        raises), there is no file. A cancellation never takes effect in the middle.
        """


class RemoteFile(Protocol):
    """A file that is not on this machine."""

    def read(self, start: int, stop: int) -> AsyncGenerator[bytes]:
        """Yield its bytes from `start` up to `stop`.

        Raises FileNotFoundError if there is no such file, and Unavailable. The first piece shows that it is there.
        """


class Storage(Protocol):
    """Keeps one immutable MP3 for each record id."""

    @property
    def draft_directory(self) -> Path:
        """Where drafts are written, on this machine."""

    def prepare(self) -> None:
        """Make the directories that the storage needs on this machine. Raises OSError."""

    def locate(self, record_id: UUID) -> Path | RemoteFile:
        """Return where a record's MP3 is, or would be."""

    async def check(self) -> None:
        """Raise StorageFull or Unavailable if a file could not be kept now."""

    def room(self) -> Room:
        """Return how much room there is for drafts. Blocking. Raises OSError."""

    async def require_room(self) -> None:
        """Raise StorageFull if there is too little room to begin another upload, and Unavailable."""

    def draft(self, record_id: UUID, *, needs_room: bool = True) -> AbstractAsyncContextManager[Draft]:
        """Open a draft. If the block ends without a commit, for whatever reason, nothing is left of it.

        Raises StorageFull and Unavailable. One that does not need room is opened although there is too little of it.
        """

    async def has(self, record_id: UUID) -> bool:
        """Return whether a record's file is there. Raises Unavailable."""

    async def delete(self, record_id: UUID) -> None:
        """Remove a file, if it is there. Raises Unavailable."""

    def entries(self) -> AsyncIterator[Entry]:
        """Yield every file, in any order. Files that come or go meanwhile may be missing. Raises Unavailable."""


def file_name(record_id: UUID) -> str:
    """Return the name of a record's MP3 within a storage, such as "0b/0b7c1c5e-....mp3"."""
    return f"{record_id.hex[:2]}/{record_id}.mp3"


def parse_file_name(name: str) -> UUID | None:
    """Return the id of the record whose MP3 has that name, or None if it is not a name that we give."""
    try:
        record_id = UUID(name[len("00/") :].removesuffix(".mp3"))
    except ValueError:
        return None
    return record_id if name == file_name(record_id) else None
