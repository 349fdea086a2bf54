"""The composition of what decides about users: settings in, its parts out."""

from typing import NamedTuple

from service.accounts.address_limits import AddressLimit, AddressLimits
from service.accounts.registration import Registration, RegistrationPolicy
from service.accounts.tokens import Tokens
from service.accounts.totals import TotalLimits
from service.database.pool import Database
from service.settings import Settings

_HOUR_SECONDS = 3600.0
_MINUTE_SECONDS = 60.0


class Accounts(NamedTuple):
    """What decides about users."""

    tokens: Tokens
    registration: Registration
    address_limits: AddressLimits
    totals: TotalLimits


def make_accounts(settings: Settings, database: Database) -> Accounts:
    """Build what decides about users, as the settings have it."""
    host = settings.host
    totals = TotalLimits(database, max_users=settings.max_users, max_bytes=settings.max_bytes)
    limits = AddressLimits(
        registrations=AddressLimit(settings.registrations_per_address(host), _HOUR_SECONDS),
        failures=AddressLimit(settings.failures_per_address(host), _MINUTE_SECONDS),
    )
    registration = Registration(database, make_registration_policy(settings), limits, totals)
    return Accounts(Tokens(database, settings.token_seconds), registration, limits, totals)


def make_registration_policy(settings: Settings) -> RegistrationPolicy:
    """Return who may create users, as the settings have it."""
    token = settings.registration_token
    return RegistrationPolicy(settings.registration_mode(settings.host), token.get_secret_value() if token else None)
