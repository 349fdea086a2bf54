"""The package: a wheel that is made from the source distribution serves from an environment of its own."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from service.web.page_files import VERSION
from tests.support.mp3s import decode
from tests.support.serving import AS_IN_A_TERMINAL, RATE, noise, started
from tests.support.tools import skip_or_fail

ROOT = Path(__file__).parents[2]
# What a build is made of; a copy, so that it leaves nothing here.
FILES = (
    "setup.py",
    "pyproject.toml",
    "MANIFEST.in",
    "requirements.txt",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "NOTICE",
)
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
INSTALL = ["install", "--no-compile", "--no-deps"]


@pytest.fixture(scope="module")
def setuptools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build's own requirement, in a directory."""
    directory = tmp_path_factory.mktemp("setuptools")
    fetched = subprocess.run(
        [*PIP, *INSTALL, "--retries", "1", "--target", directory, "setuptools>=77"],
        capture_output=True,
        text=True,
        check=False,
    )
    if fetched.returncode:
        skip_or_fail(f"pip cannot fetch setuptools: {fetched.stderr.strip().splitlines()[-1]}")
    return directory


def build(kind: str, source: Path, target: Path, setuptools: Path) -> Path:
    """Build a sdist or a wheel as pip would."""
    code = f"import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"
    built = subprocess.run(
        [sys.executable, "-c", code, target],
        cwd=source,
        env=os.environ | {"PYTHONPATH": str(setuptools)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (found,) = target.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return found


@pytest.mark.timeout(180)
def test_wheel_from_the_source_distribution_serves(tmp_path: Path, setuptools: Path) -> None:
    source = tmp_path / "source"
    for directory in ("examples", "service", "sql"):
        shutil.copytree(ROOT / directory, source / directory, symlinks=True)
    for name in FILES:
        shutil.copy(ROOT / name, source)
    sdist = build("sdist", source, tmp_path, setuptools)
    (tmp_path / "sdist").mkdir()
    subprocess.run(["tar", "-C", tmp_path / "sdist", "-xzf", sdist], check=True)  # noqa: S607 - the system's own
    (unpacked,) = (tmp_path / "sdist").iterdir()
    wheel = build("wheel", unpacked, tmp_path, setuptools)

    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([*PIP, "--python", python, *INSTALL, "--no-index", wheel], check=True)
    (site_packages,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    # The dependencies are borrowed. An editable install among them is not: only a real site directory's .pth counts.
    (site_packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")

    command = [*AS_IN_A_TERMINAL, str(python.with_name("wavepress")), "serve"]
    with started(command, tmp_path, tmp_path / "data") as serving:
        library = f"/page/{VERSION}/vendor/wavesurfer.esm.js"
        for path in ("/", library, "/docs", "/openapi.json", "/health/ready", "/examples/talk.wav"):
            status, _, body = serving.request("GET", path)
            assert (path, status) == (path, 200), body
        kept = serving.upload(serving.create_user(), noise(seconds=0.5))
        _, _, mp3 = serving.request("GET", f"/records/{kept.id}.mp3")
        (tmp_path / "talk.mp3").write_bytes(mp3)
        assert decode(tmp_path / "talk.mp3").shape == (RATE // 2, 2)
        where = subprocess.run(
            [python, "-c", "import service; print(service.__file__)"], cwd=tmp_path, capture_output=True, check=True
        )
        assert str(site_packages) in where.stdout.decode()
        assert json.loads(serving.request("GET", "/openapi.json")[2])["info"]["title"]
