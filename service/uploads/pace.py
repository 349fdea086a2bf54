"""Ends an upload that arrives too slowly or takes too long in all."""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from service.refusals import SLOW_BODY, UPLOAD_TOO_SLOW

# A live recording arrives at its playing rate, but not evenly.
_SHARE_OF_PLAYING_RATE = 0.8


@dataclass(frozen=True, slots=True)
class Pace:
    """The time limits of one upload.

    It must end within `max_seconds` after `began_at`, a time of `clock`. While `is_crowded` says that others wait, it
    must arrive at nearly the rate at which the WAV plays, as a live recording does. The rate is measured over
    `window_seconds`, without the `suspended_seconds`, in which the upload takes nobody's place.
    """

    is_crowded: Callable[[], bool]
    window_seconds: float
    max_seconds: float
    began_at: float
    suspended_seconds: Callable[[], float] = float
    clock: Callable[[], float] = time.monotonic

    async def watch(self, pieces: AsyncIterator[bytes], playing_rate: float) -> AsyncIterator[bytes]:
        """Yield the pieces of a WAV that plays at `playing_rate` bytes a second. Raises ClientStalled.

        Only the time that we wait for the client counts against it, not the time that our encoder takes.
        """
        least_rate = playing_rate * _SHARE_OF_PLAYING_RATE
        waited_seconds, received = 0.0, 0
        asked_at = self._held_seconds()
        async for piece in pieces:
            if self.clock() > self.began_at + self.max_seconds:
                raise UPLOAD_TOO_SLOW(max_seconds=self.max_seconds)
            waited_seconds += self._held_seconds() - asked_at
            received += len(piece)
            if waited_seconds >= self.window_seconds:
                if received < least_rate * waited_seconds and self.is_crowded():
                    raise SLOW_BODY(min_bytes_per_second=round(least_rate))
                waited_seconds, received = 0.0, 0
            yield piece
            del piece  # else it would stay until the next one comes
            asked_at = self._held_seconds()

    def _held_seconds(self) -> float:
        """Return the time for which the upload has held its slot, plus a constant."""
        return self.clock() - self.suspended_seconds()
