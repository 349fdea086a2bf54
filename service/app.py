"""The composition root: builds the application and all its parts from the settings."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote, urlsplit

from aiohttp import web

from service import __version__, metrics
from service.account_parts import make_accounts
from service.accounts.totals import TotalLimits
from service.audio.confinement import Confinement
from service.audio.encoder import Encoder
from service.audio.ffmpeg_command import bundled_ffmpeg, readable_by
from service.audio.spawner import Spawner
from service.cancellation import in_background
from service.database.pool import Database, open_database
from service.errors import StorageFull
from service.health import Health, database_check, encoder_check
from service.models import UserLimits
from service.settings import Settings
from service.storage import Storage
from service.storage.disk import DiskStorage
from service.storage.draft_files import Drafts
from service.storage.s3 import S3Storage
from service.storage.s3_location import S3Location
from service.uploads.admission import Admission
from service.uploads.ingest import Ingest
from service.uploads.intake import Intake
from service.uploads.leases import Leases
from service.uploads.places import Places
from service.uploads.removal import Removal
from service.uploads.revocation import Revocations
from service.web import app_keys
from service.web.body import BodyLimits
from service.web.errors import translate_errors
from service.web.request_log import send_request_id
from service.web.routes.table import add_routes
from service.web.runner import keep_in_our_hands, leave_our_hands
from service.web.security_headers import secure_headers
from service.web.sending import own_file_headers

_DATABASE_CONNECTIONS = 10
_DOWNLOAD_THREADS = 32


def create_app(
    settings: Settings,
    database_url: str,
    places: Places | None = None,
    *,
    query_seconds: float = 5.0,
    lease_seconds: float = 60.0,
) -> web.Application:
    """Build the application. The database at `database_url` must be migrated already.

    `places` are those that this process shares with others; by default it shares none. A statement may take
    `query_seconds`. A killed process holds its users' upload leases for up to `lease_seconds`.
    """
    metrics.BUILD_INFO.labels(__version__).set(1)
    app = web.Application(middlewares=[keep_in_our_hands, translate_errors])
    app[app_keys.PUBLIC_URL] = str(settings.public_url or "").rstrip("/")
    app[app_keys.ALLOWED_HOSTS] = settings.host_names
    app[app_keys.TRUSTED_PROXIES] = settings.trusted_networks
    app[app_keys.STORAGE] = storage = make_storage(settings)
    app[app_keys.MAX_CONNECTIONS] = settings.max_connections
    app[app_keys.DOWNLOAD_STALL_SECONDS] = settings.download_stall_seconds
    app[app_keys.ADMISSION] = Admission(places or make_places(settings))
    app[app_keys.BODY_LIMITS] = BodyLimits(
        max_upload_bytes=settings.max_upload_bytes,
        stall_seconds=settings.stall_seconds,
        min_bytes_per_second=settings.min_bytes_per_second,
    )
    encoder = make_encoder(settings, storage.draft_directory)

    async def open_parts(app: web.Application) -> AsyncIterator[None]:
        with ThreadPoolExecutor(_DOWNLOAD_THREADS, thread_name_prefix="downloads") as threads:
            asyncio.get_running_loop().set_default_executor(threads)
            await asyncio.to_thread(storage.prepare)
            with contextlib.suppress(StorageFull):  # it is logged; when there is room again, no restart is needed
                await storage.require_room()
            # Away or not: gunicorn would take a worker that does not start for a reason to end all others.
            async with open_database(
                database_url, _DATABASE_CONNECTIONS, query_seconds=query_seconds, may_be_away=True
            ) as database:
                app[app_keys.DATABASE] = database
                app[app_keys.HEALTH] = _make_health(encoder, storage, database)
                app[app_keys.LEASES] = leases = Leases(database, _user_limits(settings), lease_seconds)
                accounts = make_accounts(settings, database)
                app[app_keys.TOKENS], app[app_keys.REGISTRATION] = accounts.tokens, accounts.registration
                app[app_keys.ADDRESS_LIMITS], totals = accounts.address_limits, accounts.totals
                app[app_keys.REMOVAL] = removal = Removal(database, storage)
                revocations = Revocations(database)
                ingest = _make_ingest(settings, encoder, storage, database, totals)
                app[app_keys.INTAKE] = Intake(
                    app[app_keys.ADMISSION],
                    leases,
                    storage,
                    ingest,
                    totals,
                    revocations,
                    stall_seconds=settings.stall_seconds,
                    max_upload_seconds=settings.max_upload_seconds,
                )
                async with (
                    in_background(leases.renew_for_ever()),
                    in_background(removal.remove_for_ever()),
                    in_background(revocations.look_for_ever()),
                    in_background(totals.refresh_for_ever()),
                ):
                    yield
                await leases.give_back_owed()

    # A worker of gunicorn drains only here. `server.serve` has drained before, because it listens for a second signal.
    async def drain(app: web.Application) -> None:
        app[app_keys.ADMISSION].close()
        await app[app_keys.ADMISSION].drain(settings.shutdown_seconds)

    app.cleanup_ctx.append(open_parts)
    app.on_shutdown.append(drain)
    app.on_response_prepare.extend([leave_our_hands, secure_headers, send_request_id, own_file_headers])
    add_routes(app, with_metrics=settings.metrics_port is None)
    return app


def make_places(settings: Settings, rows: int = 1) -> Places:
    """Build the counts of uploads for as many processes as there are rows."""
    return Places(max_running=settings.max_encodings, max_waiting=settings.max_waiting, rows=rows)


def _make_ingest(
    settings: Settings, encoder: Encoder, storage: Storage, database: Database, totals: TotalLimits
) -> Ingest:
    return Ingest(
        encoder=encoder,
        storage=storage,
        database=database,
        user_limits=_user_limits(settings),
        totals=totals,
        retention_seconds=settings.retention_seconds,
        outage_seconds=settings.outage_seconds,
        default_bit_rate=settings.bit_rate,
        max_upload_bytes=settings.max_upload_bytes,
        max_duration_seconds=settings.max_duration_seconds,
    )


def _make_health(encoder: Encoder, storage: Storage, database: Database) -> Health:
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


def make_encoder(settings: Settings, draft_directory: Path) -> Encoder:
    """Build the encoder that the settings name; it may write to the drafts alone."""
    ffmpeg = str(settings.ffmpeg.absolute() if settings.ffmpeg else bundled_ffmpeg())
    return Encoder(
        ffmpeg=ffmpeg,
        max_duration_seconds=settings.max_duration_seconds,
        stall_seconds=settings.stall_seconds,
        spawner=Spawner(Confinement(readable=readable_by(ffmpeg), writable=(draft_directory.absolute(),))),
    )


def _user_limits(settings: Settings) -> UserLimits:
    return UserLimits(
        max_records=settings.max_records_per_user,
        max_bytes=settings.max_bytes_per_user,
        max_uploads=settings.max_uploads_per_user,
    )
