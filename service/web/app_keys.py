"""Keys of what the composition root gives to the routes, and of what a request's log line needs."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network

from aiohttp import web

from service.accounts.address_limits import AddressLimits
from service.accounts.registration import Registration
from service.accounts.tokens import Tokens
from service.database.pool import Database
from service.health import Health
from service.models import Record, User
from service.storage import Storage
from service.uploads.admission import Admission
from service.uploads.intake import Intake
from service.uploads.leases import Leases
from service.uploads.live import LiveUpload, LiveUploads
from service.uploads.removal import Removal
from service.uploads.resumption import Resumption
from service.web.body import BodyLimits

ADDRESS_LIMITS = web.AppKey("address_limits", AddressLimits)
ALLOWED_HOSTS: web.AppKey[Collection[str]] = web.AppKey("allowed_hosts")
ADMISSION = web.AppKey("admission", Admission)
# The handlers of capability addresses: who has the address may read it, also a page of any origin.
CAPABILITIES: web.AppKey[Collection[Callable[[web.Request], Awaitable[web.StreamResponse]]]] = web.AppKey(
    "capabilities"
)
BODY_LIMITS = web.AppKey("body_limits", BodyLimits)
DOWNLOAD_STALL_SECONDS = web.AppKey("download_stall_seconds", float)
DATABASE = web.AppKey("database", Database)
# Set once no more connections are taken.
ENDS = web.AppKey("ends", asyncio.Event)
HEALTH = web.AppKey("health", Health)
INTAKE = web.AppKey("intake", Intake)
LEASES = web.AppKey("leases", Leases)
LIVE_UPLOADS = web.AppKey("live_uploads", LiveUploads)
REGISTRATION = web.AppKey("registration", Registration)
RELAY_ADDRESS = web.AppKey("relay_address", str)
RELAY_LISTENER = web.AppKey("relay_listener", socket.socket)
REMOVAL = web.AppKey("removal", Removal)
RESUME_SECONDS = web.AppKey("resume_seconds", float)
RESUMPTION = web.AppKey("resumption", Resumption)
TOKENS = web.AppKey("tokens", Tokens)
MAX_CONNECTIONS = web.AppKey("max_connections", int)
SHUTDOWN_SECONDS = web.AppKey("shutdown_seconds", float)
# The origins whose pages may use the API; "*" stands for all.
PAGE_ORIGINS: web.AppKey[Collection[str]] = web.AppKey("page_origins")
PUBLIC_URL = web.AppKey("public_url", str)
TRUSTED_PROXIES: web.AppKey[Sequence[IPv4Network | IPv6Network]] = web.AppKey("trusted_proxies")
STORAGE: web.AppKey[Storage] = web.AppKey("storage")

# The parameters of an upload, if not all of them are in the query.
PARAMETERS: web.RequestKey[Mapping[str, str]] = web.RequestKey("parameters")
# The resumable upload that a request is about.
LIVE_UPLOAD = web.RequestKey("live_upload", LiveUpload)

# Set when the head of a request's answer is about to be sent: no other answer can follow.
ANSWER_BEGUN = web.RequestKey("answer_begun", bool)

# Set while a request is handled, for its log line and its metrics.
DOWNLOAD = web.RequestKey("download", bool)
NO_ROUTE = web.RequestKey("no_route", bool)
OUTCOME = web.RequestKey("outcome", str)
RECORD = web.RequestKey("record", Record)
REQUEST_ID = web.RequestKey("request_id", str)
# How many bytes of a body have been sent that goes out piece by piece.
SENT_BYTES = web.RequestKey("sent_bytes", int)
TRANSPORT = web.RequestKey("transport", str)
USER = web.RequestKey("user", User)
