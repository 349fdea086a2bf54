"""The programs that tests use and that no wheel has."""

import os
import shutil
from typing import NoReturn

import pytest

# The variable that continuous integration sets: there, a missing tool must not hide a test.
REQUIRED = os.environ.get("WAVEPRESS_TEST_TOOLS") == "required"
# Debian's names, if they are not the program's own.
_PACKAGES = {"node": "nodejs", "soxi": "sox", "google-chrome": "chromium", "chromium-browser": "chromium"}
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"


def require_tool(*names: str) -> str:
    """Return the path of the first of these programs that is there.

    Skips the test if none is, and fails it if WAVEPRESS_TEST_TOOLS=required says that all tools are installed.
    """
    path = next(filter(None, (shutil.which(name, path=_PATH) for name in names)), None)
    if path is None:
        skip_or_fail(f"{' or '.join(names)} is not installed: apt install {_PACKAGES.get(names[0], names[0])}")
    return path


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the test for this reason, or fail it if WAVEPRESS_TEST_TOOLS=required."""
    if REQUIRED:
        pytest.fail(f"WAVEPRESS_TEST_TOOLS=required, but {reason}", pytrace=False)
    pytest.skip(reason)
