"""Where finished MP3s are kept: the two protocols that every storage fulfils."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
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


class Draft(Protocol):
    """A file that is being written and that nobody can see yet."""

    def fileno(self) -> int:
        """Return the descriptor to write to; it is readable and can be sought in."""

    async def commit(self) -> StoredFile:
        """Make the draft the file of its record, for good.

        When this returns, the file survives a power cut. When it raises (StorageFull, Unavailable), there is
        no file. A cancellation takes effect before or after it, never in the middle.
        """


class Storage(Protocol):
    """Keeps one immutable MP3 for each record id."""

    async def require_room(self) -> None:
        """Raise StorageFull where there is not enough room left to begin another upload."""

    def draft(self, record_id: UUID) -> AbstractAsyncContextManager[Draft]:
        """Open a draft. Left without a commit, in whatever way, it leaves nothing behind.

        Raises StorageFull or Unavailable where there is no place for it.
        """

    async def delete(self, record_id: UUID) -> None:
        """Remove a file; one that is not there is no error."""

    def entries(self) -> AsyncIterator[Entry]:
        """Yield every file in no order; files that come or go meanwhile may or may not be among them."""
