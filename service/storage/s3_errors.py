"""What the errors of an S3-compatible store mean."""

import contextlib
import re
from collections.abc import Iterator

from obstore.exceptions import BaseError

from service.errors import Unavailable
from service.storage.draft_files import unavailable

_ID = re.compile(r"([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@contextlib.contextmanager
def translated_store_errors() -> Iterator[None]:
    """Turn the store's errors into Unavailable, and log them."""
    try:
        yield
    except (BaseError, OSError) as error:
        raise failed(error) from error


def failed(error: Exception) -> Unavailable:
    """Log why the store does not work, and return the refusal, which does not tell."""
    return unavailable(reason(error))


def reason(error: Exception) -> str:
    """Return an error's first line without the whole id: knowing it is the permission to download."""
    return _ID.sub(r"\1...", str(error).partition("\n")[0])
