"""Whose a token is, and how a user gets a new one without ever being locked out."""

import contextlib
from dataclasses import dataclass
from uuid import UUID

from service.accounts import events
from service.database.pool import Database
from service.database.users import (
    FoundToken,
    find_token,
    note_token_use,
    offer_token,
    update_token,
    use_offered_token,
)
from service.errors import ServiceError
from service.models import User
from service.refusals import TOKEN_EXPIRED, UNKNOWN_TOKEN, USER_DISABLED

# A token's last use is written at most once in this many seconds, so that most requests write nothing.
_USE_SECONDS = 60.0
# Another request may renew the token at the same moment.
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of all users. One lives for `lifetime_seconds`; None means for ever."""

    database: Database
    lifetime_seconds: float | None = None

    async def identify(self, token: str) -> User:
        """Return whose token this is. The first use of a renewed token makes it the user's only one.

        Raises NotAuthenticated if it is nobody's or has expired, Forbidden if its user is disabled, and Unavailable.
        """
        found = await self._find(token)
        if found.user.is_disabled:
            raise USER_DISABLED()
        if found.is_expired:
            raise TOKEN_EXPIRED()
        if found.is_pending:
            await use_offered_token(self.database, found.user)
            events.note("token_replaced", found.user.id)
        elif not found.is_use_noted:
            with contextlib.suppress(ServiceError):  # it is logged; the date may be older than it should be
                await note_token_use(self.database, found.user)
        return found.user

    async def renew(self, token: str) -> UUID:
        """Return a new token for the user whose token this is; the old one is dead when the new one is first used.

        So an answer that is lost locks nobody out: ask again with the old one. Raises as `identify` does.
        """
        user = await self.identify(token)
        for _ in range(_TRIES):
            found = await self._find(token)
            new = await offer_token(self.database, user, found.pending_sha256)
            if new is not None:
                events.note("token_offered", user.id)
                return new
        raise UNKNOWN_TOKEN()

    async def replace(self, user_id: int) -> UUID | None:
        """Return a new token for a user, or None if there is no such user. The old one is dead at once."""
        new = await update_token(self.database, user_id)
        if new is not None:
            events.note("token_replaced", user_id)
        return new

    async def _find(self, token: str) -> FoundToken:
        found = await find_token(self.database, token, lifetime_seconds=self.lifetime_seconds, use_seconds=_USE_SECONDS)
        if found is None:
            raise UNKNOWN_TOKEN()
        return found
