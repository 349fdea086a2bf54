"""The use case: one upload, from its first byte to its row."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from service import metrics
from service.accounts.totals import TotalLimits
from service.audio.encoder import Encoder
from service.audio.encoding import Encoding
from service.audio.wav import WavReader
from service.audio.wav_header import WavHeader
from service.cancellation import to_the_end
from service.database.pool import Database
from service.database.records import delete_records, insert_record
from service.errors import Unavailable
from service.models import Record, UserLimits
from service.refusals import (
    CLIENT_GONE,
    QUOTA_EXCEEDED,
    RECORD_NOT_FOUND,
    TOO_LARGE,
    TOO_LONG,
    UNKNOWN_TOKEN,
    UPLOAD_RUNNING,
    USER_DISABLED,
)
from service.storage import Storage, StoredFile
from service.uploads.keeping import up_to, while_they_come
from service.uploads.preparation import Prepared
from service.uploads.target import Mp3Plan
from service.uploads.upload import Sound, Upload, make_record

# A database that restarts is back within seconds. The last pause is repeated: an hour of encoding is worth the wait.
_INSERT_PAUSES_SECONDS = (0.1, 0.4, 1.0, 2.0)


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

    async def __call__(self, upload: Upload, pieces: AsyncIterator[bytes], prepared: Prepared) -> Record:
        """Take one upload and return its record; every sample of it is then in the storage.

        In all other cases nothing is left of it: if `pieces` raises, if the WAV, the encoder, the storage or the
        database refuses (ServiceError), if the client has gone away (ClientGone), and on a cancellation. An error that
        `pieces` raises at its end, such as a wrong digest, wins over a truncated WAV, because it is the reason for it.
        """
        started = time.monotonic()
        reader = upload.progress.reader
        if upload.keeps_incomplete:
            pieces = up_to(pieces, upload.progress, self.max_upload_bytes)
        header, samples = await self._read_header(upload, reader, pieces)
        plan = self._plan(upload, header)
        upload.progress.begin(header, plan.outline)
        upload.slot.may_keep = upload.keeps_incomplete  # also if the service stops while the encoder starts
        draft, sound_taker = prepared.draft, _take_sound(header, upload)
        async with (
            prepared.encoder.open(header, plan.target, draft.fileno(), plan.tag, sound_taker) as encoding,
            upload.broadcast.on_air(plan.outline, draft.fileno()),
        ):
            await _encode(encoding, upload, samples)
            del samples  # else they would stay until the end
            await self._encode_rest(encoding, upload, self._limited(upload, pieces, header))
            upload.broadcast.hold_back()
            await _encode(encoding, upload, _last_samples(upload, reader))
            plan.require_fit(reader.sample_count)
            upload.progress.is_finishing, arrived = True, time.monotonic()
            seal = await encoding.end(reader.sample_count)
            upload.progress.end_drawing()
            if upload.is_abandoned():  # nobody would learn of the record
                raise CLIENT_GONE()
            file = await draft.commit(seal)
            record = await self._keep(upload, Sound(reader, header, plan.target), file)
            upload.broadcast.announce_record(reader.sample_count, record.size)
        metrics.AUDIO_SECONDS.inc(record.duration)
        metrics.REALTIME_FACTOR.observe(record.duration / (arrived - started))
        metrics.LAST_BYTE_TO_RECORD.observe(time.monotonic() - arrived)
        return record

    async def _encode_rest(self, encoding: Encoding, upload: Upload, pieces: AsyncIterator[bytes]) -> None:
        reader = upload.progress.reader
        async for piece in pieces:
            samples = reader.feed(piece)
            self._check_size(upload, reader, encoding.source)
            await _encode(encoding, upload, samples)
            del piece, samples  # else they would stay until the next ones come

    def _plan(self, upload: Upload, header: WavHeader) -> Mp3Plan:
        return Mp3Plan.of(
            header,
            upload.wish,
            filename=upload.filename,
            body_length=upload.body_length,
            default_bit_rate=self.default_bit_rate,
        )

    async def _keep(self, upload: Upload, sound: Sound, file: StoredFile) -> Record:
        """Keep the row of a file. A cancellation takes effect only while this waits for the database."""
        record = make_record(upload, sound, file, self.retention_seconds)
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
        # An incomplete record leaves its key free, so that a retry with the whole WAV makes a record of its own.
        key = upload.idempotency_key if record.is_complete else None
        insertion = await insert_record(self.database, record, upload.token_sha256, key, self.user_limits)
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

    async def _read_header(
        self, upload: Upload, reader: WavReader, pieces: AsyncIterator[bytes]
    ) -> tuple[WavHeader, bytes]:
        async for piece in pieces:
            samples = reader.feed(piece)
            if reader.header is not None:
                self._check_size(upload, reader, reader.header)
                return reader.header, samples
        reader.finish()
        raise AssertionError("a WAV without a header was finished")

    def _limited(self, upload: Upload, pieces: AsyncIterator[bytes], header: WavHeader) -> AsyncIterator[bytes]:
        """Return the pieces within the limits. If what arrives may be kept, a limit ends them instead of raising."""
        pieces = upload.pace.watch(pieces, header.playing_rate)
        if not upload.keeps_incomplete:
            return pieces
        longest = header.data_offset + self.max_duration_seconds * header.playing_rate
        return while_they_come(up_to(pieces, upload.progress, longest), upload.slot, upload.progress)

    def _check_size(self, upload: Upload, reader: WavReader, header: WavHeader) -> None:
        """Refuse at the byte that is one too many, or at the header that declares it."""
        declared = 0 if upload.keeps_incomplete else header.least_data_size
        if max(reader.byte_count, header.data_offset + declared) > self.max_upload_bytes:
            raise TOO_LARGE(max_bytes=self.max_upload_bytes, offset=self.max_upload_bytes)
        sample_count = header.sample_count(max(reader.data_byte_count, declared))
        if sample_count / header.sample_rate > self.max_duration_seconds:
            raise TOO_LONG(max_seconds=self.max_duration_seconds)


async def _encode(encoding: Encoding, upload: Upload, samples: bytes) -> None:
    await encoding.write(samples)
    if encoding.source.block_codec is None:
        upload.progress.draw(samples)


def _take_sound(header: WavHeader, upload: Upload) -> Callable[[bytes], None] | None:
    """Return who takes what ffmpeg decodes: only of blocks, because all other samples can be read here."""
    return upload.progress.draw if header.block_codec is not None else None


def _last_samples(upload: Upload, reader: WavReader) -> bytes:
    """End the WAV and return its last samples. Raises ServiceError if it may not become a record."""
    samples = reader.finish()
    if reader.missing is not None and not upload.keeps_incomplete:
        raise reader.missing
    return samples
