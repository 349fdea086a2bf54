"""The parts of the service, each built from the settings."""

from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from service.accounts.address_limits import AddressLimit, AddressLimits
from service.accounts.registration import Registration, RegistrationPolicy
from service.accounts.tokens import Tokens
from service.accounts.totals import TotalLimits
from service.audio.confinement import Confinement
from service.audio.encoder import Encoder
from service.audio.ffmpeg_command import readable_by
from service.audio.ffmpegs import Ffmpeg, default_ffmpeg
from service.audio.spawner import Spawner
from service.database.pool import Database
from service.health import Health, database_check, encoder_check
from service.models import UserLimits
from service.settings import Settings
from service.storage import Storage
from service.storage.disk import DiskStorage
from service.storage.draft_files import Drafts
from service.uploads.ingest import Ingest
from service.uploads.places import Places

_HOUR_SECONDS = 3600.0
_MINUTE_SECONDS = 60.0


class Accounts(NamedTuple):
    """What decides about users."""

    tokens: Tokens
    registration: Registration
    address_limits: AddressLimits
    totals: TotalLimits


def make_accounts(settings: Settings, database: Database) -> Accounts:
    """Build what decides about users, as the settings have it."""
    host = settings.host
    totals = TotalLimits(database, max_users=settings.max_users, max_bytes=settings.max_bytes)
    limits = AddressLimits(
        registrations=AddressLimit(settings.registrations_per_address(host), _HOUR_SECONDS),
        failures=AddressLimit(settings.failures_per_address(host), _MINUTE_SECONDS),
    )
    registration = Registration(database, make_registration_policy(settings), limits, totals)
    return Accounts(Tokens(database, settings.token_seconds), registration, limits, totals)


def make_registration_policy(settings: Settings) -> RegistrationPolicy:
    """Return who may create users, as the settings have it."""
    token = settings.registration_token
    return RegistrationPolicy(settings.registration_mode(settings.host), token.get_secret_value() if token else None)


def make_places(settings: Settings, rows: int = 1) -> Places:
    """Build the counts of uploads for as many processes as there are rows."""
    return Places(
        max_running=settings.max_encodings,
        max_waiting=settings.max_waiting,
        max_suspended=settings.max_suspended,
        rows=rows,
    )


def make_ingest(
    settings: Settings, encoder: Encoder, storage: Storage, database: Database, totals: TotalLimits
) -> Ingest:
    """Build the use case that turns an upload into a record."""
    return Ingest(
        encoder=encoder,
        storage=storage,
        database=database,
        user_limits=user_limits(settings),
        totals=totals,
        retention_seconds=settings.retention_seconds,
        outage_seconds=settings.outage_seconds,
        default_bit_rate=settings.bit_rate,
        max_upload_bytes=settings.max_upload_bytes,
        max_duration_seconds=settings.max_duration_seconds,
    )


def make_health(encoder: Encoder, storage: Storage, database: Database) -> Health:
    """Build the checks behind readiness."""
    return Health(
        {
            "database": database_check(database),
            "storage": storage.check,
            "encoder": encoder_check(encoder, storage),
        }
    )


def make_storage(settings: Settings) -> Storage:
    """Build the storage that the settings name."""
    url = urlsplit(settings.storage_url or "")
    if url.scheme != "s3":
        directory = Path(unquote(url.path)) if url.path else settings.data_dir / "records"
        return DiskStorage(directory, min_free_bytes=settings.min_free_bytes)
    # Most services need no S3 library, which takes 4 MiB.
    from service.storage.s3 import S3Storage  # noqa: PLC0415
    from service.storage.s3_location import S3Location  # noqa: PLC0415

    secret = settings.s3_secret_access_key
    location = S3Location(
        bucket=url.netloc,
        prefix=url.path.strip("/"),
        endpoint_url=settings.s3_endpoint_url,
        region=settings.s3_region,
        access_key_id=settings.s3_access_key_id,
        secret_access_key=secret.get_secret_value() if secret is not None else None,
    )
    return S3Storage(location.connect(), Drafts(settings.data_dir / "drafts", min_free_bytes=settings.min_free_bytes))


def choose_ffmpeg(settings: Settings) -> Ffmpeg:
    """Return the ffmpeg that the settings name, else the default one. Raises NoFfmpegError."""
    return Ffmpeg(str(settings.ffmpeg.absolute()), "WAVEPRESS_FFMPEG") if settings.ffmpeg else default_ffmpeg()


def make_encoder(settings: Settings, draft_directory: Path, ffmpeg: str | None = None) -> Encoder:
    """Build the encoder with that ffmpeg, or with the chosen one; it may write to the drafts alone.

    Raises NoFfmpegError.
    """
    ffmpeg = ffmpeg or choose_ffmpeg(settings).path
    return Encoder(
        ffmpeg=ffmpeg,
        max_duration_seconds=settings.max_duration_seconds,
        stall_seconds=settings.stall_seconds,
        spawner=Spawner(Confinement(readable=readable_by(ffmpeg), writable=(draft_directory.absolute(),))),
    )


def user_limits(settings: Settings) -> UserLimits:
    """Return what one user may keep, and send at a time."""
    return UserLimits(
        max_records=settings.max_records_per_user,
        max_bytes=settings.max_bytes_per_user,
        max_uploads=settings.max_uploads_per_user,
    )
