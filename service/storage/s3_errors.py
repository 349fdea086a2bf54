"""What the errors of an S3-compatible store mean."""

import contextlib
from collections.abc import Iterator

from obstore.exceptions import BaseError

from service.errors import Unavailable
from service.ids import shortened
from service.storage.draft_files import unavailable


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
    """Return an error's first line, without whole ids."""
    return shortened(str(error).partition("\n")[0])
