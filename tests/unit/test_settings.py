"""Settings: the table in docs is right, and a wrong value is named."""

import os
import re
from pathlib import Path

import pytest
from psycopg2.extensions import parse_dsn

from service.settings import InvalidSettingsError, Settings, read_settings
from service.settings.accounts import AccountSettings
from service.settings.unknown_variables import unknown_variables
from service.settings.uploads import UploadSettings

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


@pytest.fixture(autouse=True)
def _without_variables_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have set some, such as WAVEPRESS_TEST_TOOLS."""
    for name in os.environ:
        if name.startswith("WAVEPRESS_"):
            monkeypatch.delenv(name)


def documented_rows() -> list[str]:
    return re.findall(r"^\| `WAVEPRESS_.*$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)


def settings_rows() -> list[str]:
    """Return what docs/settings.md must say: each field's name, default and description, by what they are about."""
    parts = [UploadSettings.model_fields, AccountSettings.model_fields]
    in_parts = set().union(*parts)
    general = {name: field for name, field in Settings.model_fields.items() if name not in in_parts}
    fields = [row for part in (general, *parts) for row in part.items()]
    return [
        f"| `WAVEPRESS_{name.upper()}` "
        f"| {'unset' if field.default is None else f'`{field.default}`'} | {field.description} |"
        for name, field in fields
    ]


def test_docs_list_every_setting_as_it_is() -> None:
    assert documented_rows() == settings_rows()


NETWORKS = "networks with commas between them, such as 10.0.0.0/8,fd00::/8"


@pytest.mark.parametrize(
    ("name", "value", "must"),
    [
        ("PORT", "abc", "be a whole number from 0 to 65535, such as 8001"),
        ("PORT", "65536", "be a whole number from 0 to 65535, such as 8001"),
        ("PORT", "9" * 30, "be a whole number from 0 to 65535, such as 8001"),
        ("METRICS_PORT", "0", "be a whole number from 1 to 65535, such as 9090"),
        ("BIT_RATE", "128k", "be a whole number from 8000 to 320000, in bits per second, such as 128000"),
        ("MAX_UPLOAD_BYTES", "4G", "be a whole number of at least 1, in bytes, such as 4294967296"),
        ("MAX_ENCODINGS", "0", "be a whole number of at least 1, such as 128"),
        ("MAX_WAITING", "1.5", "be a whole number of at least 0, such as 64"),
        ("STALL_SECONDS", "30s", "be a number above 0, in seconds, such as 30"),
        ("SHUTDOWN_SECONDS", "inf", "be a number of at least 0, in seconds, such as 20"),
        ("SHUTDOWN_SECONDS", "nan", "be a number of at least 0, in seconds, such as 20"),
        ("TOKEN_DAYS", "1e300", "be a number above 0 and up to 36500, in days, such as 30"),
        ("RETENTION_DAYS", "0", "be a number above 0 and up to 36500, in days, such as 365"),
        ("MAX_REGISTRATIONS_PER_ADDRESS", "7", "be at least 100, or 0 for no limit"),
        ("MAX_REGISTRATIONS_PER_ADDRESS", "few", "be a whole number, such as 1000"),
        ("LOG_FORMAT", "xml", "be auto, text or json"),
        ("REGISTRATION", "maybe", "be open, token or closed"),
        ("FFMPEG", "/nowhere/ffmpeg", "be the path of a file that exists, such as /usr/bin/ffmpeg"),
        ("PUBLIC_URL", "example.org", "be a URL with http:// or https://, such as https://sound.example.com"),
        ("PUBLIC_URL", "ftp://example.org", "be a URL with http:// or https://, such as https://sound.example.com"),
        ("PUBLIC_URL", "https://example.org/?x=1", "have no query and no fragment"),
        ("S3_ENDPOINT_URL", "s3.example.com", "be a URL with http:// or https://, such as https://s3.example.com"),
        ("TRUSTED_PROXIES", "10.0.0.1/8", f"be {NETWORKS}; the network of 10.0.0.1/8 is 10.0.0.0/8"),
        ("TRUSTED_PROXIES", "fd00::/8,proxy", f"be {NETWORKS}; 'proxy' is not one"),
    ],
)
def test_wrong_value_is_an_error_that_says_what_it_must_be(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, must: str
) -> None:
    monkeypatch.setenv(f"WAVEPRESS_{name}", value)
    with pytest.raises(InvalidSettingsError) as error:
        read_settings()
    assert str(error.value) == f"WAVEPRESS_{name}: must {must} (it is '{value}')"


