"""The use case: one upload, from its first byte to its row."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

import structlog

from service import metrics
from service.audio import mp3
from service.audio.encoder import Encoder
from service.audio.mp3 import Mp3Format
from service.audio.wav import WavReader
from service.audio.wav_header import WavHeader
from service.cancellation import to_the_end
from service.database.pool import Database
from service.database.records import insert_record
from service.errors import Conflict, NotAuthenticated, TooLarge, Unavailable, Unprocessable
from service.models import Record, UserLimits
from service.storage import Draft, Storage
from service.uploads.leases import quota_exceeded

log = structlog.stdlib.get_logger()

# A database that restarts is back within seconds; an hour of encoding is worth the wait.
_INSERT_PAUSES_SECONDS = (0.1, 0.4, 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class Upload:
    """What an upload is, apart from its bytes; its `id` becomes the record's.

    `bit_rate` (bit/s) and `idempotency_key` are None where the client sent none.

    `check` is called when all bytes are in and nothing is kept yet; what it raises ends the upload.
    """

    id: UUID
    user_id: int
    filename: str
    bit_rate: int | None
    idempotency_key: str | None
    check: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Ingest:
    """Takes uploads: encodes them while they arrive, keeps the MP3, then the row that names it."""

    encoder: Encoder
    storage: Storage
    database: Database
    user_limits: UserLimits
    default_bit_rate: int
    max_upload_bytes: int
    max_duration_seconds: int

    async def __call__(self, upload: Upload, pieces: AsyncIterator[bytes]) -> Record:
        """Take one upload and return its record: every sample of it is on the disk then.

        In all other cases nothing is left of it: whatever `pieces` or `upload.check` raise, a ServiceError of
        what the WAV, the encoder, the storage or the database refuse, or a cancellation.
        """
        started = time.monotonic()
        reader = WavReader()
        header, samples = await self._read_header(reader, pieces)
        target = self._target(header, upload.bit_rate)
        async with (
            self.storage.draft(upload.id) as draft,
            self.encoder.open(header, target, draft.fileno()) as encoding,
        ):
            await encoding.write(samples)
            async for piece in pieces:
                samples = reader.feed(piece)
                self._check_size(reader, header)
                await encoding.write(samples)
            sample_count = reader.finish()
            arrived = time.monotonic()
            upload.check()
            await encoding.finish(sample_count)
            upload.check()  # an encoder may take its time, and the client go
            record = _unsaved_record(upload, sample_count / header.sample_rate, target, reader.warnings())
            record = await to_the_end(self._keep(draft, record, upload.idempotency_key))
        metrics.AUDIO_SECONDS.inc(record.duration)
        metrics.REALTIME_FACTOR.observe(record.duration / (arrived - started))
        metrics.LAST_BYTE_TO_RECORD.observe(time.monotonic() - arrived)
        return record

    async def _keep(self, draft: Draft, record: Record, idempotency_key: str | None) -> Record:
        file = await draft.commit()
        record = replace(record, size=file.size, sha256=file.sha256)
        for pause in _INSERT_PAUSES_SECONDS:
            try:
                return await self._insert(record, idempotency_key)
            except Unavailable:
                await asyncio.sleep(pause)
        # Should this fail as well, the file stays: the row may be there, with only the answer lost. If it is
        # not, the sweep finds the file.
        return await self._insert(record, idempotency_key)

    async def _insert(self, record: Record, idempotency_key: str | None) -> Record:
        insertion = await insert_record(self.database, record, idempotency_key, self.user_limits)
        if insertion.is_kept:
            return record
        await self.storage.delete(record.id)
        if not insertion.has_owner:
            raise NotAuthenticated("unknown_token", "This user has been deleted meanwhile.")
        raise quota_exceeded(self.user_limits) if insertion.has_key else upload_running()

    async def _read_header(self, reader: WavReader, pieces: AsyncIterator[bytes]) -> tuple[WavHeader, bytes]:
        async for piece in pieces:
            samples = reader.feed(piece)
            if reader.header is not None:
                self._check_size(reader, reader.header)
                return reader.header, samples
        reader.finish()
        raise AssertionError("a WAV without a header was finished")

    def _target(self, header: WavHeader, bit_rate: int | None) -> Mp3Format:
        sample_rate = mp3.output_rate(header.sample_rate)
        legal = mp3.bit_rates(sample_rate)
        if bit_rate is None:
            bit_rate = max((rate for rate in legal if rate <= self.default_bit_rate), default=legal[0])
        elif bit_rate not in legal:
            raise Unprocessable(
                "invalid_bit_rate",
                f"An MP3 at {sample_rate} Hz cannot have {bit_rate} bit/s. Choose one of {', '.join(map(str, legal))}.",
            )
        return Mp3Format(sample_rate=sample_rate, channels=min(header.channels, 2), bit_rate=bit_rate)

    def _check_size(self, reader: WavReader, header: WavHeader) -> None:
        """Refuse at the byte that is one too many, or at the header that declares it."""
        if max(reader.byte_count, header.data_offset + (header.data_size or 0)) > self.max_upload_bytes:
            raise too_large(self.max_upload_bytes, offset=self.max_upload_bytes)
        seconds = max(reader.data_byte_count, header.data_size or 0) / header.block_align / header.sample_rate
        if seconds > self.max_duration_seconds:
            raise TooLarge("too_long", f"This service takes recordings of up to {self.max_duration_seconds} seconds.")


def too_large(max_upload_bytes: int, offset: int | None = None) -> TooLarge:
    """Return the refusal of a body with more bytes than the service takes."""
    return TooLarge("too_large", f"This service takes uploads of up to {max_upload_bytes} bytes.", offset=offset)


def _unsaved_record(upload: Upload, duration: float, target: Mp3Format, warnings: tuple[str, ...]) -> Record:
    return Record(
        id=upload.id,
        user_id=upload.user_id,
        filename=upload.filename,
        duration=duration,
        sample_rate=target.sample_rate,
        channels=target.channels,
        bit_rate=target.bit_rate,
        size=0,
        sha256="",
        warnings=warnings,
        created_at=datetime.now(UTC),
    )


def upload_running() -> Conflict:
    """Return the refusal of an upload while another one has its idempotency key."""
    return Conflict("upload_running", "An upload with this Idempotency-Key is still running. Ask again in a moment.")
