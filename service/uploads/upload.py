"""What an upload is, and the record that it becomes."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from service.audio.mp3 import Mp3Format
from service.audio.wav import WavReader
from service.audio.wav_header import WavHeader
from service.models import IdempotentUpload, Record, RecordWarning
from service.record_warnings import INTERRUPTED
from service.storage import StoredFile
from service.uploads.broadcast import Broadcast
from service.uploads.encoder_slot import EncoderSlot
from service.uploads.pace import Pace
from service.uploads.progress import Progress
from service.uploads.target import Mp3Wish


@dataclass(frozen=True, slots=True)
class Upload:
    """What an upload is, apart from its bytes; its `id` becomes the record's.

    `token_sha256` is of the token that it began with. `lifetime_seconds` (of the record) and `idempotency_key` are None
    if the client sent none. `is_abandoned` says whether the client has gone away, and `pace` how fast the bytes must
    arrive. `warnings` become the record's, before those that the WAV gives reason for. `progress` tells others how far
    it has come, `broadcast` lets them listen, and `slot` is what it holds of the admission. `body_length` is how many
    bytes the WAV has at most, or None if nobody knows. If `keeps_incomplete`, the samples that arrived become a record
    although the WAV has, or may have, more.
    """

    id: UUID
    user_id: int
    token_sha256: bytes
    filename: str
    wish: Mp3Wish
    lifetime_seconds: int | None
    idempotency_key: IdempotentUpload | None
    warnings: tuple[RecordWarning, ...]
    keeps_incomplete: bool
    is_abandoned: Callable[[], bool]
    pace: Pace
    progress: Progress
    broadcast: Broadcast
    body_length: int | None
    slot: EncoderSlot


@dataclass(frozen=True, slots=True)
class Sound:
    """What an upload held: the WAV that was read to its end, its header, and the MP3's format."""

    reader: WavReader
    header: WavHeader
    target: Mp3Format


def make_record(upload: Upload, sound: Sound, file: StoredFile, retention_seconds: float | None) -> Record:
    """Return the record of an upload whose MP3 is in the storage; `retention_seconds` may be None."""
    created_at = datetime.now(UTC)
    lifetimes = [seconds for seconds in (upload.lifetime_seconds, retention_seconds) if seconds is not None]
    return Record(
        id=upload.id,
        user_id=upload.user_id,
        filename=upload.filename,
        duration=sound.reader.sample_count / sound.header.sample_rate,
        sample_rate=sound.target.sample_rate,
        channels=sound.target.channels,
        bit_rate=sound.target.bit_rate,
        size=file.size,
        sha256=file.sha256,
        warnings=upload.warnings + sound.reader.warnings() + ((INTERRUPTED(),) if upload.progress.is_cut else ()),
        created_at=created_at,
        expires_at=created_at + timedelta(seconds=min(lifetimes)) if lifetimes else None,
        is_complete=sound.reader.missing is None and not upload.progress.is_cut,
        source_size=sound.reader.source_size,
        peaks=upload.progress.waveform(),
    )
