"""Keeps MP3s in a directory."""

import contextlib
import os
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from service.cancellation import to_the_end
from service.storage import Entry, Room, StoredFile, file_name, parse_file_name
from service.storage.draft_files import Drafts, LocalDraft, translated_errors
from service.threads import in_thread


class DiskStorage:
    """A directory with one file per record, spread over up to 256 folders by the id's first two digits.

    The `Drafts` in one more folder get `min_free_bytes` and `nameless`.
    """

    def __init__(self, directory: Path, *, min_free_bytes: int = 0, nameless: bool = True) -> None:
        self._directory = directory
        self._drafts = Drafts(directory / "drafts", min_free_bytes=min_free_bytes, nameless=nameless)
        self._synced_folders: set[Path] = set()

    @property
    def draft_directory(self) -> Path:
        """Where drafts are written, as `Storage.draft_directory` says."""
        return self._drafts.directory

    def prepare(self) -> None:
        """Make the folders and clear away abandoned drafts. Raises OSError."""
        # Only this user may list the directory, because an id is the permission to download.
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._drafts.prepare()

    def locate(self, record_id: UUID) -> Path:
        """Return where a record's MP3 is, or would be."""
        return self._directory / file_name(record_id)

    def room(self) -> Room:
        """Return the drafts' room, as `Storage.room` says."""
        return self._drafts.room()

    async def require_room(self) -> None:
        """Refuse uploads while there is too little room, as `Storage.require_room` says."""
        await self._drafts.require_room()

    async def check(self) -> None:
        """Check whether a file could be kept, as `Storage.check` says."""
        async with self._drafts.open():
            pass

    @contextlib.asynccontextmanager
    async def draft(self, record_id: UUID, *, needs_room: bool = True) -> AsyncIterator["DiskDraft"]:
        """Open a draft, as `Storage.draft` says."""
        async with self._drafts.open(needs_room=needs_room) as draft:
            yield DiskDraft(draft, self.locate(record_id), self._synced_folders)

    async def has(self, record_id: UUID) -> bool:
        """Return whether a file is there, as `Storage.has` says."""
        with translated_errors():
            return await in_thread(_exists, self.locate(record_id))

    async def delete(self, record_id: UUID) -> None:
        """Remove a file, as `Storage.delete` says."""
        with translated_errors():
            await in_thread(_unlink, self.locate(record_id))

    async def entries(self) -> AsyncIterator[Entry]:
        """Yield every file, as `Storage.entries` says."""
        for folder in await in_thread(lambda: sorted(self._directory.glob("[0-9a-f][0-9a-f]"))):
            for entry in await in_thread(_scan, folder):
                yield entry


class DiskDraft:
    """A draft that becomes a file by a link.

    `synced_folders` are the folders whose names are known to be on disk.
    """

    def __init__(self, draft: LocalDraft, target: Path, synced_folders: set[Path]) -> None:
        self._draft = draft
        self._target = target
        self._synced_folders = synced_folders

    def fileno(self) -> int:
        """Return the descriptor, as `Draft.fileno` says."""
        return self._draft.descriptor

    async def commit(self, seal: Callable[[], None]) -> StoredFile:
        """Seal the draft and sync it, give it its name and sync the name, as `Draft.commit` says."""
        with translated_errors():
            return await to_the_end(in_thread(self._commit, seal))

    def _commit(self, seal: Callable[[], None]) -> StoredFile:
        seal()
        os.fsync(self._draft.descriptor)
        file = self._draft.measure()
        self._publish()
        return file

    def _publish(self) -> None:
        try:
            self._link()
        except FileNotFoundError:
            # Somebody has tidied the folder away, which was empty.
            self._synced_folders.discard(self._target.parent)
            self._link()

    def _link(self) -> None:
        if self._target.parent not in self._synced_folders:
            self._target.parent.mkdir(exist_ok=True)
            # Sync even a folder that existed: the process that made it may have been killed before it synced.
            _sync_directory(self._target.parent.parent)
            self._synced_folders.add(self._target.parent)
        folder = os.open(self._target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # With descriptors of folders, Python calls linkat, which follows the link in /proc; link does not.
            os.link(self._draft.path, self._target.name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=True)
            try:
                os.fsync(folder)
            except OSError:
                os.unlink(self._target.name, dir_fd=folder)
                raise
        finally:
            os.close(folder)


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)


def _exists(path: Path) -> bool:
    """Do as `Path.exists` does, but fail if the disk does."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    return True


def _scan(folder: Path) -> list[Entry]:
    entries = []
    with os.scandir(folder) as found:
        for file in found:
            with contextlib.suppress(FileNotFoundError):  # deleted just now
                record_id = parse_file_name(f"{folder.name}/{file.name}")
                if record_id is not None and file.is_file(follow_symlinks=False):
                    entries.append(Entry(record_id, datetime.fromtimestamp(file.stat().st_mtime, UTC)))
    return entries


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
