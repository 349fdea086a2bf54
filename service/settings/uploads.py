"""The settings about uploads: what an MP3 is, how many uploads there may be, and what each may take."""

from pydantic import BaseModel, Field


class UploadSettings(BaseModel):
    """A part of `service.settings.Settings`."""

    bit_rate: int = Field(
        default=128_000,
        ge=8_000,
        le=320_000,
        description="MP3 bit rate in bit/s if an upload asks for none; lower if MP3 has no such rate for the WAV",
    )
    max_encodings: int = Field(
        default=128,
        ge=1,
        description="Uploads that encode at a time; each takes about 2 MiB, or 12 with Debian's ffmpeg",
    )
    max_waiting: int = Field(default=64, ge=0, description="Uploads that may wait for that; more are refused with 503")
    max_upload_bytes: int = Field(default=4 * 2**30, ge=1, description="Largest WAV in bytes")
    max_duration_seconds: int = Field(default=24 * 3600, ge=1, description="Longest recording in seconds")
    max_uploads_per_user: int = Field(
        default=32, ge=1, le=1_000_000, description="Uploads that one user may run at a time; more: 429"
    )
    max_records_per_user: int = Field(default=1_000_000, ge=1, description="Records that one user may keep; more: 403")
    max_bytes_per_user: int = Field(default=2**40, ge=1, description="Bytes of MP3 that one user may keep; more: 403")
    min_free_bytes: int = Field(
        default=256 * 2**20, ge=0, description="Free space in DATA_DIR below which uploads are refused with 507"
    )
    stall_seconds: float = Field(default=30, gt=0, description="How long an upload, or its encoder, may stand still")
    min_bytes_per_second: int = Field(
        default=1_000,
        ge=0,
        description="Bytes that an upload must bring each second, on average over STALL_SECONDS; fewer: 408",
    )
    max_upload_seconds: float = Field(
        default=90_000, gt=0, description="How long an upload may take in all: by default a day of sound and an hour"
    )
    resume_seconds: float = Field(
        default=900, gt=0, description="How long a resumable upload is kept for its client after its last byte"
    )
    max_suspended: int | None = Field(
        default=None,
        ge=0,
        examples=[128],
        description="Resumable uploads that may wait for clients without an encoder slot; unset: as MAX_ENCODINGS",
    )
    download_stall_seconds: float = Field(
        default=300, gt=0, description="How long a client may take nothing of an answer; players pause"
    )
    outage_seconds: float = Field(default=60, ge=0, description="How long an upload's end waits for a lost database")
    shutdown_seconds: float = Field(default=20, ge=0, description="How long uploads may go on after SIGTERM")
