"""Reads the settings from the environment."""

import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from service.settings.accounts import AccountSettings
from service.settings.complaints import complaint
from service.settings.database_url import check_database_url, with_password
from service.settings.uploads import UploadSettings
from service.settings.values import (
    check_endpoint_url,
    check_file,
    check_networks,
    check_origins,
    check_public_url,
    check_storage_url,
    origins_in,
)

PREFIX = "WAVEPRESS_"
_SECRET = {"database_url", "database_password", "s3_secret_access_key", "registration_token"}


class InvalidSettingsError(Exception):
    """The environment has settings that are not valid; the message names each variable."""


class _FilesSource(PydanticBaseSettingsSource):
    """Reads a setting from a file: the variable with _FILE after its name has the path. Secrets come like this."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[str | None, str, bool]:  # noqa: ARG002 - its signature
        variable = f"{PREFIX}{field_name.upper()}_FILE"
        path = os.environ.get(variable)
        if not path:
            return None, field_name, False
        try:
            return Path(path).read_text(encoding="utf-8").strip(), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidSettingsError(f"{variable}: cannot read {path}: {error}") from None

    def __call__(self) -> dict[str, str]:
        values = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in values.items() if value}


class Settings(AccountSettings, UploadSettings, BaseSettings):
    """Every setting is the environment variable of its name with the prefix WAVEPRESS_.

    A variable with _FILE after its name has the path of a file that holds the value.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, env_ignore_empty=True, allow_inf_nan=False)

    host: str = Field(default="127.0.0.1", description="Address to listen on")
    port: int = Field(default=8001, ge=0, le=65535, description="Port to listen on; 0 takes a free one")
    data_dir: Path = Field(default=Path("data"), description="Directory of the MP3s and of the embedded PostgreSQL")
    database_url: Annotated[str, AfterValidator(check_database_url)] | None = Field(
        default=None,
        repr=False,
        description="PostgreSQL to use (`postgresql://user:password@host/name`); unset: an embedded one",
    )
    database_password: SecretStr | None = Field(
        default=None, description="Its password, as it is; in the URL it must be percent-encoded"
    )
    storage_url: Annotated[str, AfterValidator(check_storage_url)] | None = Field(
        default=None,
        description="Where MP3s are kept: `s3://bucket/prefix` or `file:///directory`; unset: `records` in DATA_DIR",
    )
    s3_endpoint_url: Annotated[str, AfterValidator(check_endpoint_url)] | None = Field(
        default=None, description="S3-compatible store, such as `https://s3.example.com`; unset: AWS"
    )
    s3_region: str | None = Field(default=None, description="Its region; unset: `AWS_REGION`")
    s3_access_key_id: str | None = Field(
        default=None, description="Its key; unset: `AWS_ACCESS_KEY_ID`, or the machine's role"
    )
    s3_secret_access_key: SecretStr | None = Field(
        default=None, description="Its secret; unset: `AWS_SECRET_ACCESS_KEY`, or the machine's role"
    )
    public_url: Annotated[AnyHttpUrl, AfterValidator(check_public_url)] | None = Field(
        default=None,
        examples=["https://sound.example.com"],
        description="What clients call this service; unset: each request's own scheme and Host",
    )
    allowed_hosts: str | None = Field(
        default=None,
        description="Further host names for this service: `a.example.com,b.example.com`, or `*` for any. PUBLIC_URL's, "
        "`localhost` and IP addresses always work",
    )
    cors_origins: Annotated[str, AfterValidator(check_origins)] | None = Field(
        default=None,
        description="Origins whose web pages may use the API: `https://a.example.com,https://b.example.com`, or `*` "
        "for any; unset: none. MP3s are for every page",
    )
    trusted_proxies: Annotated[str, AfterValidator(check_networks)] | None = Field(
        default=None,
        description="Networks of proxies whose `X-Forwarded-For` and `-Proto` are believed: `10.0.0.0/8,fd00::/8`",
    )
    ffmpeg: Annotated[Path, AfterValidator(check_file)] | None = Field(
        default=None,
        description="ffmpeg to run; unset: the one of `make ffmpeg`, else imageio-ffmpeg's, else the system's",
    )
    max_connections: int = Field(
        default=4096,
        ge=1,
        description="Connections at a time; at the limit, and at a third of the descriptors, unused ones are closed",
    )
    metrics_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        examples=[9090],
        description="Port of its own for `/metrics`; unset: on PORT with the rest",
    )
    log_format: Literal["auto", "text", "json"] = Field(
        default="auto", description="`auto` is text on a terminal, else json"
    )

    @field_validator("database_password")
    @classmethod
    def _require_url(cls, password: SecretStr | None, others: ValidationInfo) -> SecretStr | None:
        is_url_unset = "database_url" in others.data and others.data["database_url"] is None
        if password is not None and is_url_unset:
            raise ValueError(f"needs {PREFIX}DATABASE_URL, which says where the database is")
        return password

    @property
    def database(self) -> str | None:
        """Return `database_url` with `database_password` in it, as libpq takes it; None means the embedded one."""
        if self.database_url is None or self.database_password is None:
            return self.database_url
        return with_password(self.database_url, self.database_password.get_secret_value())

    @property
    def host_names(self) -> frozenset[str]:
        """Return the names of `allowed_hosts` and `public_url` in lower case."""
        names = {name.strip().lower() for name in (self.allowed_hosts or "").split(",")}
        names.add((self.public_url.host or "").lower() if self.public_url else "")
        return frozenset(names - {""})

    @property
    def page_origins(self) -> frozenset[str]:
        """Return `cors_origins` as browsers write them."""
        return origins_in(self.cors_origins or "")

    @property
    def trusted_networks(self) -> list[IPv4Network | IPv6Network]:
        """Return `trusted_proxies` as networks."""
        return [ip_network(network.strip()) for network in (self.trusted_proxies or "").split(",") if network.strip()]

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *sources: PydanticBaseSettingsSource, **more: PydanticBaseSettingsSource
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read a file if the environment has no value of its own."""
        return (*sources, more["init_settings"], more["env_settings"], _FilesSource(settings_cls))


def read_settings() -> Settings:
    """Read and check the environment. Raises InvalidSettingsError."""
    try:
        return Settings()
    except ValidationError as invalid:
        raise InvalidSettingsError("\n".join(map(_problem, invalid.errors()))) from None


def _problem(error: ErrorDetails) -> str:
    name = str(error["loc"][0])
    said = complaint(error, Settings.model_json_schema()["properties"][name], is_secret=name in _SECRET)
    return f"{PREFIX}{name.upper()}: {said}"
