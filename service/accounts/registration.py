"""Who may become a user."""

import hmac
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from service.accounts import events
from service.accounts.address_limits import AddressLimits
from service.accounts.totals import TotalLimits
from service.database.pool import Database
from service.database.users import check_username, insert_user
from service.models import User
from service.refusals import REGISTRATION_CLOSED, REGISTRATION_TOKEN_REQUIRED

Mode = Literal["open", "token", "closed"]


@dataclass(frozen=True, slots=True)
class RegistrationPolicy:
    """Who may create users: anyone, who has the token, or nobody. Without a token, "token" lets nobody."""

    mode: Mode
    token: str | None

    @property
    def effective_mode(self) -> Mode:
        """Return `mode`, or "closed" if nobody can have the token because there is none."""
        return "closed" if self.mode == "token" and not self.token else self.mode

    def check(self, token: str | None, limits: AddressLimits, address: str | None) -> None:
        """Let pass who may create a user, by the token that the request has.

        Raises Forbidden if nobody may, NotAuthenticated for a wrong token, and TooManyRequests for one too many.
        """
        if self.mode == "closed":
            raise REGISTRATION_CLOSED()
        if self.mode == "open":
            return
        if token is not None and self.token and hmac.compare_digest(_as_sent(token), self.token.encode()):
            return
        if token is not None:
            limits.count_failure(address)
        raise REGISTRATION_TOKEN_REQUIRED()

    def describe(self) -> str:
        """Return a sentence for the operator."""
        if self.mode == "open":
            return "Anyone who reaches this service may create a user."
        if self.mode == "token" and self.token:
            return "Who has WAVEPRESS_REGISTRATION_TOKEN may create users."
        unset = " WAVEPRESS_REGISTRATION_TOKEN is not set." if self.mode == "token" else ""
        return f"Only `wavepress users create` creates users.{unset}"


def _as_sent(token: str) -> bytes:
    """Return a header's bytes. It may not be UTF-8."""
    return token.encode(errors="surrogateescape")


@dataclass(frozen=True, slots=True)
class Registration:
    """Creates users for requests, as far as the policy and the limits allow it."""

    database: Database
    policy: RegistrationPolicy
    limits: AddressLimits
    totals: TotalLimits

    def check(self, token: str | None, address: str | None) -> None:
        """Refuse by the headers alone who may not create a user, as `RegistrationPolicy.check` does."""
        self.policy.check(token, self.limits, address)

    async def create(self, username: str, address: str | None) -> tuple[User, UUID]:
        """Create a user and return it with its token, after a `check`.

        Raises Unprocessable for a bad name, TooManyRequests, StorageFull and Unavailable.
        """
        check_username(username)
        await self.totals.require_room_for_user()
        self.limits.count_registration(address)
        with self.totals.counting_user():
            user, token = await insert_user(self.database, username)
        events.note("user_created", user.id)
        return user, token
