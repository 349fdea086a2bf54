"""The use case: one upload, from its first byte to its row."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from service import metrics
from service.accounts.totals import TotalLimits
from service.audio import mp3
from service.audio.encoder import Encoder
from service.audio.mp3 import Mp3Format
from service.audio.wav import WavReader
from service.audio.wav_header import WavHeader
from service.cancellation import to_the_end
from service.database.pool import Database
from service.database.records import delete_records, insert_record
from service.errors import Unavailable
from service.models import IdempotentUpload, Record, RecordWarning, UserLimits
from service.refusals import (
    CLIENT_GONE,
    INVALID_BIT_RATE,
    QUOTA_EXCEEDED,
    RECORD_NOT_FOUND,
    TOO_LARGE,
    TOO_LONG,
    UNKNOWN_TOKEN,
    UPLOAD_RUNNING,
    USER_DISABLED,
)
from service.storage import Draft, Storage, StoredFile
from service.uploads.pace import Pace
from service.uploads.progress import Progress

# A database that restarts is back within seconds. The last pause is repeated: an hour of encoding is worth the wait.
_INSERT_PAUSES_SECONDS = (0.1, 0.4, 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class Upload:
    """What an upload is, apart from its bytes; its `id` becomes the record's.

    `token_sha256` is of the token that it began with. `bit_rate` (bit/s), `lifetime_seconds` (of the record) and
    `idempotency_key` are None if the client sent none. `is_abandoned` says whether the client has gone away, and
    `pace` how fast the bytes must arrive. `warnings` become the record's, before those that the WAV gives reason for.
    `progress` tells others how far it has come.
    """

    id: UUID
    user_id: int
    token_sha256: bytes
    filename: str
    bit_rate: int | None
    lifetime_seconds: int | None
    idempotency_key: IdempotentUpload | None
    warnings: tuple[RecordWarning, ...]
    is_abandoned: Callable[[], bool]
    pace: Pace
    progress: Progress


@dataclass(frozen=True, slots=True)
class Ingest:
    """Takes uploads: encodes each while it arrives, then keeps the MP3, then its row.

    If the database is away when an upload ends, it waits `outage_seconds` for it. Records expire after
    `retention_seconds`, unless that is None.
    """

    encoder: Encoder
    storage: Storage
    database: Database
    user_limits: UserLimits
    totals: TotalLimits
    retention_seconds: float | None
    outage_seconds: float
    default_bit_rate: int
    max_upload_bytes: int
    max_duration_seconds: int

    async def __call__(self, upload: Upload, pieces: AsyncIterator[bytes]) -> Record:
        """Take one upload and return its record; every sample of it is then in the storage.

        In all other cases nothing is left of it: if `pieces` raises, if the WAV, the encoder, the storage or the
        database refuses (ServiceError), if the client has gone away (ClientGone), and on a cancellation. An error that
        `pieces` raises at its end, such as a wrong digest, wins over a truncated WAV, because it is the reason for it.
        """
        started = time.monotonic()
        reader = upload.progress.reader
        header, samples = await self._read_header(reader, pieces)
        upload.progress.target = target = self._target(header, upload.bit_rate)
        async with (
            self.storage.draft(upload.id) as draft,
            self.encoder.open(header, target, draft.fileno()) as encoding,
        ):
            await encoding.write(samples)
            async for piece in upload.pace.watch(pieces, header.playing_rate):
                samples = reader.feed(piece)
                self._check_size(reader, header)
                await encoding.write(samples)
            sample_count = reader.finish()
            upload.progress.is_finishing, arrived = True, time.monotonic()
            await encoding.finish(sample_count)
            if upload.is_abandoned():  # nobody would learn of the record
                raise CLIENT_GONE()
            sound = _Sound(sample_count / header.sample_rate, target, upload.warnings + reader.warnings())
            record = await self._keep(draft, upload, sound)
        metrics.AUDIO_SECONDS.inc(record.duration)
        metrics.REALTIME_FACTOR.observe(record.duration / (arrived - started))
        metrics.LAST_BYTE_TO_RECORD.observe(time.monotonic() - arrived)
        return record

    async def _keep(self, draft: Draft, upload: Upload, sound: "_Sound") -> Record:
        """Keep the file, then the row. A cancellation takes effect only while this waits for the database."""
        record = _record(upload, sound, await draft.commit(), self.retention_seconds)
        deadline, repeats = time.monotonic() + self.outage_seconds, 0
        while True:
            try:
                return await to_the_end(self._insert(record, upload, is_repeat=repeats > 0))
            except Unavailable:
                # The file stays, because the row may be there and only its answer be lost. If there is no row, the
                # sweep removes the file.
                if time.monotonic() >= deadline:
                    raise
            await asyncio.sleep(_INSERT_PAUSES_SECONDS[min(repeats, len(_INSERT_PAUSES_SECONDS) - 1)])
            repeats += 1

    async def _insert(self, record: Record, upload: Upload, *, is_repeat: bool) -> Record:
        insertion = await insert_record(
            self.database, record, upload.token_sha256, upload.idempotency_key, self.user_limits
        )
        if insertion.is_kept:
            if is_repeat and not await self.storage.has(record.id):
                # The first run's answer was lost, and its record was deleted since. This run made the row again.
                await delete_records(self.database, [record.id])
                raise RECORD_NOT_FOUND()
            self.totals.count_bytes(record.size)
            return record
        await self.storage.delete(record.id)
        if insertion.is_disabled:
            raise USER_DISABLED()
        if not insertion.has_owner:  # deleted meanwhile, or it has a new token
            raise UNKNOWN_TOKEN()
        if not insertion.has_key:
            raise UPLOAD_RUNNING()
        raise QUOTA_EXCEEDED(max_records=self.user_limits.max_records, max_bytes=self.user_limits.max_bytes)

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
            legal_list = ", ".join(map(str, legal))
            raise INVALID_BIT_RATE(legal=f"at {sample_rate} Hz one of {legal_list}")
        return Mp3Format(sample_rate=sample_rate, channels=min(header.channels, 2), bit_rate=bit_rate)

    def _check_size(self, reader: WavReader, header: WavHeader) -> None:
        """Refuse at the byte that is one too many, or at the header that declares it."""
        if max(reader.byte_count, header.data_offset + (header.data_size or 0)) > self.max_upload_bytes:
            raise TOO_LARGE(max_bytes=self.max_upload_bytes, offset=self.max_upload_bytes)
        seconds = max(reader.data_byte_count, header.data_size or 0) / header.block_align / header.sample_rate
        if seconds > self.max_duration_seconds:
            raise TOO_LONG(max_seconds=self.max_duration_seconds)


@dataclass(frozen=True, slots=True)
class _Sound:
    """What an upload held: seconds of sound, the MP3's format, and what was odd about the upload."""

    duration: float
    target: Mp3Format
    warnings: tuple[RecordWarning, ...]


def _record(upload: Upload, sound: _Sound, file: StoredFile, retention_seconds: float | None) -> Record:
    created_at = datetime.now(UTC)
    lifetimes = [seconds for seconds in (upload.lifetime_seconds, retention_seconds) if seconds is not None]
    return Record(
        id=upload.id,
        user_id=upload.user_id,
        filename=upload.filename,
        duration=sound.duration,
        sample_rate=sound.target.sample_rate,
        channels=sound.target.channels,
        bit_rate=sound.target.bit_rate,
        size=file.size,
        sha256=file.sha256,
        warnings=sound.warnings,
        created_at=created_at,
        expires_at=created_at + timedelta(seconds=min(lifetimes)) if lifetimes else None,
    )
