"""What can go wrong for a caller: each error states a case, a stable code and what to change."""

from typing import ClassVar


class ServiceError(Exception):
    """A refusal that the caller can act upon.

    `code` is stable snake_case for programs, `detail` a sentence for people; `offset` is the byte of the
    body at which the trouble was seen, where that is known. Nothing in them may come from inside the service.
    """

    title: ClassVar[str]

    def __init__(self, code: str, detail: str, *, offset: int | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.offset = offset


class MalformedRequest(ServiceError):
    """The request cannot be read: broken multipart, broken JSON, a second file."""

    title = "Malformed request"


class NotAuthenticated(ServiceError):
    """No token, or none that belongs to a user."""

    title = "Not authenticated"


class Forbidden(ServiceError):
    """The token is right and the request is not the user's to make."""

    title = "Forbidden"


class NotFound(ServiceError):
    """Not there, or not the caller's: the two look the same from outside."""

    title = "Not found"


class Conflict(ServiceError):
    """Another upload with the same idempotency key is still running."""

    title = "Conflict"


class PreconditionFailed(ServiceError):
    """The record is not the version that the request's conditions ask for."""

    title = "Precondition failed"


class RangeNotSatisfiable(ServiceError):
    """The range lies behind the end of the MP3."""

    title = "Range not satisfiable"

    def __init__(self, code: str, detail: str, *, size: int) -> None:
        super().__init__(code, detail)
        self.size = size


class ClientStalled(ServiceError):
    """The body stopped arriving, or arrives slower than the minimum rate."""

    title = "The body stalled"


class ClientGone(ServiceError):
    """The client closed the connection before the whole body had arrived."""

    title = "Client closed the connection"


class TooLarge(ServiceError):
    """More bytes or more seconds than this service takes."""

    title = "Too large"


class UnsupportedMedia(ServiceError):
    """Not a WAV, by its declared type or by its first bytes."""

    title = "Not a WAV"


class Unprocessable(ServiceError):
    """A WAV, or a field, that we understand and refuse."""

    title = "Cannot be processed"


class TooManyUploads(ServiceError):
    """The user has as many uploads running as one user may."""

    title = "Too many uploads"


class Unavailable(ServiceError):
    """The service cannot do it now; the same request may succeed later."""

    title = "Not available now"


class StorageFull(ServiceError):
    """There is no room for the recording."""

    title = "Storage is full"
