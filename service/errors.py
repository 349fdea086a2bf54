"""The errors that a caller can act upon: one class for each HTTP status."""

from collections.abc import Mapping
from typing import ClassVar, TypeVar

Kind = TypeVar("Kind", bound="ServiceError")


class ServiceError(Exception):
    """A refusal that the caller can act upon; only the table in `service.refusals` makes these.

    `code` is stable snake_case for programs. `detail` is a sentence for people. `offset` is the byte of the body
    at which the error was found, if that is known. `facts` are the values that the sentence names. None of them
    may reveal anything internal.
    """

    status: ClassVar[int]
    title: ClassVar[str]

    def __init__(
        self, code: str, detail: str, *, offset: int | None = None, facts: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.offset = offset
        self.facts = facts or {}

    def as_kind(self, kind: type[Kind]) -> Kind:
        """Return the same refusal under another status: an older API may have its own."""
        return kind(self.code, self.detail, offset=self.offset, facts=self.facts)


class MalformedRequest(ServiceError):
    """The request cannot be read: broken multipart, broken JSON, a second file."""

    status = 400
    title = "Malformed request"


class NotAuthenticated(ServiceError):
    """There is no token, or the token belongs to no user."""

    status = 401
    title = "Not authenticated"


class Forbidden(ServiceError):
    """The token is right, but its user may not do this."""

    status = 403
    title = "Forbidden"


class NotFound(ServiceError):
    """It does not exist, or it is not the caller's: a client must not be able to tell the two apart."""

    status = 404
    title = "Not found"


class MethodNotAllowed(ServiceError):
    """The address exists and does not take that method."""

    status = 405
    title = "Method not allowed"


class ClientStalled(ServiceError):
    """The body stopped arriving, or arrives more slowly than the minimum rate."""

    status = 408
    title = "The body stalled"


class Conflict(ServiceError):
    """Another upload with the same idempotency key is still running."""

    status = 409
    title = "Conflict"


class LengthRequired(ServiceError):
    """The request does not say how long its body is, so that it has none."""

    status = 411
    title = "Length required"


class PreconditionFailed(ServiceError):
    """The record is not the version that the request's conditions ask for."""

    status = 412
    title = "Precondition failed"


class TooLarge(ServiceError):
    """More bytes or more seconds than this service takes."""

    status = 413
    title = "Too large"


class UnsupportedMedia(ServiceError):
    """Not a WAV, by its declared type or by its first bytes."""

    status = 415
    title = "Not a WAV"


class RangeNotSatisfiable(ServiceError):
    """The range begins after the end of the MP3."""

    status = 416
    title = "Range not satisfiable"


class ExpectationFailed(ServiceError):
    """The request expects something other than "100 Continue"."""

    status = 417
    title = "Expectation failed"


class Unprocessable(ServiceError):
    """A WAV, or a field, that we understand and refuse."""

    status = 422
    title = "Cannot be processed"


class TooManyRequests(ServiceError):
    """The user, or the client's address, does as much as one may. `facts` may have `retry_after_seconds`."""

    status = 429
    title = "Too many requests"


class ClientGone(ServiceError):
    """The client closed the connection before the whole body had arrived. Hardly any client can read this status."""

    status = 499
    title = "Client closed the connection"


class InternalError(ServiceError):
    """A bug."""

    status = 500
    title = "Internal error"


class Unavailable(ServiceError):
    """The service cannot do it now; the same request may succeed later."""

    status = 503
    title = "Not available now"


class StorageFull(ServiceError):
    """There is no room for the recording, or for another user."""

    status = 507
    title = "No room left"
