"""What the composition root hands to the routes."""

from aiohttp import web

from service.admission import Admission
from service.database import Database
from service.ingest import Ingest
from service.storage.disk import DiskStorage
from service.web.body import BodyLimits

ADMISSION = web.AppKey("admission", Admission)
BODY_LIMITS = web.AppKey("body_limits", BodyLimits)
DATABASE = web.AppKey("database", Database)
INGEST = web.AppKey("ingest", Ingest)
PUBLIC_URL = web.AppKey("public_url", str)
STORAGE = web.AppKey("storage", DiskStorage)

# Set once a request has shown whose it is.
USER_ID = web.RequestKey("user_id", int)
