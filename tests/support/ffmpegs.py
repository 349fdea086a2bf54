"""The real ffmpeg for a stand-in that misbehaves with its help."""

import os
import shutil
from pathlib import Path

from service.audio.ffmpeg_command import bundled_ffmpeg


def lend_ffmpeg(path: Path) -> None:
    """Put the bundled ffmpeg there as a file of its own: a confined stand-in cannot follow a link elsewhere."""
    try:
        os.link(bundled_ffmpeg(), path)
    except OSError:  # another file system
        shutil.copy2(bundled_ffmpeg(), path)
