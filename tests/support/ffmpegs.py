"""The ffmpegs that tests run: the one under test, all of this machine, and a decoder."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from service.audio import native
from service.audio.ffmpeg_command import Output, encode_command
from service.audio.ffmpegs import find_ffmpegs, own_build
from service.audio.mp3 import Mp3Format
from service.audio.wav_header import WavHeader
from service.settings import read_settings
from tests.support.tools import require_tool

# What the service runs here: WAVEPRESS_FFMPEG, or what it finds by itself.
FFMPEG = str(read_settings().ffmpeg or find_ffmpegs()[0].path)
_ORIGINS = {FFMPEG: "the chosen one"} | {found.path: found.origin for found in find_ffmpegs()}
FFMPEGS = list(_ORIGINS)
every_ffmpeg = pytest.mark.parametrize("ffmpeg", FFMPEGS, ids=[_ORIGINS[path].replace(" ", "_") for path in FFMPEGS])

DEBIAN = "/usr/bin/ffmpeg"
_FINENESS_KIBIBYTES = 64
_OF_BOOKWORM = "ffmpeg version 5.1."


def lend_ffmpeg(path: Path) -> None:
    """Put the ffmpeg under test there as a file of its own: a confined stand-in cannot follow a link elsewhere.

    Its libraries, if it brings any, come along: they are in the `lib` beside its directory.
    """
    try:
        os.link(Path(FFMPEG).resolve(), path)
    except OSError:  # another file system
        shutil.copy2(FFMPEG, path)
    if Path(FFMPEG) == own_build():
        shutil.copytree(own_build().parents[1] / "lib", path.parents[1] / "lib", dirs_exist_ok=True)


@contextlib.contextmanager
def native_library(directory: Path, *, is_there: bool) -> Iterator[None]:
    """Have a native library for the length of the block, as `make ffmpeg` builds it, or none."""
    library = directory / "libwavepress.so"
    if is_there:
        sources = sorted((Path(__file__).parents[2] / "tools").glob("wavepress-*.c"))
        options = ["-std=c11", "-D_GNU_SOURCE", "-O3", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]
        subprocess.run([require_tool("gcc"), *options, "-o", library, *sources], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "library_path", lambda: library)
        native.native_library.cache_clear()  # it remembers what it found before
        assert (native.native_library() is not None) is is_there
        yield
    native.native_library.cache_clear()


# With a second of silence, an encode of 32-bit floats.
ENCODE_FLOATS = (
    "-f",
    "f32le",
    "-ar",
    "44100",
    "-ac",
    "1",
    "-i",
    "pipe:0",
    "-c:a",
    "libmp3lame",
    "-f",
    "mp3",
    "-y",
    "/dev/null",
)


def limited(kibibytes: int) -> str:
    """Return the shell commands that limit the address space.

    Without the second one, each thread may reserve 64 MiB for itself, and how many do depends on how they run.
    """
    return f"ulimit -v {kibibytes}; export MALLOC_ARENA_MAX=1"


@cache
def least_kibibytes(*arguments: str) -> int:
    """Return the least limit on address space under which the ffmpeg under test runs with these arguments."""
    too_little, enough = 0, 2**22
    while enough - too_little > _FINENESS_KIBIBYTES:
        middle = (too_little + enough) // 2
        command = ["sh", "-c", f'{limited(middle)}; exec "$0" "$@"', FFMPEG, *arguments]
        if subprocess.run(command, input=bytes(44_100 * 4), capture_output=True, check=False).returncode:
            too_little = middle
        else:
            enough = middle
    return enough


@cache
def decoder() -> str:
    """Return an ffmpeg that reads MP3 and WAV files of any kind, which our own build does not."""
    found = [ffmpeg.path for ffmpeg in find_ffmpegs() if ffmpeg.path != str(own_build())]
    if not found:
        pytest.fail("The tests need an ffmpeg that decodes MP3: pip install imageio-ffmpeg")
    return found[0]


def require_own_and_debians() -> tuple[str, str]:
    """Return our own build and Debian's ffmpeg of the same version; skip the test if one of them is missing."""
    if not own_build().is_file():
        pytest.skip("there is no ffmpeg of our own: make ffmpeg")
    if not Path(DEBIAN).is_file() or not version(DEBIAN).startswith(_OF_BOOKWORM):
        pytest.skip(f"{DEBIAN} is not there, or not the ffmpeg of Debian bookworm")
    return str(own_build()), DEBIAN


def version(ffmpeg: str) -> str:
    """Return the first line of what `ffmpeg -version` prints."""
    return subprocess.run([ffmpeg, "-version"], capture_output=True, text=True, check=True).stdout.split("\n", 1)[0]


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
    command = encode_command(ffmpeg, source, Output(target, tag_byte_count), 3600).arguments
    output = command.index("file:/proc/self/fd/1")
    with path.open("w+b") as file:
        subprocess.run([*command[:output], *options, *command[output:]], input=sound, stdout=file, check=True)
    return path.read_bytes()
