"""How often one client address may do something: a bucket for each address, in bounded memory."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address

import structlog

from service import metrics
from service.refusals import TOO_MANY_FAILURES, TOO_MANY_REGISTRATIONS

log = structlog.stdlib.get_logger()

# A provider gives a customer at least this many of an IPv6 address's bits for all devices together.
_CUSTOMER_BITS = 64
# About 2 MB. The addresses that have been quiet for longest are forgotten first.
_MAX_ADDRESSES = 10_000
_LONGEST_TEXT = 64


@dataclass(slots=True)
class _Bucket:
    level: float
    filled_at: float
    is_reported: bool = False


class AddressLimit:
    """At most `most` at once from one address, and again as many in each `seconds`; 0 stands for no limit.

    Each process counts for itself, and forgets all but the 10,000 addresses that were seen last.
    """

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._rate = most / seconds
        self._clock = clock
        self._buckets = OrderedDict[str, _Bucket]()

    def take(self, address: str | None) -> int:
        """Take one, and return 0; if the address has none left, return after how many seconds it has one again."""
        if not self._most:
            return 0
        bucket = self._filled(_owner(address))
        if bucket.level < 1:
            return max(1, math.ceil((1 - bucket.level) / self._rate))
        bucket.level -= 1
        return 0

    def is_news(self, address: str | None) -> bool:
        """Return whether this is the first time that the address has nothing left, since it had half."""
        bucket = self._filled(_owner(address))
        is_news, bucket.is_reported = not bucket.is_reported, True
        return is_news

    def _filled(self, owner: str) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.setdefault(owner, _Bucket(self._most, now))
        self._buckets.move_to_end(owner)
        if len(self._buckets) > _MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        bucket.level = min(self._most, bucket.level + (now - bucket.filled_at) * self._rate)
        bucket.filled_at = now
        bucket.is_reported = bucket.is_reported and bucket.level < self._most / 2
        return bucket


@dataclass(frozen=True, slots=True)
class AddressLimits:
    """What one client address may do: create users, and send wrong tokens."""

    registrations: AddressLimit
    failures: AddressLimit

    def count_registration(self, address: str | None) -> None:
        """Count an attempt to create a user. Raises TooManyRequests if that is one too many."""
        if seconds := self.registrations.take(address):
            if self.registrations.is_news(address):
                log.warning("many_registrations", remote=address)
            raise TOO_MANY_REGISTRATIONS(retry_after_seconds=seconds)

    def count_failure(self, address: str | None) -> None:
        """Count a wrong token. Raises TooManyRequests if that is one too many.

        The right token of somebody else at the address is never refused: many people may share it, or an operator
        may have forgotten to name a proxy. Guessing is hopeless anyway; a token has 122 random bits.
        """
        metrics.FAILED_AUTHENTICATIONS.inc()
        if seconds := self.failures.take(address):
            if self.failures.is_news(address):
                metrics.SUSPICIOUS_ADDRESSES.inc()
                log.warning("repeated_failures", remote=address)
            raise TOO_MANY_FAILURES(retry_after_seconds=seconds)


def _owner(address: str | None) -> str:
    """Return what stands for all addresses that one client has: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        parsed = ip_address((address or "").partition("%")[0])
    except ValueError:
        return (address or "")[:_LONGEST_TEXT]
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(IPv6Network((parsed, _CUSTOMER_BITS), strict=False))
    return str(parsed)
