"""The real ffmpegs: to encode with, and for a stand-in that misbehaves with its help."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from service.audio.ffmpeg_command import bundled_ffmpeg, encode_command
from service.audio.mp3 import Mp3Format
from service.audio.wav_header import WavHeader

# The default one, and Debian's, which is four years older.
FFMPEGS = [bundled_ffmpeg(), *filter(None, [shutil.which("ffmpeg")])]
every_ffmpeg = pytest.mark.parametrize("ffmpeg", FFMPEGS, ids=lambda path: Path(path).name)


def lend_ffmpeg(path: Path) -> None:
    """Put the bundled ffmpeg there as a file of its own: a confined stand-in cannot follow a link elsewhere."""
    try:
        os.link(bundled_ffmpeg(), path)
    except OSError:  # another file system
        shutil.copy2(bundled_ffmpeg(), path)


def run_encoder(
    ffmpeg: str,
    path: Path,
    source_rate: int,
    target: Mp3Format,
    sound: bytes,
    *options: str,
    tag_byte_count: int = 20,
) -> bytes:
    """Write the MP3 that ffmpeg makes of 16-bit samples by the service's own command, unsealed, and return its bytes.

    `options` are added to those for the MP3.
    """
    block_align = 2 * target.channels
    source = WavHeader(
        "s16le", source_rate, target.channels, 0, block_align, data_offset=44, data_size=None, is_riff=True
    )
    command = encode_command(ffmpeg, source, target, 3600, tag_byte_count)
    output = command.index("file:/proc/self/fd/1")
    with path.open("w+b") as file:
        subprocess.run([*command[:output], *options, *command[output:]], input=sound, stdout=file, check=True)
    return path.read_bytes()
