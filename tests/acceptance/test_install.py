"""The way to `make run`, with the Pythons that people have: each fake is a Python of some version, some with gaps."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
TOOLS = ("make", "sh", "rm", "mkdir", "cp", "touch", "chmod", "env", "sleep")

# Code that it is given runs in a real Python that takes itself for another version. A venv of it is a copy of the fake.
FAKE = """#!/bin/sh
case "$1 $2" in
"-c import ensurepip") exit {no_ensurepip} ;;
"-c "*) exec {real} -c 'import platform, sys
version = "{version}"
sys.version_info = tuple(int(part) for part in version.split("."))
platform.python_version = lambda: version
exec(sys.argv[1])' "$2" ;;
"-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && exit {no_ensurepip} ;;
"-m pip") case "$3" in
    install) echo "$0 $*" >> {log}; exit {no_network} ;;
    *) exit {no_pip} ;;
    esac ;;
"-m service") echo "served by $0" ;;
esac
"""


class Clone:
    """A fresh clone, and a machine that has nothing but the tools and the Pythons that it is given."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "a clone"
        self.venv = self.root / ".venv"
        self._bin = directory / "bin"
        self._log = directory / "pip.log"
        self.root.mkdir()
        self._bin.mkdir()
        for name in ("Makefile", "setup.py", "requirements.txt", "pyproject.toml"):
            shutil.copy(ROOT / name, self.root)
        shutil.copytree(ROOT / "tools", self.root / "tools")
        for name in TOOLS:
            (self._bin / name).symlink_to(shutil.which(name) or name)

    def add_python(self, name: str, version: str, **gaps: bool) -> None:
        self._write(self._bin / name, version, gaps)

    def add_venv(self, version: str, **gaps: bool) -> None:
        (self.venv / "bin").mkdir(parents=True)
        self._write(self.venv / "bin" / "python", version, gaps)

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        with self.begin(*arguments) as process:
            stdout, stderr = process.communicate(timeout=20)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start make as the leader of a process group, as on a terminal."""
        return subprocess.Popen(
            [self._bin / "env", "--default-signal=INT", self._bin / "make", *arguments],
            cwd=self.root,
            env={"PATH": f"{self._bin}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def installs(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []

    def _write(self, path: Path, version: str, gaps: dict[str, bool]) -> None:
        missing = {f"no_{gap}": int(gaps.get(f"no_{gap}", False)) for gap in ("ensurepip", "pip", "network")}
        path.write_text(FAKE.format(real=sys.executable, version=version, log=self._log, **missing))
        path.chmod(0o755)


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def last_words(result: subprocess.CompletedProcess[str]) -> str:
    """Return the last line of our own: make adds one that says that it failed."""
    assert result.returncode != 0
    return [line for line in result.stderr.splitlines() if not line.startswith("make: ***")][-1]


def test_new_clone_installs_once_and_runs(clone: Clone) -> None:
    clone.add_python("python3", "3.11.2")
    first, second = clone.make("run"), clone.make("run")
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.splitlines() == [
        "Installing into .venv, once: a minute or so",
        "served by .venv/bin/python",
    ]
    assert second.stdout == "served by .venv/bin/python\n"
    assert len(clone.installs()) == 1
    assert clone.installs()[0].endswith("--editable .[embedded]")


@pytest.mark.parametrize("target", ["run", "test"])
def test_old_python_is_reported_before_anything_is_made(clone: Clone, target: str) -> None:
    clone.add_python("python3", "3.10.13")
    clone.add_python("python3.12", "3.12.1")
    said = last_words(clone.make(target))
    assert said == (f"wavepress needs Python 3.11 or later; python3 is 3.10.13. Try: make {target} PYTHON=python3.12")
    assert not clone.venv.exists()
    assert clone.make("run", "PYTHON=python3.12").returncode == 0


def test_advice_without_a_newer_python_says_to_install_one(clone: Clone) -> None:
    clone.add_python("python3", "3.9.2")
    said = last_words(clone.make("run"))
    assert said.endswith("python3 is 3.9.2. Install a newer one, then try: make run PYTHON=python3.12")


def test_missing_python_is_reported(clone: Clone) -> None:
    clone.add_python("python3.13", "3.13.0")
    said = last_words(clone.make("run"))
    assert said.endswith("there is no python3. Try: make run PYTHON=python3.13")


@pytest.mark.parametrize(("version", "gaps"), [("3.10.13", {}), ("3.12.1", {"no_pip": True})])
def test_venv_that_cannot_be_used_is_made_again(clone: Clone, version: str, gaps: dict[str, bool]) -> None:
    clone.add_venv(version, **gaps)
    (clone.venv / "old").touch()
    clone.add_python("python3", "3.12.2")
    assert clone.make("run").returncode == 0
    assert not (clone.venv / "old").exists()


def test_venv_whose_python_is_gone_is_made_again(clone: Clone) -> None:
    (clone.venv / "bin").mkdir(parents=True)
    (clone.venv / "bin" / "python").symlink_to("/nowhere/python3.11")
    clone.add_python("python3", "3.12.2")
    assert clone.make("run").returncode == 0


def test_venv_that_can_be_used_is_kept(clone: Clone) -> None:
    clone.add_venv("3.13.0")
    (clone.venv / "old").touch()
    clone.add_python("python3", "3.10.13")
    assert clone.make("run").returncode == 0
    assert (clone.venv / "old").exists()


def test_venv_that_cannot_be_made_is_removed_and_the_package_is_named(clone: Clone) -> None:
    clone.add_python("python3", "3.11.2", no_ensurepip=True)
    said = last_words(clone.make("run"))
    assert "install the package python3-venv (on Debian and Ubuntu: sudo apt install python3-venv)" in said
    assert not clone.venv.exists()


def test_interrupt_while_the_environment_is_made_leaves_nothing_and_shows_no_traceback(clone: Clone) -> None:
    clone.add_python("python3", "3.12.1")
    python = clone.venv.parents[1] / "bin" / "python3"
    slow = (
        """"-m venv") trap 'echo Traceback >&2; exit 1' INT; mkdir "$3"; while :; do sleep 0.1; done ;;\n"-m venv")"""
    )
    python.write_text(python.read_text().replace('"-m venv")', slow))
    with clone.begin("run") as make:
        wait_until(clone.venv.exists)
        os.killpg(make.pid, signal.SIGINT)
        said, errors = make.communicate(timeout=20)
    assert said == ""
    assert [line for line in errors.splitlines() if line and not line.startswith("make: ***")] == []
    assert not clone.venv.exists()


def test_pip_that_fails_says_what_to_look_at_and_is_tried_again(clone: Clone) -> None:
    clone.add_python("python3", "3.11.2", no_network=True)
    said = last_words(clone.make("run"))
    assert said == (
        "pip could not install the packages: it says why above. "
        "If it did not reach them, is there a network, or a proxy to set? Then run make run again."
    )
    assert last_words(clone.make("run")) == said
    assert len(clone.installs()) == 2


def test_install_script_is_executable() -> None:
    assert os.access(ROOT / "tools" / "install.sh", os.X_OK)
