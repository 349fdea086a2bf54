"""What happens to accounts, as operators see it: one log line and one count for each event."""

from typing import Literal

import structlog

from service import metrics

log = structlog.stdlib.get_logger()

Event = Literal[
    "user_created", "token_offered", "token_replaced", "user_disabled", "user_enabled", "user_deleted", "user_removed"
]


def note(event: Event, user_id: int) -> None:
    """Write the event's line and count it. A request's id is in the line by itself."""
    metrics.ACCOUNT_EVENTS.labels(event).inc()
    log.info(event, user_id=user_id)
