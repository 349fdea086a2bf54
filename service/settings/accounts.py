"""The settings about users: who may become one, and what all of them may do together."""

from typing import Literal

from pydantic import BaseModel, Field, SecretStr, field_validator

from service.settings.values import is_loopback

# Where many people share an address, fewer would lock some of them out.
_LEAST_PER_ADDRESS = 100
_DAY_SECONDS = 86_400
# A century. PostgreSQL cannot add up much longer times, and every request would fail.
_MOST_DAYS = 36_500


class AccountSettings(BaseModel):
    """A part of `service.settings.Settings`, which adds `host`."""

    registration: Literal["open", "token", "closed"] | None = Field(
        default=None,
        description="Who may create users: `open` anyone, `token` those who have REGISTRATION_TOKEN, `closed` nobody; "
        "unset: `open` if HOST is loopback, else `token`",
    )
    registration_token: SecretStr | None = Field(
        default=None, description="Token for creating users; unset: with `token` only `wavepress users create` does"
    )
    max_registrations_per_address: int | None = Field(
        default=None,
        examples=[1000],
        description="Users that one client address may create at once, and again in each hour: at least 100, or 0 for "
        "no limit; unset: 100, or 0 if HOST is loopback",
    )
    max_failures_per_address: int | None = Field(
        default=None,
        ge=0,
        examples=[1000],
        description="Wrong tokens that one client address may send at once, and again in each minute; 0 for no limit; "
        "unset: 100, or 0 if HOST is loopback",
    )
    token_days: float | None = Field(
        default=None, gt=0, le=_MOST_DAYS, examples=[30], description="Days after which a token expires; unset: never"
    )
    max_users: int | None = Field(
        default=None, ge=1, examples=[1000], description="Users in all; more: 507; unset: no limit"
    )
    max_bytes: int | None = Field(
        default=None,
        ge=1,
        examples=[10**12],
        description="Bytes of MP3 that all users may keep together; more: 507; unset: no limit",
    )
    retention_days: float | None = Field(
        default=None,
        gt=0,
        le=_MOST_DAYS,
        examples=[365],
        description="Days after which a record that is made now is removed; unset: never",
    )

    @field_validator("max_registrations_per_address")
    @classmethod
    def _require_enough(cls, most: int | None) -> int | None:
        if most is not None and most != 0 and most < _LEAST_PER_ADDRESS:
            raise ValueError(f"must be at least {_LEAST_PER_ADDRESS}, or 0 for no limit")
        return most

    def registration_mode(self, host: str) -> Literal["open", "token", "closed"]:
        """Return `registration`, or its default for a service that listens on `host`."""
        return self.registration or ("open" if is_loopback(host) else "token")

    def registrations_per_address(self, host: str) -> int:
        """Return `max_registrations_per_address`, or its default; 0 stands for no limit."""
        return _or_default(self.max_registrations_per_address, host)

    def failures_per_address(self, host: str) -> int:
        """Return `max_failures_per_address`, or its default; 0 stands for no limit."""
        return _or_default(self.max_failures_per_address, host)

    @property
    def token_seconds(self) -> float | None:
        """Return `token_days` in seconds."""
        return self.token_days * _DAY_SECONDS if self.token_days is not None else None

    @property
    def retention_seconds(self) -> float | None:
        """Return `retention_days` in seconds."""
        return self.retention_days * _DAY_SECONDS if self.retention_days is not None else None


def _or_default(most: int | None, host: str) -> int:
    if most is not None:
        return most
    return 0 if is_loopback(host) else _LEAST_PER_ADDRESS
