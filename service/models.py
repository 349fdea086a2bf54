"""What the service keeps: users and their records."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class User:
    """A user. Names are not unique. Their `record_count` MP3s have `byte_count` bytes together."""

    id: int
    username: str
    created_at: datetime
    record_count: int
    byte_count: int


@dataclass(frozen=True, slots=True)
class RecordWarning:
    """What was odd about a WAV and did not stop us: a stable `code` for programs, a sentence for people."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Record:
    """One kept MP3 and what is true of it.

    `filename` is the uploaded name. `duration` is that of the WAV in seconds; `sample_rate` (Hz), `channels`,
    `bit_rate` (bit/s), `size` (bytes) and `sha256` (hexadecimal) are the MP3's.
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
