"""Ends running uploads whose user has been deleted or disabled, or whose token has been replaced."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from uuid import UUID

from service.background import going_on
from service.database.pool import Database
from service.database.revocations import select_revoked
from service.models import User
from service.refusals import UNKNOWN_TOKEN, USER_DISABLED

_LOOK_SECONDS = 2.0


class Revocations:
    """The uploads that run in this process, and which of them may not go on.

    What is found here ends an upload early. Whether it is kept is decided when its row is inserted.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._uploads: dict[UUID, User] = {}
        self._revoked: dict[UUID, bool] = {}

    @contextlib.contextmanager
    def watched(self, upload_id: UUID, user: User) -> Iterator[None]:
        """Look after an upload for the length of the block."""
        self._uploads[upload_id] = user
        try:
            yield
        finally:
            del self._uploads[upload_id]
            self._revoked.pop(upload_id, None)

    async def allowed(self, upload_id: UUID, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield an upload's pieces as long as it may go on. Raises Forbidden or NotAuthenticated after that."""
        async for piece in pieces:
            if upload_id in self._revoked:
                raise USER_DISABLED() if self._revoked[upload_id] else UNKNOWN_TOKEN()
            yield piece
            del piece  # else it would stay until the next one comes

    async def look_for_ever(self) -> None:
        """Find out every few seconds which uploads may not go on, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            with going_on("revocation"):
                if self._uploads:
                    revoked = await select_revoked(self._database, self._uploads)
                    self._revoked = {
                        upload: disabled for upload, disabled in revoked.items() if upload in self._uploads
                    }
