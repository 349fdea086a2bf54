"""Where an S3-compatible store is, and how to connect to it."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from obstore.store import S3Store

_CONNECT_SECONDS = 5
# For one request, including the body of its answer.
_REQUEST_SECONDS = 20
_RETRIES_OF_A_REQUEST = 3


@dataclass(frozen=True, slots=True)
class S3Location:
    """A bucket, and the prefix below which MP3s are kept in it.

    The standard AWS variables, profiles and instance roles give a value that is None here.
    """

    bucket: str
    prefix: str
    endpoint_url: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None

    def connect(self) -> S3Store:
        """Return a client, without a request to the store."""
        given: dict[str, Any] = {
            "endpoint": self.endpoint_url,
            "region": self.region,
            "access_key_id": self.access_key_id,
            "secret_access_key": self.secret_access_key,
        }
        return S3Store(
            self.bucket,
            prefix=self.prefix or None,
            # With this, the store itself refuses a body that was damaged on its way.
            checksum_algorithm="SHA256",
            client_options={
                "allow_http": (self.endpoint_url or "").startswith("http://"),
                "pool_max_idle_per_host": "16",
                "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
                "timeout": timedelta(seconds=_REQUEST_SECONDS),
            },
            retry_config={
                "max_retries": _RETRIES_OF_A_REQUEST,
                "retry_timeout": timedelta(seconds=_REQUEST_SECONDS),
                "backoff": {
                    "init_backoff": timedelta(milliseconds=100),
                    "max_backoff": timedelta(seconds=3),
                    "base": 2,
                },
            },
            **{name: value for name, value in given.items() if value is not None},
        )
