"""Small forms of the attacks of `make load`: they take next to no memory, and honest clients are served meanwhile."""

import asyncio
import os
from collections.abc import Callable

import pytest

from tests.support import attacks
from tests.support.client import Account, Service
from tests.support.database import query
from tests.support.invariants import GOOD_WAV
from tests.support.procfs import forget_peak, peak_resident_bytes, resident_bytes

CONNECTIONS = 100
# For each: Python's objects for both ends of a connection, the requests that it has taken, a page of a list.
MOST_BYTES = CONNECTIONS * 300 * 1024
LONG_NAMES = """
    INSERT INTO records (id, user_id, filename, duration, sample_rate, channels, bit_rate, size, sha256)
    SELECT gen_random_uuid(), %s, %s, 1, 44100, 2, 128000, 1, sha256('') FROM generate_series(1, 500)
"""
ATTACKS: dict[str, Callable[[str], attacks.Behaviour]] = {
    "unread lists": lambda token: attacks.ask_unread("/records?limit=500", token),
    "half requests": lambda _: attacks.drip,
    "pipelining": lambda _: attacks.pipeline("/openapi.json"),
    "registrations": lambda _: attacks.register(CONNECTIONS * 2),
}


@pytest.mark.parametrize("make", ATTACKS.values(), ids=ATTACKS)
async def test_attack_takes_little_memory_and_lets_others_in(
    service: Service, account: Account, database_url: str, make: Callable[[str], attacks.Behaviour]
) -> None:
    mallory = await service.create_user("mallory")
    query(database_url, LONG_NAMES, (mallory.id, "\N{SAXOPHONE}" * 1024))
    port = service.url.port
    assert port is not None
    attack = attacks.Attack("", CONNECTIONS, make(mallory.token), small_buffers=True)
    before = resident_bytes(os.getpid())
    forget_peak(os.getpid())
    async with asyncio.timeout(50), attacks.under(attack, port) as attackers:
        await attacks.until_established(attackers, 30)
        assert sum(attacker.is_established for attacker in attackers) == CONNECTIONS
        uploaded = await service.upload(account, GOOD_WAV)
        assert uploaded.status == 201
        assert (await service.get(uploaded.json["url"])).status == 200
    assert peak_resident_bytes(os.getpid()) - before < MOST_BYTES
