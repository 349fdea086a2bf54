"""The buckets of client addresses: how they fill, whose they are, and how many there may be."""

import pytest

from service.accounts import address_limits
from service.accounts.address_limits import AddressLimit


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_full_bucket_gives_all_at_once_and_then_says_how_long_to_wait(clock: Clock) -> None:
    limit = AddressLimit(100, 3600, clock)
    assert [limit.take("192.0.2.1") for _ in range(101)] == [0] * 100 + [36]


def test_a_bucket_fills_again_up_to_its_size(clock: Clock) -> None:
    limit = AddressLimit(2, 60, clock)
    assert [limit.take("192.0.2.1") for _ in range(3)] == [0, 0, 30]
    clock.now += 29
    assert limit.take("192.0.2.1") == 1
    clock.now += 1
    assert [limit.take("192.0.2.1") for _ in range(2)] == [0, 30]
    clock.now += 3600
    assert [limit.take("192.0.2.1") for _ in range(3)] == [0, 0, 30]


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("unknown", "unknown", True),
        ("unknown", "hidden", False),
        (None, "", True),
        ("x" * 64 + "1", "x" * 64 + "2", True),
    ],
)
def test_addresses_of_one_customer_share_a_bucket(clock: Clock, one: str | None, other: str, *, share: bool) -> None:
    limit = AddressLimit(1, 60, clock)
    assert limit.take(one) == 0
    assert bool(limit.take(other)) == share


def test_no_limit_counts_nothing(clock: Clock) -> None:
    limit = AddressLimit(0, 60, clock)
    assert {limit.take("192.0.2.1") for _ in range(1000)} == {0}


def test_memory_is_bounded_and_the_quietest_address_is_forgotten(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address_limits, "_MAX_ADDRESSES", 3)
    limit = AddressLimit(1, 60, clock)
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.1", "192.0.2.4"):
        limit.take(address)
    assert limit.take("192.0.2.1") > 0
    assert limit.take("192.0.2.2") == 0


def test_an_address_is_news_once_until_it_has_been_quiet(clock: Clock) -> None:
    limit = AddressLimit(10, 60, clock)
    for _ in range(10):
        limit.take("192.0.2.1")
    assert [limit.is_news("192.0.2.1") for _ in range(3)] == [True, False, False]
    clock.now += 20
    assert not limit.is_news("192.0.2.1")
    clock.now += 10
    assert limit.is_news("192.0.2.1")
