"""Runs resumable uploads in tasks of their own, because an upload outlives its requests."""

import asyncio
from typing import Any, Protocol
from uuid import UUID

import structlog

from service.cancellation import to_the_end
from service.errors import MalformedRequest, ServiceError
from service.refusals import UPLOAD_NOT_FOUND
from service.uploads.intake import IncomingUpload, Intake, Taken
from service.uploads.live import LiveUpload, LiveUploads
from service.uploads.resumable_body import Attachment

log = structlog.stdlib.get_logger()


class OfferedUpload(IncomingUpload, Protocol):
    """An upload that may come in several requests. `admitted` is done when it is under way, with its id."""

    admitted: asyncio.Future[UUID]


class Resumption:
    """The resumable uploads of this process, from their creation to their records."""

    def __init__(self, intake: Intake, live: LiveUploads) -> None:
        self._intake = intake
        self._live = live
        self._tasks: dict[UUID, asyncio.Task[Taken]] = {}

    async def begin(self, offered: OfferedUpload) -> LiveUpload | Taken:
        """Begin an upload, and return it as soon as it is under way. Raises any ServiceError.

        If an earlier upload with the same idempotency key has made its record, the record is returned.
        """
        task = asyncio.create_task(self._intake(offered))
        try:
            await _first_of(task, offered.admitted)
        except asyncio.CancelledError:
            task.cancel()
            await to_the_end(asyncio.wait({task}))
            if not task.cancelled():
                task.exception()  # else asyncio would log an error that nobody has asked for
            raise
        if not offered.admitted.done():
            return await task
        upload_id = offered.admitted.result()
        self._tasks[upload_id] = task
        task.add_done_callback(lambda ended: self._forget(upload_id, ended))
        live = self._live.find(upload_id)
        return live if live is not None else await task

    async def append_first(self, live: LiveUpload, attachment: Attachment, byte_count: int | None) -> Taken | None:
        """Do what `append` does, with the request that created the upload. If it is malformed, nothing is left."""
        try:
            return await self.append(live, attachment, 0, byte_count)
        except MalformedRequest:
            await live.cancel()  # its client is told nothing of an upload
            raise

    async def append(
        self, live: LiveUpload, attachment: Attachment, offset: int, byte_count: int | None
    ) -> Taken | None:
        """Add a request's bytes to an upload, and return its record if it is whole then, else None.

        Raises as `ResumableBody.attach` does, the error that ended the request, and the error that ended the upload,
        or NotFound if that was before the request began.
        """
        task = self._tasks.get(live.id)
        if task is None:  # the creation's answer may have waited for a client that reads slowly
            raise UPLOAD_NOT_FOUND()
        assert live.resumable is not None  # noqa: S101 - the caller has looked
        await live.resumable.attach(attachment, offset, byte_count)
        if not live.resumable.is_whole:
            await _first_of(task, attachment.taken)
            if attachment.taken.done() and not live.ended.is_set():
                return attachment.taken.result()
        return await asyncio.shield(task)

    async def wait_ended(self) -> None:
        """Wait until every upload has ended. The admission has told them to."""
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    def _forget(self, upload_id: UUID, ended: asyncio.Task[Taken]) -> None:
        del self._tasks[upload_id]
        error = None if ended.cancelled() else ended.exception()
        if error is not None and not isinstance(error, ServiceError):
            log.error("bug", exc_info=error)  # perhaps no request waits for it


async def _first_of(*futures: asyncio.Future[Any]) -> None:
    """Wait until one of them is done."""
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
