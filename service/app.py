"""The composition root: settings in, an application with all its parts out."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import web

from service import __version__, metrics
from service.background import in_background
from service.database.pool import open_database
from service.errors import StorageFull
from service.memory import give_back_for_ever
from service.parts import make_accounts, make_encoder, make_health, make_ingest, make_places, make_storage, user_limits
from service.relay_socket import open_relay_socket
from service.settings import Settings
from service.settings.values import is_loopback
from service.threads import OPERATORS, UPLOADS, PersistentExecutor
from service.uploads.admission import Admission
from service.uploads.intake import Intake
from service.uploads.leases import Leases
from service.uploads.live import LiveUploads
from service.uploads.places import Places
from service.uploads.removal import Removal
from service.uploads.resumption import Resumption
from service.uploads.revocation import Revocations
from service.web import app_keys
from service.web.body import BodyLimits
from service.web.connection import end_connection, keep_in_our_hands, leave_our_hands
from service.web.cors import share_with_pages
from service.web.errors import note_answer, translate_errors
from service.web.request_log import send_request_id
from service.web.resumable_answers import tell_upload
from service.web.routes.table import add_routes
from service.web.security_headers import secure_headers
from service.web.sending import own_file_headers

_DOWNLOAD_THREADS = 32


@dataclass(frozen=True, slots=True)
class DatabaseBudget:
    """What a process takes of the database: connections, and the seconds that a statement may take.

    If the process is killed, it holds its users' upload leases for up to `lease_seconds`.
    """

    connection_count: int = 10
    query_seconds: float = 5.0
    lease_seconds: float = 60.0


_USUAL_BUDGET = DatabaseBudget()


def create_app(
    settings: Settings, database_url: str, places: Places | None = None, *, budget: DatabaseBudget = _USUAL_BUDGET
) -> web.Application:
    """Build the application. The database at `database_url` must be migrated already.

    `places` are those that this process shares with others; by default it shares none.
    """
    metrics.BUILD_INFO.labels(__version__).set(1)
    app = web.Application(middlewares=[keep_in_our_hands, translate_errors])
    app[app_keys.ADMISSION] = Admission(places or make_places(settings), settings.max_uploads_per_user)
    app[app_keys.ENDS] = asyncio.Event()
    app[app_keys.STORAGE] = make_storage(settings)
    _configure(app, settings)
    parts = _Parts(settings, database_url, budget)
    app.cleanup_ctx.extend([parts.open_storage, parts.open_database, parts.open_relay, parts.open_use_cases])
    app.on_response_prepare.extend([leave_our_hands, end_connection, secure_headers, share_with_pages])
    app.on_response_prepare.extend([send_request_id, own_file_headers, tell_upload, note_answer])
    add_routes(app, with_metrics=settings.metrics_port is None)
    return app


def _configure(app: web.Application, settings: Settings) -> None:
    app[app_keys.PUBLIC_URL] = str(settings.public_url or "").rstrip("/")
    app[app_keys.ALLOWED_HOSTS] = settings.host_names
    app[app_keys.PAGE_ORIGINS] = settings.page_origins
    app[app_keys.TRUSTED_PROXIES] = settings.trusted_networks
    app[app_keys.SHUTDOWN_SECONDS] = settings.shutdown_seconds
    app[app_keys.MAX_CONNECTIONS] = settings.max_connections
    app[app_keys.DOWNLOAD_STALL_SECONDS] = settings.download_stall_seconds
    app[app_keys.RESUME_SECONDS] = settings.resume_seconds
    app[app_keys.BODY_LIMITS] = BodyLimits(
        max_upload_bytes=settings.max_upload_bytes,
        stall_seconds=settings.stall_seconds,
        min_bytes_per_second=settings.min_bytes_per_second,
    )


@dataclass(frozen=True, slots=True)
class _Parts:
    """What is opened when the application starts, in this order, and closed in the other order when it ends."""

    settings: Settings
    database_url: str
    budget: DatabaseBudget

    async def open_storage(self, app: web.Application) -> AsyncIterator[None]:
        for threads in (UPLOADS, OPERATORS):  # later, the system may have no thread left
            await threads.start()
        with PersistentExecutor("downloads", _DOWNLOAD_THREADS) as downloads:
            asyncio.get_running_loop().set_default_executor(downloads)
            await asyncio.to_thread(app[app_keys.STORAGE].prepare)
            with contextlib.suppress(StorageFull):  # it is logged; when there is room again, no restart is needed
                await app[app_keys.STORAGE].require_room()
            yield

    async def open_database(self, app: web.Application) -> AsyncIterator[None]:
        # It may be away now: gunicorn ends all workers if one of them does not start.
        budget = self.budget
        opening = open_database(
            self.database_url, budget.connection_count, query_seconds=budget.query_seconds, may_be_away=True
        )
        async with opening as app[app_keys.DATABASE]:
            yield

    async def open_relay(self, app: web.Application) -> AsyncIterator[None]:
        is_local = self.settings.database_url is None or is_loopback(self.settings.host)
        with open_relay_socket(self.database_url, is_local=is_local) as relay:
            app[app_keys.RELAY_LISTENER], app[app_keys.RELAY_ADDRESS] = relay.listener, relay.address
            yield

    async def open_use_cases(self, app: web.Application) -> AsyncIterator[None]:
        settings, database, storage = self.settings, app[app_keys.DATABASE], app[app_keys.STORAGE]
        encoder = make_encoder(settings, storage.draft_directory)
        app[app_keys.HEALTH] = make_health(encoder, storage, database)
        app[app_keys.LEASES] = leases = Leases(
            database, user_limits(settings), self.budget.lease_seconds, app[app_keys.RELAY_ADDRESS]
        )
        app[app_keys.REMOVAL] = removal = Removal(database, storage)
        accounts = make_accounts(settings, database)
        app[app_keys.TOKENS], app[app_keys.REGISTRATION] = accounts.tokens, accounts.registration
        app[app_keys.ADDRESS_LIMITS] = accounts.address_limits
        revocations = Revocations(database)
        app[app_keys.LIVE_UPLOADS] = live = LiveUploads(database)
        app[app_keys.INTAKE] = intake = Intake(
            app[app_keys.ADMISSION],
            leases,
            storage,
            make_ingest(settings, encoder, storage, database, accounts.totals),
            accounts.totals,
            revocations,
            live,
            stall_seconds=settings.stall_seconds,
            max_upload_seconds=settings.max_upload_seconds,
        )
        app[app_keys.RESUMPTION] = resumption = Resumption(intake, live)
        async with (
            in_background(leases.renew_for_ever()),
            in_background(removal.remove_for_ever()),
            in_background(revocations.look_for_ever()),
            in_background(accounts.totals.refresh_for_ever()),
            in_background(give_back_for_ever()),
        ):
            yield
            app[app_keys.ADMISSION].close()
            await app[app_keys.ADMISSION].drain(0)  # whoever ran the application may have done so already
            await resumption.wait_ended()
        await leases.give_back_owed()
