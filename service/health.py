"""Checks whether the service can do its work now."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from uuid import uuid4

from service.audio import mp3
from service.audio.encoder import Encoder, mp3_tag
from service.audio.mp3 import Mp3Format
from service.audio.wav_header import WavHeader
from service.database.migrations import is_applied, newest_migration
from service.database.pool import Database
from service.errors import ServiceError
from service.storage import Storage
from service.threads import OPERATORS, using

# An encode takes 20 ms of CPU, and an ffmpeg that worked a minute ago works now.
_ENCODER_FRESH_SECONDS = 60.0

Check = Callable[[], Awaitable[None]]


class CheckFailed(Exception):
    """A check failed; the message tells operators what is wrong."""


@dataclass
class Health:
    """Named checks. A check raises CheckFailed or ServiceError with a sentence that says what is wrong.

    A check without a result after `check_seconds` fails, and is not started again while it runs. Several probes may
    come each second, so a result is used for `fresh_seconds`.
    """

    checks: Mapping[str, Check]
    check_seconds: float = 3.0
    fresh_seconds: float = 1.5
    _checked_at: float = field(default=float("-inf"))
    _results: dict[str, str] = field(default_factory=dict)
    _running: dict[str, asyncio.Task[str]] = field(default_factory=dict)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def results(self) -> dict[str, str]:
        """Return what each check says, at most `fresh_seconds` old: "ok" if it passes."""
        async with self._lock:
            if time.monotonic() - self._checked_at > self.fresh_seconds:
                results = await asyncio.gather(*map(self._ask, self.checks))
                self._results = dict(zip(self.checks, results, strict=True))
                self._checked_at = time.monotonic()
            return self._results

    async def _ask(self, name: str) -> str:
        if name not in self._running or self._running[name].done():
            with using(OPERATORS):
                self._running[name] = asyncio.create_task(_result(self.checks[name]))
        running = self._running[name]
        # Not asyncio.timeout: what hangs in a thread cannot be cancelled.
        await asyncio.wait({running}, timeout=self.check_seconds)
        return running.result() if running.done() else f"No answer within {self.check_seconds:g} seconds."


async def _result(check: Check) -> str:
    try:
        await check()
    except (CheckFailed, ServiceError) as error:
        return str(error)
    return "ok"


def database_check(database: Database) -> Check:
    """Return the check that the database answers and that its schema is new enough for this service."""

    async def check() -> None:
        newest = newest_migration()
        if not await is_applied(database, newest):
            raise CheckFailed(f"Migration {newest} is not applied. Run: wavepress migrate")

    return check


def encoder_check(encoder: Encoder, storage: Storage) -> Check:
    """Return the check that a tenth of a second of silence becomes an MP3, in the same way as an upload."""
    source = WavHeader("s16le", 44_100, 1, 0, 2, data_offset=44, data_size=None, is_riff=True)
    target = Mp3Format(sample_rate=mp3.output_rate(source.sample_rate), channels=1, bit_rate=32_000)
    sample_count = source.sample_rate // 10
    passed_at = float("-inf")

    async def check() -> None:
        nonlocal passed_at
        if time.monotonic() - passed_at < _ENCODER_FRESH_SECONDS:
            return
        async with (
            storage.draft(uuid4(), needs_room=False) as draft,
            encoder.open(source, target, draft.fileno(), mp3_tag(source, "check.wav")) as encoding,
        ):
            await encoding.write(bytes(source.block_align * sample_count))
            await encoding.finish(sample_count)
        passed_at = time.monotonic()

    return check
