"""Settings: the README's table is true, and a wrong value is named."""

import re
from pathlib import Path

import pytest

from service.settings import InvalidSettingsError, Settings, read_settings

README = Path(__file__).parents[2] / "README.md"


def readme_rows() -> list[str]:
    return re.findall(r"^\| `WAVEPRESS_.*$", README.read_text(encoding="utf-8"), re.MULTILINE)


def settings_rows() -> list[str]:
    """What the README must say: the fields' own names, defaults and descriptions."""
    return [
        f"| `WAVEPRESS_{name.upper()}` "
        f"| {'unset' if field.default is None else f'`{field.default}`'} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]


def test_readme_lists_every_setting_as_it_is() -> None:
    assert readme_rows() == settings_rows()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "abc"),
        ("PORT", "65536"),
        ("BIT_RATE", "128k"),
        ("MAX_ENCODINGS", "0"),
        ("MAX_WAITING", "-1"),
        ("STALL_SECONDS", "0"),
        ("LOG_FORMAT", "xml"),
        ("PUBLIC_URL", "example.org"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("PUBLIC_URL", "https://example.org/?x=1"),
    ],
)
def test_wrong_value_is_an_error_that_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"WAVEPRESS_{name}", value)
    with pytest.raises(InvalidSettingsError, match=rf"WAVEPRESS_{name}: .*{re.escape(value)}"):
        read_settings()


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


def test_variable_with_file_behind_its_name_names_a_file_that_holds_the_value(
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
