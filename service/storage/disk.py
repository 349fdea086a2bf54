"""Keeps MP3s in a directory, by way of nameless drafts that a crash cannot leave behind."""

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import structlog

from service.critical import to_the_end
from service.errors import StorageFull, Unavailable
from service.storage import Entry, StoredFile

log = structlog.stdlib.get_logger()

_SUFFIX = ".mp3"
_FULL = {errno.ENOSPC, errno.EDQUOT}
_NO_NAMELESS_FILES = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}


class DiskStorage:
    """A directory with one file per record, spread over up to 256 folders by the id's first two digits.

    `nameless` drafts (O_TMPFILE) vanish with the process that writes them. NFS and some other file systems
    have none; there, and with `nameless=False`, drafts are named and locked, and `prepare` removes those whose
    writer died.
    """

    def __init__(self, directory: Path, *, min_free_bytes: int = 0, nameless: bool = True) -> None:
        self._directory = directory
        self._drafts = directory / "drafts"
        self._min_free_bytes = min_free_bytes
        self._nameless = nameless
        self._synced_folders: set[Path] = set()

    def prepare(self) -> None:
        """Make the folders and clear away abandoned drafts. Raises OSError."""
        self._drafts.mkdir(parents=True, exist_ok=True)
        for draft in self._drafts.iterdir():
            _remove_if_abandoned(draft)

    def path(self, record_id: UUID) -> Path:
        """Return where a record's MP3 is, or would be."""
        return self._directory / record_id.hex[:2] / f"{record_id}{_SUFFIX}"

    async def require_room(self) -> None:
        """Refuse uploads while less than `min_free_bytes` are free, as `Storage.require_room` says."""
        with _translated_errors():
            state = await asyncio.to_thread(os.statvfs, self._drafts)
            if state.f_bavail * state.f_frsize < self._min_free_bytes:
                raise OSError(errno.ENOSPC, "less than the reserve is free")

    @contextlib.asynccontextmanager
    async def draft(self, record_id: UUID) -> AsyncIterator["DiskDraft"]:
        """Open a draft, as `Storage.draft` says."""
        with _translated_errors():
            opened = await self._open()
        try:
            yield DiskDraft(*opened, self.path(record_id), self._synced_folders)
        finally:
            _discard(*opened)

    async def delete(self, record_id: UUID) -> None:
        """Remove a file, as `Storage.delete` says."""
        with _translated_errors():
            await asyncio.to_thread(self.path(record_id).unlink, missing_ok=True)

    async def entries(self) -> AsyncIterator[Entry]:
        """Yield every file, as `Storage.entries` says."""
        for folder in await asyncio.to_thread(lambda: sorted(self._directory.glob("[0-9a-f][0-9a-f]"))):
            for entry in await asyncio.to_thread(_scan, folder):
                yield entry

    async def _open(self) -> tuple[int, Path | None]:
        opening = asyncio.create_task(asyncio.to_thread(self._open_draft))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            with contextlib.suppress(OSError):
                _discard(*await to_the_end(opening))  # the thread does not know that nobody wants it any more
            raise

    def _open_draft(self) -> tuple[int, Path | None]:
        if self._nameless:
            try:
                return os.open(self._drafts, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600), None
            except OSError as error:
                if error.errno not in _NO_NAMELESS_FILES:
                    raise
        name = self._drafts / f"{uuid4()}{_SUFFIX}"
        descriptor = os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return descriptor, name


class DiskDraft:
    """A draft on the disk; `name` is None for a nameless one.

    `synced_folders` are those of whose own names it is known that they are on the disk.
    """

    def __init__(self, descriptor: int, name: Path | None, target: Path, synced_folders: set[Path]) -> None:
        self._descriptor = descriptor
        self._name = name
        self._target = target
        self._synced_folders = synced_folders

    def fileno(self) -> int:
        """Return the descriptor, as `Draft.fileno` says."""
        return self._descriptor

    async def commit(self) -> StoredFile:
        """Sync the draft, give it its name and sync the name, as `Draft.commit` says."""
        with _translated_errors():
            return await to_the_end(asyncio.to_thread(self._commit))

    def _commit(self) -> StoredFile:
        os.fsync(self._descriptor)
        with os.fdopen(self._descriptor, "rb", closefd=False) as file:
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size = os.fstat(self._descriptor).st_size
        self._publish()
        return StoredFile(size=size, sha256=sha256)

    def _publish(self) -> None:
        source = self._name or f"/proc/self/fd/{self._descriptor}"
        if self._target.parent not in self._synced_folders:
            self._target.parent.mkdir(exist_ok=True)
            # Even if it was there: who made it may have been killed before this.
            _sync_directory(self._target.parent.parent)
            self._synced_folders.add(self._target.parent)
        folder = os.open(self._target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # With descriptors of folders Python calls linkat, which follows /proc's link; plain link does not.
            os.link(source, self._target.name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=True)
            try:
                os.fsync(folder)
            except OSError:
                os.unlink(self._target.name, dir_fd=folder)
                raise
        finally:
            os.close(folder)


def _scan(folder: Path) -> list[Entry]:
    entries = []
    with os.scandir(folder) as found:
        for file in found:
            with contextlib.suppress(FileNotFoundError):  # deleted just now
                record_id = _record_id(folder, file.name)
                if record_id is not None and file.is_file(follow_symlinks=False):
                    entries.append(Entry(record_id, datetime.fromtimestamp(file.stat().st_mtime, UTC)))
    return entries


def _record_id(folder: Path, name: str) -> UUID | None:
    """Return whose file that is; None for what we would not have named so, which is none of our business."""
    try:
        record_id = UUID(name.removesuffix(_SUFFIX))
    except ValueError:
        return None
    return record_id if name == f"{record_id}{_SUFFIX}" and folder.name == record_id.hex[:2] else None


def _discard(descriptor: int, name: Path | None) -> None:
    os.close(descriptor)
    if name is not None:
        name.unlink(missing_ok=True)


def _remove_if_abandoned(draft: Path) -> None:
    with contextlib.suppress(FileNotFoundError, BlockingIOError):  # removed by another just now; being written
        with draft.open("r+b") as file:  # NFS locks only what is open for writing
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            draft.unlink()
        log.info("abandoned_draft_removed", draft=draft.name)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull("storage_full", "There is no room for this recording now. Try again later.") from error
        log.error("storage_failed", reason=str(error))
        raise Unavailable("storage_unavailable", "Recordings cannot be kept now. Try again later.") from error
