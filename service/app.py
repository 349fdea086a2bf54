"""The composition root: settings in, an application with all its parts out."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote, urlsplit

from aiohttp import web

from service import __version__, metrics
from service.audio.encoder import Encoder
from service.audio.ffmpeg_command import bundled_ffmpeg
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
from service.web import app_keys
from service.web.body import BodyLimits
from service.web.errors import translate_errors
from service.web.request_log import send_request_id
from service.web.routes.table import add_routes
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
    """Build the application. The database at `database_url` is migrated already.

    `places` are those that this process shares with others; without them it has all of them to itself. A statement
    has `query_seconds`. A killed process holds its users' upload leases for up to `lease_seconds`.
    """
    metrics.BUILD_INFO.labels(__version__).set(1)
    app = web.Application(middlewares=[translate_errors])
    app[app_keys.PUBLIC_URL] = str(settings.public_url or "").rstrip("/")
    app[app_keys.ALLOWED_HOSTS] = settings.host_names
    app[app_keys.TRUSTED_PROXIES] = settings.trusted_networks
    app[app_keys.STORAGE] = storage = make_storage(settings)
    app[app_keys.DOWNLOAD_STALL_SECONDS] = settings.download_stall_seconds
    app[app_keys.ADMISSION] = Admission(places or make_places(settings))
    app[app_keys.BODY_LIMITS] = BodyLimits(
        max_upload_bytes=settings.max_upload_bytes,
        stall_seconds=settings.stall_seconds,
        min_bytes_per_second=settings.min_bytes_per_second,
    )
    encoder = make_encoder(settings)

    async def open_parts(app: web.Application) -> AsyncIterator[None]:
        with ThreadPoolExecutor(_DOWNLOAD_THREADS, thread_name_prefix="downloads") as threads:
            asyncio.get_running_loop().set_default_executor(threads)
            await asyncio.to_thread(storage.prepare)
            with contextlib.suppress(StorageFull):  # it is logged; who makes room need not start us again
                await storage.require_room()
            # Away or not: gunicorn would take a worker that does not start for a reason to end all others.
            async with open_database(
                database_url, _DATABASE_CONNECTIONS, query_seconds=query_seconds, may_be_away=True
            ) as database:
                app[app_keys.DATABASE] = database
                app[app_keys.HEALTH] = _make_health(encoder, storage, database)
                app[app_keys.LEASES] = leases = Leases(database, _user_limits(settings), lease_seconds)
                ingest = _make_ingest(settings, encoder, storage, database)
                app[app_keys.INTAKE] = Intake(
                    app[app_keys.ADMISSION],
                    leases,
                    storage,
                    ingest,
                    stall_seconds=settings.stall_seconds,
                    max_upload_seconds=settings.max_upload_seconds,
                )
                async with _in_background(leases.renew_for_ever()):
                    yield
                await leases.give_back_owed()

    # A worker of gunicorn has no other drain. `server.serve` drains before, and heeds a second signal meanwhile.
    async def drain(app: web.Application) -> None:
        app[app_keys.ADMISSION].close()
        await app[app_keys.ADMISSION].drain(settings.shutdown_seconds)

    app.cleanup_ctx.append(open_parts)
    app.on_shutdown.append(drain)
    app.on_response_prepare.extend([secure_headers, send_request_id, own_file_headers])
    add_routes(app, with_metrics=settings.metrics_port is None)
    return app


def make_places(settings: Settings, rows: int = 1) -> Places:
    """Build the counts of uploads for as many processes as there are rows."""
    return Places(max_running=settings.max_encodings, max_waiting=settings.max_waiting, rows=rows)


def _make_ingest(settings: Settings, encoder: Encoder, storage: Storage, database: Database) -> Ingest:
    return Ingest(
        encoder=encoder,
        storage=storage,
        database=database,
        user_limits=_user_limits(settings),
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


def make_encoder(settings: Settings) -> Encoder:
    """Build the encoder that the settings name."""
    return Encoder(
        ffmpeg=str(settings.ffmpeg.absolute() if settings.ffmpeg else bundled_ffmpeg()),
        max_duration_seconds=settings.max_duration_seconds,
        stall_seconds=settings.stall_seconds,
    )


def _user_limits(settings: Settings) -> UserLimits:
    return UserLimits(
        max_records=settings.max_records_per_user,
        max_bytes=settings.max_bytes_per_user,
        max_uploads=settings.max_uploads_per_user,
    )


@contextlib.asynccontextmanager
async def _in_background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        while not task.done():  # before Python 3.12 wait_for, which aiopg uses, may lose a cancellation
            task.cancel()
            await asyncio.wait({task}, timeout=1)
