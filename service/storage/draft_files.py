"""Keeps drafts on this machine: the files that MP3s are written into before anyone can see them."""

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import structlog

from service.cancellation import to_the_end
from service.errors import Unavailable
from service.ids import shortened
from service.refusals import STORAGE_FULL, STORAGE_UNAVAILABLE
from service.storage import Room, StoredFile
from service.threads import in_thread

log = structlog.stdlib.get_logger()

T = TypeVar("T")

_SUFFIX = ".mp3"
_FULL = {errno.ENOSPC, errno.EDQUOT}
_NO_NAMELESS_FILES = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}


@dataclass(frozen=True, slots=True)
class LocalDraft:
    """An open draft; `name` is None for a nameless one."""

    descriptor: int
    name: Path | None

    @property
    def path(self) -> Path:
        """The path by which it can be opened and linked while it is open."""
        return self.name or Path(f"/proc/self/fd/{self.descriptor}")

    def measure(self) -> StoredFile:
        """Read all of it, and return its size and its sha256. Blocking. Raises OSError."""
        with os.fdopen(self.descriptor, "rb", closefd=False) as file:
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return StoredFile(size=os.fstat(self.descriptor).st_size, sha256=sha256)

    @property
    def is_kept(self) -> bool:
        """Whether it has got another name, and has none of its own. To discard it then takes no time."""
        return self.name is None and os.fstat(self.descriptor).st_nlink > 0

    def discard(self) -> None:
        """Close it and remove its name. Raises OSError."""
        os.close(self.descriptor)
        if self.name is not None:
            self.name.unlink(missing_ok=True)


class Drafts:
    """A directory of drafts.

    `nameless` drafts (O_TMPFILE) vanish with the process that writes them. NFS and some other file systems do not
    have them. There, and with `nameless=False`, drafts are named and locked, and `prepare` removes those whose
    writer died.
    """

    def __init__(self, directory: Path, *, min_free_bytes: int = 0, nameless: bool = True) -> None:
        self.directory = directory
        self._min_free_bytes = min_free_bytes
        self._nameless = nameless
        self._had_room = True
        self._home: tuple[int, int] | None = None

    def prepare(self) -> None:
        """Make the directory and clear away abandoned drafts. Raises OSError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._home = _identity(self.directory.parent)
        for draft in self.directory.iterdir():
            _remove_if_abandoned(draft)

    def room(self) -> Room:
        """Return how much room there is. Blocking. Raises OSError."""
        state = self._within(lambda: os.statvfs(self.directory))
        return Room(self.directory.absolute(), state.f_bavail * state.f_frsize, self._min_free_bytes)

    async def require_room(self) -> None:
        """Raise StorageFull if less than `min_free_bytes` are free, and Unavailable if the disk does not answer.

        The refusal does not say where and how much. The log does, each time that room runs out or is there again.
        """
        with translated_errors():
            self._require(await in_thread(self.room))

    def _require(self, room: Room) -> None:
        if room.is_enough != self._had_room:
            self._had_room = room.is_enough
            (log.info if room.is_enough else log.warning)("room", detail=str(room))
        if not room.is_enough:
            raise OSError(errno.ENOSPC, str(room))

    @contextlib.asynccontextmanager
    async def open(self, *, needs_room: bool = True) -> AsyncIterator[LocalDraft]:
        """Open a draft for the length of the block, as `Storage.draft` says."""
        opened = []

        def open_if_there_is_room() -> Room:
            room = self.room()
            if room.is_enough or not needs_room:
                opened.append(self._open_now())
            return room

        try:
            with translated_errors():
                room = await in_thread(open_if_there_is_room)
                if needs_room:
                    self._require(room)
            yield opened[0]
        finally:
            for draft in opened:
                if draft.is_kept:
                    draft.discard()
                else:
                    await to_the_end(in_thread(draft.discard))  # to free a large file takes a while

    def _open_now(self) -> LocalDraft:
        if self._nameless:
            try:
                return self._within(lambda: _open_nameless(self.directory))
            except OSError as error:
                if error.errno not in _NO_NAMELESS_FILES:
                    raise
        while True:
            if (draft := self._within(lambda: _open_named(self.directory))) is not None:
                return draft

    def _within(self, work: Callable[[], T]) -> T:
        """Do what needs the directory. If that was tidied away, because it was empty, make it again, once."""
        try:
            return work()
        except FileNotFoundError:
            # Not on what a volume that is not mounted leaves in its place.
            if self._home is None or _identity(self.directory.parent) != self._home:
                raise
            self.directory.mkdir(exist_ok=True)
            return work()


def _open_nameless(directory: Path) -> LocalDraft:
    return LocalDraft(os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600), None)


def _open_named(directory: Path) -> LocalDraft | None:
    """Open and lock a draft. None: before it was locked, another process took it for abandoned and removed it."""
    name = directory / f"{uuid4()}{_SUFFIX}"
    descriptor = os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # one that looks at it just now lets go at once
        if name.exists():
            return LocalDraft(descriptor, name)
    except OSError:
        os.close(descriptor)
        name.unlink(missing_ok=True)
        raise
    os.close(descriptor)
    return None


def _identity(directory: Path) -> tuple[int, int]:
    """Return what tells a directory from another one of the same name. Raises OSError."""
    state = directory.stat()
    return state.st_dev, state.st_ino


@contextlib.contextmanager
def translated_errors() -> Iterator[None]:
    """Raise StorageFull or Unavailable in place of the disk's errors, and log the latter."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise STORAGE_FULL() from error
        raise unavailable(str(error)) from error


def unavailable(reason: str) -> Unavailable:
    """Log why a storage does not work, without whole ids, and return a refusal that does not say why."""
    log.error("storage_failed", reason=shortened(reason))
    return STORAGE_UNAVAILABLE()


def _remove_if_abandoned(draft: Path) -> None:
    with contextlib.suppress(FileNotFoundError, BlockingIOError):  # another process has removed it, or writes it
        with draft.open("r+b") as file:  # NFS locks only what is open for writing
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            draft.unlink()
        log.info("abandoned_draft_removed", draft=draft.name)
