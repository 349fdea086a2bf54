"""What the service keeps: users and their records."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class User:
    """A user. Names are not unique. Their `record_count` MP3s have `byte_count` bytes together.

    `token_used_at` is a minute old at most; None means never. A disabled user's token and links are refused.
    """

    id: int
    username: str
    created_at: datetime
    record_count: int
    byte_count: int
    token_sha256: bytes = field(repr=False)
    token_used_at: datetime | None
    is_disabled: bool


@dataclass(frozen=True, slots=True)
class RecordWarning:
    """What was odd about an upload that was taken: a stable `code` for programs, a sentence for people."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Record:
    """One MP3 that is kept.

    `filename` is the uploaded name. `duration` is that of the WAV in seconds; `sample_rate` (Hz), `channels`,
    `bit_rate` (bit/s), `size` (bytes) and `sha256` (hexadecimal) are the MP3's. `expires_at` is None if only its
    owner removes it. `source_size` is how many bytes of the WAV the record stands for (None if a service of an earlier
    version has kept it), and `is_complete` whether they were all that the WAV has. `peaks` is its waveform, an
    audiowaveform data file: only a record that is about to be kept has it here, because few readers need it.
    """

    id: UUID
    user_id: int
    filename: str
    duration: float
    sample_rate: int
    channels: int
    bit_rate: int
    size: int
    sha256: str
    warnings: tuple[RecordWarning, ...]
    created_at: datetime
    expires_at: datetime | None
    is_complete: bool = True
    source_size: int | None = None
    peaks: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class IdempotentUpload:
    """A key as a client sent it with an upload; `fingerprint` is a hash of what makes it that upload."""

    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class UserLimits:
    """How many records and bytes a user may hold, and how many uploads at a time."""

    max_records: int
    max_bytes: int
    max_uploads: int
