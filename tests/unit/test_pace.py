"""How slowly an upload may arrive, and how long it may take."""

from collections.abc import AsyncIterator

import pytest

from service.errors import ClientStalled
from service.uploads.pace import Pace

PLAYING_RATE = 100_000


class Line:
    """A connection with a clock: a piece comes every `seconds`, and we take `own_seconds` for it."""

    def __init__(self, byte_count: int, seconds: float, own_seconds: float = 0) -> None:
        self._byte_count, self._seconds, self._own_seconds = byte_count, seconds, own_seconds
        self._now = 0.0

    async def pieces(self) -> AsyncIterator[bytes]:
        for _ in range(100):
            self._now += self._seconds
            yield bytes(self._byte_count)

    async def outcome(self, *, is_crowded: bool, max_seconds: float = 90_000) -> str:
        pace = Pace(lambda: is_crowded, 30, max_seconds, began_at=0, clock=lambda: self._now)
        try:
            async for _ in pace.watch(self.pieces(), PLAYING_RATE):
                self._now += self._own_seconds
        except ClientStalled as refusal:
            return refusal.code
        return "taken"


@pytest.mark.parametrize(("is_crowded", "expected"), [(False, "taken"), (True, "slow_body")])
async def test_upload_slower_than_its_sound_is_ended_only_while_others_wait(*, is_crowded: bool, expected: str) -> None:
    assert await Line(PLAYING_RATE // 2, seconds=1).outcome(is_crowded=is_crowded) == expected


@pytest.mark.parametrize("seconds", [0.1, 1, 5, 29])
async def test_live_recording_is_never_ended(seconds: float) -> None:
    line = Line(int(PLAYING_RATE * seconds), seconds)
    assert await line.outcome(is_crowded=True) == "taken"


async def test_own_slowness_does_not_count_against_the_client() -> None:
    """The client sends at twice its playing rate, and the encoder takes ten times as long."""
    assert await Line(PLAYING_RATE * 2, seconds=1, own_seconds=10).outcome(is_crowded=True) == "taken"


async def test_upload_ends_when_its_time_is_over() -> None:
    assert await Line(PLAYING_RATE, seconds=1).outcome(is_crowded=False, max_seconds=50) == "upload_too_slow"
