"""The composition root: settings in, an application with all its parts out."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from service.admission import Admission
from service.database import open_database
from service.encoder import Encoder
from service.ffmpeg_command import bundled_ffmpeg
from service.ingest import Ingest
from service.settings import Settings
from service.storage.disk import DiskStorage
from service.web import keys
from service.web.body import BodyLimits
from service.web.errors import translate_errors
from service.web.routes import add_routes

_DATABASE_CONNECTIONS = 10
# Threads wait for disks: to sync drafts, to open downloads.
_THREADS = 32


def create_app(settings: Settings, database_url: str) -> web.Application:
    """Build the application; the database at `database_url` is migrated already."""
    app = web.Application(middlewares=[translate_errors])
    app[keys.PUBLIC_URL] = str(settings.public_url or "").rstrip("/")
    app[keys.STORAGE] = storage = DiskStorage(settings.data_dir / "records")
    app[keys.ADMISSION] = Admission(max_running=settings.max_encodings, max_waiting=settings.max_waiting)
    app[keys.BODY_LIMITS] = BodyLimits(
        max_upload_bytes=settings.max_upload_bytes,
        stall_seconds=settings.stall_seconds,
        min_bytes_per_second=settings.min_bytes_per_second,
    )
    encoder = Encoder(
        ffmpeg=str(settings.ffmpeg or bundled_ffmpeg()),
        max_duration_seconds=settings.max_duration_seconds,
        stall_seconds=settings.stall_seconds,
    )

    async def parts(app: web.Application) -> AsyncIterator[None]:
        with ThreadPoolExecutor(_THREADS) as threads:
            asyncio.get_running_loop().set_default_executor(threads)
            await asyncio.to_thread(storage.prepare)
            async with open_database(database_url, _DATABASE_CONNECTIONS) as database:
                app[keys.DATABASE] = database
                app[keys.INGEST] = Ingest(
                    encoder=encoder,
                    storage=storage,
                    database=database,
                    default_bit_rate=settings.bit_rate,
                    max_upload_bytes=settings.max_upload_bytes,
                    max_duration_seconds=settings.max_duration_seconds,
                )
                yield

    app.cleanup_ctx.append(parts)
    add_routes(app)
    app.on_response_prepare.append(_hide_server)
    return app


async def _hide_server(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.popall("Server", None)