@pytest.mark.parametrize("value", ["x y", "-1", "nan", "x" * 1000])
@pytest.mark.parametrize("name", Settings.model_fields)
def test_no_setting_is_refused_in_the_words_of_a_library(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"WAVEPRESS_{name.upper()}", value)
    complaints = list[str]()
    try:
        read_settings()
    except InvalidSettingsError as error:
        complaints.append(str(error))
    for complaint in complaints:
        assert re.match(rf"WAVEPRESS_{name.upper()}: (must|needs) ", complaint)
        assert "nput should" not in complaint
        assert re.search("such as|no limit", complaint) or "number" not in complaint
        assert len(complaint) < 500


@pytest.mark.parametrize(
    "value",
    ["app.example", "https://a.example/", "https://a.example/app", "https://*.example", "null", "https://ä.example"],
)
def test_wrong_origin_is_an_error_that_names_it_and_says_what_an_origin_is(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("WAVEPRESS_CORS_ORIGINS", f"https://b.example,{value}")
    with pytest.raises(InvalidSettingsError, match=rf"WAVEPRESS_CORS_ORIGINS: .*'{re.escape(value)}' is not one: an"):
        read_settings()


@pytest.mark.parametrize(
    ("value", "origins"),
    [
        ("", set()),
        ("*", {"*"}),
        ("https://A.example:443 , http://b.example:80,", {"https://a.example", "http://b.example"}),
        ("http://a.example:443,https://a.example:8443", {"http://a.example:443", "https://a.example:8443"}),
        ("capacitor://localhost,http://[::1]:8080", {"capacitor://localhost", "http://[::1]:8080"}),
    ],
)
def test_origins_are_kept_as_browsers_write_them(
    monkeypatch: pytest.MonkeyPatch, value: str, origins: set[str]
) -> None:
    monkeypatch.setenv("WAVEPRESS_CORS_ORIGINS", value)
    assert read_settings().page_origins == origins


def test_every_wrong_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEPRESS_PORT", "abc")
    monkeypatch.setenv("WAVEPRESS_MAX_WAITING", "many")
    with pytest.raises(InvalidSettingsError) as error:
        read_settings()
    assert {"WAVEPRESS_PORT", "WAVEPRESS_MAX_WAITING"} <= set(re.findall(r"WAVEPRESS_\w+", str(error.value)))


def test_empty_variable_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEPRESS_DATABASE_URL", "")
    monkeypatch.setenv("WAVEPRESS_PORT", "9000")
    settings = read_settings()
    assert (settings.database_url, settings.port) == (None, 9000)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 1


def test_variable_that_ends_in_file_names_a_file_that_holds_the_value(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = tmp_path / "url"
    secret.write_text("postgresql://u:p@host/db\n")
    monkeypatch.setenv("WAVEPRESS_DATABASE_URL_FILE", str(secret))
    monkeypatch.setenv("WAVEPRESS_PORT_FILE", "")
    assert (read_settings().database_url, read_settings().port) == ("postgresql://u:p@host/db", 8001)
    monkeypatch.setenv("WAVEPRESS_DATABASE_URL", "postgresql://here/db")
    assert read_settings().database_url == "postgresql://here/db"


def test_file_that_cannot_be_read_is_an_error_that_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEPRESS_DATABASE_URL_FILE", "/nowhere/secret")
    with pytest.raises(InvalidSettingsError, match=r"WAVEPRESS_DATABASE_URL_FILE: .*/nowhere/secret"):
        read_settings()


@pytest.mark.parametrize("url", ["s3://", "s3:///prefix", "s3://b/p?x=1", "file://host/x", "http://x/y", "records"])
def test_storage_url_that_names_no_storage_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("WAVEPRESS_STORAGE_URL", url)
    with pytest.raises(InvalidSettingsError, match=r"WAVEPRESS_STORAGE_URL: .*s3://bucket/prefix or file:///directory"):
        read_settings()


def test_secret_is_in_no_text_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEPRESS_S3_SECRET_ACCESS_KEY", "hush")
    assert "hush" not in f"{read_settings()} {read_settings()!r}"


DATABASE_URLS = [
    "postgresql://ann@host/db",
    "postgres://ann:secret@host:5433/db?sslmode=verify-full&sslrootcert=/etc/ca.pem",
    "postgresql://ann%40tenant:p%40ss%2Fw%23rd@host/db",
    "postgresql://one:5432,two:5433/db?target_session_attrs=any",
    "postgresql://[::1]:5432/db",
    "postgresql://%2Fvar%2Frun%2Fpostgresql/db",
    "postgresql:///db",
    "postgresql:///db?host=/tmp&user=ann@tenant",
    "host='/tmp/a b' dbname=db user=ann",
]


@pytest.mark.parametrize("url", DATABASE_URLS)
def test_database_url_that_libpq_takes_is_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    assert parse_dsn(url)
    monkeypatch.setenv("WAVEPRESS_DATABASE_URL", url)
    assert read_settings().database == url


@pytest.mark.parametrize("url", DATABASE_URLS)
def test_database_password_goes_into_the_url_as_it_is(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    password = r"""p@ss/w#rd?&%40 '\:é"""  # noqa: S105 - for anybody to read
    monkeypatch.setenv("WAVEPRESS_DATABASE_URL", url)
    monkeypatch.setenv("WAVEPRESS_DATABASE_PASSWORD", password)
    settings = read_settings()
    assert settings.database is not None
    assert parse_dsn(settings.database) == parse_dsn(url) | {"password": password}
    assert password not in f"{settings} {settings!r}"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:p@ss/w#rd@host/db",
        "postgresql://ann:p@ss@host/db",
        "postgresql://ann:p/ss@host/db",
        "postgresql://ann:p#ss@host/db",
        "postgresql://ann:p?ss@host/db",
        "postgresql://ann:100%@host/db",
    ],
)
def test_special_character_in_a_url_must_be_percent_encoded(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("WAVEPRESS_DATABASE_URL", url)
    with pytest.raises(InvalidSettingsError, match=r"WAVEPRESS_DATABASE_URL: .*Percent-encode.*DATABASE_PASSWORD") as e:
        read_settings()
    assert "ss@host" not in str(e.value)
    assert "100%" not in str(e.value)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mysql://ann:secret@host/db", "mysql:// is not PostgreSQL"),
        ("postgresql+asyncpg://ann:secret@host/db", "postgresql+asyncpg:// is not PostgreSQL"),
        ("secret", "this is not a URL"),
    ],
)
def test_url_of_another_database_is_refused_with_what_is_accepted(
    monkeypatch: pytest.MonkeyPatch, url: str, reason: str
) -> None:
    monkeypatch.setenv("WAVEPRESS_DATABASE_URL", url)
    with pytest.raises(InvalidSettingsError) as error:
        read_settings()
    assert str(error.value) == f"WAVEPRESS_DATABASE_URL: must be postgresql://user:password@host/name; {reason}"


def test_database_password_without_a_url_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEPRESS_DATABASE_PASSWORD", "hush")
    with pytest.raises(InvalidSettingsError, match="WAVEPRESS_DATABASE_PASSWORD: needs WAVEPRESS_DATABASE_URL") as e:
        read_settings()
    assert "hush" not in str(e.value)


def test_unknown_variable_is_named_with_the_nearest_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROT", "DATABASE_URL_FIL", "XYLOPHONE", "PORT", "PORT_FILE", "S3_REGION"):
        monkeypatch.setenv(f"WAVEPRESS_{name}", "")
    assert unknown_variables() == [
        "WAVEPRESS_DATABASE_URL_FIL is not a setting. Did you mean WAVEPRESS_DATABASE_URL_FILE?",
        "WAVEPRESS_PROT is not a setting. Did you mean WAVEPRESS_PORT?",
        "WAVEPRESS_XYLOPHONE is not a setting. docs/settings.md lists all settings.",
    ]


def test_variables_that_kubernetes_sets_for_a_service_are_not_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT_8001_TCP", "PORT_8001_TCP_ADDR"):
        monkeypatch.setenv(f"WAVEPRESS_{name}", "10.0.0.1")
    assert unknown_variables() == []
