"""Finds the ffmpegs of this machine."""

import shutil
import sys
from pathlib import Path
from typing import NamedTuple

OWN, WHEEL, SYSTEM = "the own build", "the imageio-ffmpeg wheel", "the system"


class Ffmpeg(NamedTuple):
    """An ffmpeg: where it is, and where it comes from."""

    path: str
    origin: str


class NoFfmpegError(Exception):
    """There is no ffmpeg on this machine; the message says how to get one."""


def own_build() -> Path:
    """Return the place of our own build in this environment, where `make ffmpeg` puts it."""
    return Path(sys.prefix, "ffmpeg", "bin", "ffmpeg")


def find_ffmpegs() -> list[Ffmpeg]:
    """Return every ffmpeg of this machine, the fastest first: our own build, the wheel's, the one on the PATH.

    A distribution's starts eight times slower than the wheel's, because of its libraries.
    """
    own = own_build()
    found = [(str(own) if own.is_file() else None, OWN), (_of_the_wheel(), WHEEL), (shutil.which("ffmpeg"), SYSTEM)]
    return [Ffmpeg(path, origin) for path, origin in found if path is not None]


def default_ffmpeg() -> Ffmpeg:
    """Return the first of `find_ffmpegs`. Raises NoFfmpegError."""
    found = find_ffmpegs()
    if not found:
        raise NoFfmpegError(
            "There is no ffmpeg. Run `make ffmpeg`, or `pip install wavepress[embedded]`, or install your system's "
            "package ffmpeg, or set WAVEPRESS_FFMPEG."
        )
    return found[0]


def _of_the_wheel() -> str | None:
    """Return the static ffmpeg of the imageio-ffmpeg wheel, if the wheel is installed and has one for this platform."""
    try:
        import imageio_ffmpeg  # noqa: PLC0415 - it is optional
    except ImportError:
        return None
    try:
        path = Path(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:
        return None
    # Without one of its own, the wheel names another, such as the system's.
    return str(path) if path.is_relative_to(Path(imageio_ffmpeg.__file__).parent) else None
