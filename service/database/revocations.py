"""Which running uploads must end: one typed function for each statement."""

from collections.abc import Mapping
from uuid import UUID

from service.database.pool import Database, read_query
from service.models import User

_SELECT = read_query("select_revoked_uploads")


async def select_revoked(database: Database, uploads: Mapping[UUID, User]) -> dict[UUID, bool]:
    """Return the uploads whose user has been deleted or disabled, or has another token; True means disabled."""
    parameters = {
        "ids": list(uploads),
        "user_ids": [user.id for user in uploads.values()],
        "tokens_sha256": [user.token_sha256 for user in uploads.values()],
    }
    return {row["id"]: row["is_disabled"] for row in await database.fetch_all(_SELECT, parameters)}
