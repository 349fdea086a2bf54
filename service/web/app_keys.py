"""What the composition root hands to the routes."""

from collections.abc import Collection, Sequence
from ipaddress import IPv4Network, IPv6Network

from aiohttp import web

from service.database.pool import Database
from service.health import Health
from service.models import Record
from service.storage import Storage
from service.uploads.admission import Admission
from service.uploads.intake import Intake
from service.uploads.leases import Leases
from service.web.body import BodyLimits

ALLOWED_HOSTS: web.AppKey[Collection[str]] = web.AppKey("allowed_hosts")
ADMISSION = web.AppKey("admission", Admission)
BODY_LIMITS = web.AppKey("body_limits", BodyLimits)
DOWNLOAD_STALL_SECONDS = web.AppKey("download_stall_seconds", float)
DATABASE = web.AppKey("database", Database)
HEALTH = web.AppKey("health", Health)
INTAKE = web.AppKey("intake", Intake)
LEASES = web.AppKey("leases", Leases)
PUBLIC_URL = web.AppKey("public_url", str)
TRUSTED_PROXIES: web.AppKey[Sequence[IPv4Network | IPv6Network]] = web.AppKey("trusted_proxies")
STORAGE: web.AppKey[Storage] = web.AppKey("storage")

# What a request's log line and metrics tell, set on the way.
DOWNLOAD = web.RequestKey("download", bool)
NO_ROUTE = web.RequestKey("no_route", bool)
OUTCOME = web.RequestKey("outcome", str)
RECORD = web.RequestKey("record", Record)
REQUEST_ID = web.RequestKey("request_id", str)
TRANSPORT = web.RequestKey("transport", str)
USER_ID = web.RequestKey("user_id", int)
