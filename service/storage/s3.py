"""Keeps MP3s in an S3-compatible store; while it is encoded, an MP3 is a draft on this machine."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import UUID

import structlog
from obstore.exceptions import BaseError
from obstore.store import S3Store

from service.cancellation import to_the_end
from service.storage import Entry, Room, StoredFile, file_name, parse_file_name
from service.storage.draft_files import Drafts, LocalDraft, translated_errors
from service.storage.s3_errors import failed, reason, translated_store_errors
from service.storage.s3_file import S3File
from service.threads import in_thread

log = structlog.stdlib.get_logger()

# All parts but the last have the same size, as some stores require.
_PART_BYTES = 8 * 2**20
_PARTS_AT_A_TIME = 2
_READS_AT_A_TIME = 16
# S3Store retries requests that surely failed. One that timed out may have succeeded, so we look before we put again.
_RETRY_PAUSES_SECONDS = (0.5, 2.0)
# No object ever has this prefix, so listing it costs the store little and shows whether it answers.
_NOTHING = "check"


class S3Storage:
    """One object per record, named like the files of `DiskStorage`."""

    def __init__(self, store: S3Store, drafts: Drafts) -> None:
        self._store = store
        self._drafts = drafts
        self._turns = asyncio.Semaphore(_READS_AT_A_TIME)

    @property
    def draft_directory(self) -> Path:
        """Where drafts are written, as `Storage.draft_directory` says."""
        return self._drafts.directory

    def prepare(self) -> None:
        """Prepare the drafts, without a request to the store. Raises OSError."""
        self._drafts.prepare()

    def locate(self, record_id: UUID) -> "S3File":
        """Return the object of a record's MP3, as `Storage.locate` says."""
        return S3File(self._store, file_name(record_id), self._turns)

    def room(self) -> Room:
        """Return the drafts' room, as `Storage.room` says."""
        return self._drafts.room()

    async def require_room(self) -> None:
        """Refuse uploads while there is too little room for drafts, as `Storage.require_room` says."""
        await self._drafts.require_room()

    async def check(self) -> None:
        """Check that a draft can be opened and the bucket be listed, as `Storage.check` says."""
        async with self._drafts.open():
            pass
        with translated_store_errors():
            await self._store.list(_NOTHING).collect_async()

    @contextlib.asynccontextmanager
    async def draft(self, record_id: UUID, *, needs_room: bool = True) -> AsyncIterator["S3Draft"]:
        """Open a draft, as `Storage.draft` says."""
        async with self._drafts.open(needs_room=needs_room) as draft:
            yield S3Draft(self._store, file_name(record_id), draft)

    async def has(self, record_id: UUID) -> bool:
        """Return whether an object is there, as `Storage.has` says."""
        with translated_store_errors():
            try:
                await self._store.head_async(file_name(record_id))
            except FileNotFoundError:
                return False
            return True

    async def delete(self, record_id: UUID) -> None:
        """Remove an object, as `Storage.delete` says."""
        with translated_store_errors():
            await self._store.delete_async(file_name(record_id))

    async def entries(self) -> AsyncIterator[Entry]:
        """Yield every MP3, as `Storage.entries` says."""
        with translated_store_errors():
            async for page in self._store.list():
                for found in page:
                    if (record_id := parse_file_name(found["path"])) is not None:
                        yield Entry(record_id, found["last_modified"])


class S3Draft:
    """A draft that becomes an object when it is committed."""

    def __init__(self, store: S3Store, key: str, draft: LocalDraft) -> None:
        self._store = store
        self._key = key
        self._draft = draft

    def fileno(self) -> int:
        """Return the descriptor, as `Draft.fileno` says."""
        return self._draft.descriptor

    async def commit(self, seal: Callable[[], None]) -> StoredFile:
        """Seal the draft, put it into the store and check that it is there, as `Draft.commit` says."""
        return await to_the_end(self._commit(seal))

    async def _commit(self, seal: Callable[[], None]) -> StoredFile:
        with translated_errors():
            file = await in_thread(self._sealed, seal)
        for pause in _RETRY_PAUSES_SECONDS:
            try:
                return await self._put(file)
            except (BaseError, OSError) as error:
                log.warning("storage_retry", reason=reason(error))
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads the retries out
        try:
            return await self._put(file)
        except (BaseError, OSError) as error:
            # It may still have arrived. If this fails too, the sweep removes it.
            with contextlib.suppress(BaseError, OSError):
                await self._store.delete_async(self._key)
            raise failed(error) from error

    def _sealed(self, seal: Callable[[], None]) -> StoredFile:
        seal()
        return self._draft.measure()

    async def _put(self, file: StoredFile) -> StoredFile:
        try:
            await self._store.put_async(
                self._key, self._draft.path, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_A_TIME
            )
        except BaseError:
            # A put that timed out may have succeeded. Nobody else uses this key, and an object is whole or not there.
            if await self._size() == file.size:
                return file
            raise
        if (size := await self._size()) != file.size:
            raise OSError(f"the store has {size} bytes of {file.size}")
        return file

    async def _size(self) -> int | None:
        try:
            return (await self._store.head_async(self._key))["size"]
        except FileNotFoundError:
            return None
