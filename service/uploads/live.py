"""The uploads that are under way in this process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

from service.database.ended_uploads import insert_ended_upload
from service.database.pool import Database
from service.errors import ServiceError
from service.models import User
from service.refusals import CANNOT_KEEP, DATABASE_UNAVAILABLE, UPLOAD_CUT, UPLOAD_NOT_FOUND
from service.uploads.broadcast import Broadcast
from service.uploads.progress import Progress
from service.uploads.resumable_body import ResumableBody

State = Literal["receiving", "suspended", "finishing"]


@dataclass(eq=False, slots=True)
class LiveUpload:
    """An upload under way; its `id` becomes its record's.

    `resumable` is None if it comes in one request. `length` is how many bytes that request has, or None. `cut` ends
    the connection of that request. `keeps_incomplete`: what arrives may become a record without the rest.
    """

    id: UUID
    user: User
    filename: str
    length: int | None
    resumable: ResumableBody | None
    cut: Callable[[], None]
    keeps_incomplete: bool
    progress: Progress = field(default_factory=Progress)
    broadcast: Broadcast = field(default_factory=Broadcast)
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _end: ServiceError | None = None

    @property
    def body_length(self) -> int | None:
        """How many bytes its requests bring, with a form around the WAV if there is one; None: nobody knows."""
        return self.length if self.resumable is None else self.resumable.length

    @property
    def state(self) -> State:
        """What happens now: bytes arrive, or the next request is awaited, or the end is on its way."""
        if self.progress.is_finishing:
            return "finishing"
        return "suspended" if self.resumable is not None and self.resumable.is_suspended else "receiving"

    @property
    def is_cancelled(self) -> bool:
        """Whether its owner has ended it."""
        return self._end is not None

    async def cancel(self) -> None:
        """End the upload, and wait until nothing is left of it or, if it is too late for that, until it is kept."""
        self._end = UPLOAD_NOT_FOUND()
        if self.resumable is not None:
            self.resumable.end(self._end)
        else:
            self.cut()
        await self.ended.wait()

    async def cut_short(self) -> None:
        """End the upload with what has arrived, and wait until that is kept.

        Raises Unprocessable if it may not be kept without the rest; the upload then goes on.
        """
        if not self.keeps_incomplete:
            raise CANNOT_KEEP()
        if self.resumable is not None:
            self.resumable.end(UPLOAD_CUT())
        else:
            self.cut()
        await self.ended.wait()

    async def uncancelled(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the pieces until the upload is cancelled. Raises NotFound then."""
        async for piece in pieces:
            if self._end is not None:
                raise self._end
            yield piece
            del piece  # else it would stay until the next one comes


class LiveUploads:
    """The uploads under way in this process, and what becomes of those that fail."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._uploads: dict[UUID, LiveUpload] = {}

    def find(self, upload_id: UUID) -> LiveUpload | None:
        """Return the upload of that id, if it is under way here."""
        return self._uploads.get(upload_id)

    def of_user(self, user_id: int) -> list[LiveUpload]:
        """Return the user's uploads that are under way here, newest first."""
        own = [upload for upload in self._uploads.values() if upload.user.id == user_id]
        return sorted(own, key=lambda upload: upload.created_at, reverse=True)

    @contextlib.asynccontextmanager
    async def entry(self, upload: LiveUpload) -> AsyncIterator[None]:
        """List the upload for the length of the block. If a refusal ends the block, its owner can ask for it later."""
        self._uploads[upload.id] = upload
        try:
            yield
        except ServiceError as error:
            if not upload.is_cancelled and error.code != DATABASE_UNAVAILABLE.code:
                with contextlib.suppress(ServiceError):  # it is logged; the client of a plain upload knows already
                    await insert_ended_upload(self._database, upload.id, upload.user.id, error)
            raise
        finally:
            del self._uploads[upload.id]
            upload.ended.set()
            if upload.resumable is not None:
                upload.resumable.close()


def require_owner(upload: LiveUpload | None, user: User) -> LiveUpload:
    """Return the upload if it is the user's. Raises NotFound."""
    if upload is None or upload.user.id != user.id:
        raise UPLOAD_NOT_FOUND()
    return upload
