"""The table of refusals: the service raises from it, and the error responses in openapi.json are generated from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from service.errors import (
    ClientGone,
    ClientStalled,
    Conflict,
    ExpectationFailed,
    Forbidden,
    InternalError,
    LengthRequired,
    MalformedRequest,
    MethodNotAllowed,
    NotAuthenticated,
    NotFound,
    PreconditionFailed,
    RangeNotSatisfiable,
    ServiceError,
    StorageFull,
    TooLarge,
    TooManyRequests,
    Unavailable,
    Unprocessable,
    UnsupportedMedia,
)

E = TypeVar("E", bound=ServiceError)


@dataclass(frozen=True, slots=True)
class Refusal(Generic[E]):
    """One row of the table. Calling it makes the error to raise.

    `kind` has the status and the title. `sentence` is a format string: each call gives the facts that it names.
    `example` has such facts for the documentation, and `offset` is an example of an offset.
    """

    kind: type[E]
    code: str
    sentence: str
    example: Mapping[str, object] = field(default_factory=dict)
    offset: int | None = None

    def __call__(self, *, offset: int | None = None, **facts: object) -> E:
        """Return the error, with the facts in its sentence. Raises KeyError if a fact is missing."""
        return self.kind(self.code, self.sentence.format(**facts), offset=offset, facts=facts)

    def shown(self) -> E:
        """Return the error of the example."""
        return self(offset=self.offset, **self.example)


# 400: the request cannot be read.
BAD_REQUEST = Refusal(MalformedRequest, "bad_request", "This is not a well-formed HTTP/1.1 request.")
INVALID_HOST = Refusal(
    MalformedRequest,
    "invalid_host",
    "This service is not called by that name. Its operator can add the name to WAVEPRESS_ALLOWED_HOSTS.",
)
FIELD_TOO_LONG = Refusal(
    MalformedRequest,
    "field_too_long",
    "A field has more than {max_bytes} bytes. If it is the WAV, give the part a file name.",
    {"max_bytes": 8192},
)
MALFORMED_BODY = Refusal(MalformedRequest, "malformed_body", "The body's transfer coding is broken. Send it again.")
MALFORMED_DIGEST = Refusal(
    MalformedRequest, "malformed_digest", "Send Content-Digest as sha-256=:<base64 of 32 bytes>:."
)
MALFORMED_JSON = Refusal(
    MalformedRequest, "malformed_json", 'The body is not JSON. Send {{"username": "ann"}}, or a form.'
)
MALFORMED_MULTIPART = Refusal(
    MalformedRequest,
    "malformed_multipart",
    "The body is not a form with the boundary of its Content-Type. If you set this header by hand, leave it out: "
    "whatever makes the form adds it.",
)
MISSING_BOUNDARY = Refusal(
    MalformedRequest,
    "missing_boundary",
    "Content-Type has no boundary. Leave this header out: whatever makes the form adds it, with the boundary.",
)
MISSING_HOST = Refusal(
    MalformedRequest,
    "missing_host",
    "The request has no Host header, which HTTP/1.1 requires. Send Host: <this service>.",
)
NESTED_MULTIPART = Refusal(
    MalformedRequest, "nested_multipart", "A part of the form is a multipart itself. Send one flat form."
)
PARTIAL_UPLOAD = Refusal(
    MalformedRequest,
    "partial_upload",
    "Content-Range says that this is a part of a file. Send the whole WAV in one request, without this header.",
)
SECOND_FILE = Refusal(MalformedRequest, "second_file", "The form has a second file. Send one file in each request.")
TOO_MANY_FIELDS = Refusal(
    MalformedRequest,
    "too_many_fields",
    "More than {max_bytes} bytes surround the file. Send fewer fields.",
    {"max_bytes": 65536},
)
TRANSFER_ENCODED = Refusal(
    MalformedRequest, "transfer_encoded", "Send the parts in binary, without Content-Transfer-Encoding."
)
UNEXPECTED_FILE = Refusal(MalformedRequest, "unexpected_file", "This form takes no file. Send the field alone.")

INCONSISTENT_LENGTH = Refusal(
    MalformedRequest,
    "inconsistent_upload_length",
    "The upload has a length of {length} bytes, and this request means {given}. Send the length that it has.",
    {"length": 52_920_044, "given": 52_920_000},
)
INVALID_UPLOAD_HEADER = Refusal(
    MalformedRequest,
    "invalid_upload_header",
    "{name} is {rule}.",
    {"name": "Upload-Offset", "rule": "a number of bytes"},
)
MALFORMED_UPLOAD_METADATA = Refusal(
    MalformedRequest,
    "malformed_upload_metadata",
    "Upload-Metadata is a list of keys, each with a value in base64 of UTF-8: filename dGFsay53YXY=,bit_rate NjQwMDA=.",
)
NOT_RESUMABLE = Refusal(
    MalformedRequest,
    "not_resumable",
    "This address takes resumable uploads: send Tus-Resumable or Upload-Complete. For a plain upload, POST /records.",
)
UPLOAD_COMPLETED = Refusal(
    MalformedRequest, "completed_upload", "The upload is complete and takes no more bytes. Ask for it with GET."
)

# 401: who is asking?
MISSING_TOKEN = Refusal(
    NotAuthenticated,
    "missing_token",
    "Send your token in the header: Authorization: Bearer <token>. If you wrote $TOKEN there, it is empty.",
)
REGISTRATION_TOKEN_REQUIRED = Refusal(
    NotAuthenticated,
    "registration_token_required",
    "Creating a user needs the registration token of this service's operator: Authorization: Bearer <token>.",
)
TOKEN_EXPIRED = Refusal(
    NotAuthenticated, "token_expired", "This token has expired. Ask this service's operator for a new one."
)
UNKNOWN_TOKEN = Refusal(
    NotAuthenticated, "unknown_token", "This token belongs to no one. Create a user to get one: POST /users."
)

# 403: the caller is known and may not do this.
NOT_YOUR_RECORD = Refusal(Forbidden, "not_your_record", "This record belongs to another user.")
ORIGIN_NOT_ALLOWED = Refusal(
    Forbidden,
    "origin_not_allowed",
    "Pages of this origin may not use the API. Its operator can add the origin to WAVEPRESS_CORS_ORIGINS.",
)
QUOTA_EXCEEDED = Refusal(
    Forbidden,
    "quota_exceeded",
    "You may keep {max_records} records and {max_bytes} bytes. Delete some records first.",
    {"max_records": 1_000_000, "max_bytes": 2**40},
)
REGISTRATION_CLOSED = Refusal(
    Forbidden, "registration_closed", "This service takes no new users. Ask its operator for a token."
)
USER_DISABLED = Refusal(
    Forbidden, "user_disabled", "This user has been disabled. Ask this service's operator to enable it again."
)
WRONG_USER_ID = Refusal(Forbidden, "wrong_user_id", "The field user_id must be the id of the token's user.")
WRONG_USER_TOKEN = Refusal(Forbidden, "wrong_user_token", "user_token is not the token of the user in user_id.")

# 404 and 405: there is no such thing.
NO_SUCH_ADDRESS = Refusal(NotFound, "not_found", "There is nothing at this address. The API is described at /docs.")
NO_WAVEFORM = Refusal(
    NotFound,
    "no_waveform",
    "This recording has no waveform, because an older version of the service has kept it.",
)
RECORDING_GONE = Refusal(
    NotFound,
    "recording_gone",
    "This recording is not there any more. Ask the person from whom you have the link for a new one.",
)
RECORD_NOT_FOUND = Refusal(NotFound, "record_not_found", "There is no such record.")
USER_NOT_FOUND = Refusal(NotFound, "user_not_found", "There is no such user.")
UPLOAD_CUT = Refusal(
    NotFound,
    "upload_cut",
    "Its client has ended this upload before it was whole. If it is to be kept then, begin it with ?incomplete=keep.",
)
UPLOAD_EXPIRED = Refusal(
    NotFound,
    "upload_expired",
    "Nothing came for {seconds:g} seconds, so that the upload has ended. Send it again from its start.",
    {"seconds": 900},
)
UPLOAD_LOST = Refusal(
    NotFound, "upload_lost", "The process that had this upload has ended. Send it again from its start."
)
UPLOAD_NOT_FOUND = Refusal(
    NotFound, "upload_not_found", "There is no such upload under way. If you were sending it, begin again."
)
METHOD_NOT_ALLOWED = Refusal(
    MethodNotAllowed,
    "method_not_allowed",
    "This address does not take {method}. It takes {allowed}.",
    {"method": "PATCH", "allowed": "GET, HEAD"},
)
MP3_NOT_REPLACEABLE = Refusal(
    MethodNotAllowed,
    "mp3_not_replaceable",
    "An MP3 never changes, and this is the address of one. It takes {allowed}. Send another WAV to /records/.",
    {"allowed": "DELETE, GET, HEAD"},
)

# 408: the body does not arrive.
SLOW_BODY = Refusal(
    ClientStalled,
    "slow_body",
    "The body arrives at less than {min_bytes_per_second} bytes a second. Send it over a faster line.",
    {"min_bytes_per_second": 1000},
    offset=30_000,
)
STALLED_BODY = Refusal(
    ClientStalled,
    "stalled_body",
    "No byte arrived for {seconds:g} seconds. Send the upload again.",
    {"seconds": 30},
    offset=65_536,
)
UPLOAD_TOO_SLOW = Refusal(
    ClientStalled,
    "upload_too_slow",
    "An upload may take {max_seconds:g} seconds in all. Send it over a faster line, or as several recordings.",
    {"max_seconds": 90_000},
)

# 409, 411, 412, 416 and 417: the request's own conditions.
MISMATCHING_OFFSET = Refusal(
    Conflict,
    "mismatching_upload_offset",
    "The upload has {expected} bytes, and this request begins at {provided}. Go on at {expected}.",
    {"expected": 1_048_576, "provided": 2_097_152},
)
UPLOAD_RUNNING = Refusal(
    Conflict, "upload_running", "An upload with this Idempotency-Key is still running. Ask again in a moment."
)
LENGTH_REQUIRED = Refusal(
    LengthRequired,
    "length_required",
    "The request does not say how long its body is. Send Content-Length, or Transfer-Encoding: chunked.",
)
PRECONDITION_FAILED = Refusal(
    PreconditionFailed,
    "precondition_failed",
    "The MP3 is not the version that If-Match or If-Unmodified-Since asks for.",
)
UNSUPPORTED_TUS_VERSION = Refusal(
    PreconditionFailed, "unsupported_tus_version", "This service speaks tus 1.0.0. Send Tus-Resumable: 1.0.0."
)
RANGE_NOT_SATISFIABLE = Refusal(
    RangeNotSatisfiable,
    "range_not_satisfiable",
    "This MP3 has {size} bytes. Ask for a range within them.",
    {"size": 67_334},
)
EXPECTATION_FAILED = Refusal(
    ExpectationFailed, "expectation_failed", "Only Expect: 100-continue is understood. Leave the header out."
)

# 413: more than the service takes.
TOO_LARGE = Refusal(
    TooLarge, "too_large", "The body is too large: {max_bytes} bytes is the most.", {"max_bytes": 2**32}, offset=2**32
)
TOO_LONG = Refusal(
    TooLarge, "too_long", "This service takes recordings of up to {max_seconds} seconds.", {"max_seconds": 86_400}
)

# 415: not a WAV.
CONTENT_ENCODED = Refusal(UnsupportedMedia, "content_encoded", "Send the body as it is, without Content-Encoding.")
NOT_WAV = Refusal(
    UnsupportedMedia,
    "not_wav",
    "This is {what}. {advice}",
    {"what": "a ZIP archive", "advice": "Unpack it first, and send the WAV that is in it."},
    offset=0,
)
UNSUPPORTED_TYPE = Refusal(
    UnsupportedMedia,
    "unsupported_type",
    "{declared} is not taken. Send audio/wav, multipart/form-data, or PUT the file.",
    {"declared": "audio/mpeg"},
)

# 422: understood and refused.
DIGEST_MISMATCH = Refusal(
    Unprocessable, "digest_mismatch", "The WAV that arrived does not have the digest that was sent. Send it again."
)
CANNOT_FIT = Refusal(
    Unprocessable,
    "cannot_fit",
    "The MP3 does not fit into {max_bytes} bytes: {reason}. Ask for more, or send less sound.",
    {"max_bytes": 26_214_400, "reason": "at 44100 Hz, 43200888 bytes are the least"},
)
EMPTY = Refusal(
    Unprocessable,
    "empty",
    "The body has {byte_count} bytes and not one sample. {advice}",
    {"byte_count": 44, "advice": "Send a WAV with sound."},
    offset=44,
)
HEADER_TOO_LARGE = Refusal(
    Unprocessable,
    "header_too_large",
    "More than {max_bytes} bytes, or {max_chunks} chunks, come before the samples. Remove the metadata.",
    {"max_bytes": 16 * 2**20, "max_chunks": 65_536},
    offset=36,
)
IDEMPOTENCY_KEY_REUSED = Refusal(
    Unprocessable,
    "idempotency_key_reused",
    "This Idempotency-Key came with another upload. Use a new key for a new upload.",
)
INVALID_AFTER = Refusal(
    Unprocessable, "invalid_after", "`after` comes from the page before. Follow that page's `next` link as it is."
)
INVALID_BIT_RATE = Refusal(
    Unprocessable,
    "invalid_bit_rate",
    "bit_rate is in bit/s: {legal}.",
    {"legal": "at 8000 Hz one of 8000, 16000, 24000, 32000, 40000, 48000, 56000, 64000"},
)
INVALID_COLOR = Refusal(
    Unprocessable,
    "invalid_color",
    "{name} is a colour as in #4b7bec or in teal. Write # as %23 in an address.",
    {"name": "color"},
)
INVALID_EXPIRES_IN = Refusal(
    Unprocessable,
    "invalid_expires_in",
    "expires_in is a whole number of seconds from 1 to {most}.",
    {"most": 3_155_760_000},
)
INVALID_FILENAME = Refusal(
    Unprocessable,
    "invalid_filename",
    "A file name {rule}.",
    {"rule": "is UTF-8 and has no control characters"},
)
INVALID_IDEMPOTENCY_KEY = Refusal(
    Unprocessable,
    "invalid_idempotency_key",
    "An Idempotency-Key has 1 to {max_length} printable ASCII characters.",
    {"max_length": 255},
)
INVALID_INCOMPLETE = Refusal(
    Unprocessable,
    "invalid_incomplete",
    "incomplete takes one value: keep. Leave it out if only a whole WAV may become a record.",
)
CANNOT_KEEP = Refusal(
    Unprocessable,
    "cannot_keep",
    "This upload was begun without ?incomplete=keep, so a part of it cannot be kept, and it goes on. DELETE without "
    "?incomplete=keep ends it.",
)
INVALID_LIMIT = Refusal(
    Unprocessable, "invalid_limit", "limit is a whole number from 1 to {largest}.", {"largest": 500}
)
INVALID_SEARCH = Refusal(
    Unprocessable,
    "invalid_search",
    "search is a part of a file's name: up to {most} characters, none of them a control character.",
    {"most": 200},
)
INVALID_USERNAME = Refusal(
    Unprocessable,
    "invalid_username",
    'A username has 1 to {max_length} characters and no control characters. Send it as {{"username": "ann"}}.',
    {"max_length": 250},
)
INVALID_MAX_BYTES = Refusal(
    Unprocessable,
    "invalid_max_bytes",
    "max_bytes is a whole number of bytes, such as 26214400. It chooses the bit rate, so leave bit_rate out.",
)
INVALID_PICTURE_SIZE = Refusal(
    Unprocessable, "invalid_picture_size", "{name} is in pixels: from 1 to {most}.", {"name": "width", "most": 4000}
)
INVALID_SAMPLE_RATE = Refusal(
    Unprocessable,
    "invalid_sample_rate",
    "sample_rate is the MP3's in Hz: one of {legal}.",
    {"legal": "8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000"},
)
MALFORMED_BLOCK = Refusal(
    Unprocessable,
    "malformed_block",
    "{what} Record or convert the WAV again.",
    {"what": "A block of IMA ADPCM has an index of 89, and 88 is the highest."},
    offset=318,
)
MALFORMED_HEADER = Refusal(
    Unprocessable,
    "malformed_header",
    "{what} Export the WAV again.",
    {"what": "The fmt chunk is shorter than 16 bytes."},
    offset=20,
)
NO_FILE = Refusal(
    Unprocessable,
    "no_file",
    "The form has no file. Send the WAV as a part with a file name; with curl: -F file=@talk.wav, with the @.",
)
SECOND_SOUND = Refusal(
    Unprocessable,
    "second_sound",
    "Another {what} follows the samples, and players do not play it. Send each recording in its own request, or keep "
    "the first one alone with ?incomplete=keep.",
    {"what": "WAV"},
    offset=16_044,
)
SIZE_WRAPPED = Refusal(
    Unprocessable,
    "size_wrapped",
    "This WAV is over 4 GiB, more than its 32-bit sizes can say. Send it as RF64.",
    offset=2**32 + 8,
)
TRUNCATED = Refusal(
    Unprocessable,
    "truncated",
    "The body ends after {byte_count} bytes, before the end of the WAV's {part}. {advice}",
    {
        "byte_count": 65_580,
        "part": "176400 bytes of samples",
        "advice": "If it was cut in transfer, send the whole file. If its header is wrong, send it with "
        "?incomplete=keep to keep what arrived.",
    },
    offset=65_580,
)
UNCLEAR_END = Refusal(
    Unprocessable,
    "unclear_end",
    "What follows the samples may be a broken chunk or more sound. Export the WAV again, or send it with "
    "?incomplete=keep to keep the samples before it.",
    offset=16_044,
)
UNENCODABLE_AUDIO = Refusal(
    Unprocessable,
    "unencodable_audio",
    "A sample is not a number, is infinite or is far out of range. Export the WAV again.",
)
UNKNOWN_LENGTH = Refusal(
    Unprocessable,
    "unknown_length",
    "The WAV does not say how much sound it has, so no bit rate can be chosen for max_bytes. Send a WAV that was "
    "finished, or ask for a bit_rate.",
)
UNSUPPORTED_CHANNELS = Refusal(
    Unprocessable,
    "unsupported_channels",
    "The WAV has {channels} channels. Send {legal}.",
    {"channels": 0, "legal": "1 to 32"},
    offset=22,
)
UNSUPPORTED_CODEC = Refusal(
    Unprocessable,
    "unsupported_codec",
    "The WAV holds format 0x{tag:04X} with {bits} bits. Send PCM of 8, 16, 24 or 32 bits, float of 32 or 64 bits, "
    "A-law, mu-law, GSM 6.10, IMA ADPCM or MS ADPCM.",
    {"tag": 0x0055, "bits": 0},
    offset=20,
)
UNSUPPORTED_SAMPLE_RATE = Refusal(
    Unprocessable,
    "unsupported_sample_rate",
    "The WAV's sample rate is {sample_rate} Hz. Send {least} to {most} Hz.",
    {"sample_rate": 1, "least": 1000, "most": 768_000},
    offset=24,
)

# 429: the limit of a user, or of a client's address.
TOO_MANY_FAILURES = Refusal(
    TooManyRequests,
    "too_many_failures",
    "Too many wrong tokens have come from your address. Send the right one, or wait {retry_after_seconds} seconds.",
    {"retry_after_seconds": 5},
)
TOO_MANY_REGISTRATIONS = Refusal(
    TooManyRequests,
    "too_many_registrations",
    "Too many users have been created from your address. Wait {retry_after_seconds} seconds.",
    {"retry_after_seconds": 5},
)
TOO_MANY_UPLOADS = Refusal(
    TooManyRequests,
    "too_many_uploads",
    "You have as many uploads running as you may: {max_uploads}. Wait for one to end.",
    {"max_uploads": 32},
)

# 499 is never sent: the client has gone.
CLIENT_GONE = Refusal(ClientGone, "client_gone", "The client closed the connection.")

# 500: a bug.
INTERNAL_ERROR = Refusal(
    InternalError,
    "internal_error",
    "The service failed. Tell its operator the request id {request_id}.",
    {"request_id": "0b7c1c5e0b7c1c5e0b7c1c5e0b7c1c5e"},
)

# 503 and 507: not now.
DATABASE_UNAVAILABLE = Refusal(
    Unavailable, "database_unavailable", "The database does not answer now. Try again in a moment."
)
ENCODER_FAILED = Refusal(Unavailable, "encoder_failed", "The encoder failed on this upload. Try again.")
ENCODER_UNAVAILABLE = Refusal(Unavailable, "encoder_unavailable", "The encoder cannot be started. Try again later.")
NOT_READY = Refusal(
    Unavailable,
    "not_ready",
    "{checks}",
    {"checks": "database: The database does not answer now. Try again in a moment."},
)
QUEUE_FULL = Refusal(Unavailable, "queue_full", "All encoders are busy and the queue is full. Try again in a moment.")
SHUTTING_DOWN = Refusal(Unavailable, "shutting_down", "The service is shutting down. Try again in a moment.")
STORAGE_UNAVAILABLE = Refusal(
    Unavailable, "storage_unavailable", "Recordings cannot be kept or read now. Try again later."
)
TOO_MANY_SUSPENDED = Refusal(
    Unavailable,
    "too_many_suspended",
    "Nothing came for a while, and no more uploads may wait for their clients. Send it again from its start.",
)
UPLOAD_ELSEWHERE = Refusal(
    Unavailable,
    "upload_elsewhere",
    "The process that has this upload cannot be reached now. Try again in a moment.",
)
BYTES_FULL = Refusal(
    StorageFull,
    "bytes_full",
    "All users together may keep {max_bytes} bytes, and they do. Try again later.",
    {"max_bytes": 2**40},
)
USERS_FULL = Refusal(
    StorageFull,
    "users_full",
    "This service has as many users as it may: {max_users}. Ask its operator for a token.",
    {"max_users": 10_000},
)
STORAGE_FULL = Refusal(StorageFull, "storage_full", "There is no room for this recording now. Try again later.")

TABLE: Mapping[str, Refusal[ServiceError]] = {
    row.code: row for row in list(globals().values()) if isinstance(row, Refusal)
}


def refusal_of(code: str, detail: str, offset: int | None) -> ServiceError:
    """Return the error of a refusal that was written down. A code of another version is a bug's."""
    kind = TABLE[code].kind if code in TABLE else InternalError
    return kind(code, detail, offset=offset)
