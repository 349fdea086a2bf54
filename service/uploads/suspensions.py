"""Counts the suspended uploads: those that have an encoder and no slot."""

from collections import Counter

from service import metrics
from service.refusals import TOO_MANY_SUSPENDED
from service.uploads.places import Places


class Suspensions:
    """At most `places.max_suspended` uploads of all processes, and half of them of one user."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._of = Counter[int]()

    def take(self, user_id: int) -> None:
        """Count one more of the user's. Raises Unavailable if there may be no more."""
        has_half = self._of[user_id] >= max(1, self._places.max_suspended // 2)
        if has_half or not self._places.take_suspension():
            raise TOO_MANY_SUSPENDED()
        self._of[user_id] += 1
        metrics.UPLOADS_SUSPENDED.inc()

    def give_back(self, user_id: int) -> None:
        """Count one of the user's less."""
        self._of[user_id] -= 1
        if self._of[user_id] == 0:
            del self._of[user_id]  # else it would grow with every user
        self._places.give_back_suspension()
        metrics.UPLOADS_SUSPENDED.dec()
