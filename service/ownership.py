"""Says whose files are in the way if the operating system only says "Permission denied"."""

import os
import pwd
from contextlib import suppress
from pathlib import Path

# What wavepress makes in its data directory.
_NAMES = ("postgres.lock", "postgres", "records", "drafts")
_NOBODY = 65534
_CURE = "set WAVEPRESS_DATA_DIR to a directory of your own"


def explain(error: OSError, data_dir: Path) -> str | None:
    """Return who owns the files in `data_dir` and what to do, or None if that is not the reason for the error."""
    if isinstance(error, PermissionError):
        for path in (_nearest(data_dir), *(data_dir / name for name in _NAMES)):
            owner = _foreign_owner(path)
            if owner is not None:
                return _sentence(path, owner, data_dir)
    return None


def _sentence(path: Path, owner: int, data_dir: Path) -> str:
    """Say who owns the path. With sudo, wavepress leaves files of root, and of nobody, as whom PostgreSQL then runs."""
    belongs = f"{path} belongs to {_name(owner)}"
    if owner in {0, _NOBODY} and path.is_relative_to(data_dir):
        cure = f"sudo chown -R {_name(os.geteuid())} {data_dir}"
        return f"{belongs}: wavepress was started with sudo before. Run: {cure}, or {_CURE}."
    return f"{belongs}, and {_name(os.geteuid())} cannot write to it. {_CURE[0].upper()}{_CURE[1:]}."


def _nearest(directory: Path) -> Path:
    """Return the directory, or the nearest one above it that exists."""
    return next((path for path in (directory, *directory.absolute().parents) if _owner(path) is not None), directory)


def _foreign_owner(path: Path) -> int | None:
    owner = _owner(path)
    return None if owner == os.geteuid() or os.access(path, os.W_OK, effective_ids=True) else owner


def _owner(path: Path) -> int | None:
    with suppress(OSError):
        return path.stat().st_uid
    return None


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
