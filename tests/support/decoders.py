"""Decoders of WAVs beside the service: FFmpeg, SoX, libsndfile and Python's own."""

import importlib.util
import shutil
import subprocess
import wave
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.support.ffmpegs import decoder

# Where the decoders agree on the samples and the service does something else: by the code of its refusal or warning.
EXCEPTIONS: Mapping[str, str] = {
    "truncated": (
        "Both sizes declare more than arrived, or one does and the other proves nothing. Decoders play what is there. "
        "The service cannot know whether the rest was lost, so it refuses."
    ),
    "second_sound": (
        "Decoders play the first of two data chunks, or of two WAVs, and do not say that there is a second one. "
        "The service refuses, because half of the recording would be lost."
    ),
    "unclear_end": (
        "Decoders stop at the size that the data chunk declares. What follows may be a chunk that is cut or that "
        "nobody knows, or sound, so the service refuses."
    ),
    "surplus_sound": (
        "Decoders stop at the size that the data chunk declares. The service takes what follows, too, if it is not a "
        "chunk, because programs that write into a pipe often know only the size of their first buffer."
    ),
}
_SECONDS = 30

# Takes a file and its bytes for one sample of all channels; returns how many such samples it plays, None if none.
Decoder = Callable[[Path, int], int | None]


def _by_command(*command: str) -> Decoder:
    """Return a decoder that is a program: it writes the samples raw and unchanged to its standard output."""

    def decode(path: Path, block_align: int) -> int | None:
        program = [part.format(path=path) for part in command]
        done = subprocess.run(program, capture_output=True, timeout=_SECONDS, check=False)
        return len(done.stdout) // block_align if done.returncode == 0 else None

    return decode


def _by_libsndfile(path: Path, _block_align: int) -> int | None:
    import soundfile  # noqa: PLC0415 - it may be missing

    try:
        return len(soundfile.read(path, always_2d=True)[0])
    except soundfile.LibsndfileError:
        return None


def _by_python(path: Path, block_align: int) -> int | None:
    try:
        with wave.open(str(path)) as file:
            return len(file.readframes(file.getnframes())) // block_align
    except (wave.Error, EOFError, RuntimeError):
        return None


def decoders(codec: str) -> dict[str, Decoder]:
    """Return the decoders that are here, by name; `codec` is the codec of the samples, such as "s16le"."""
    ffmpeg = ("-v", "error", "-i", "{path}", "-map", "0:a:0", "-c:a", "copy", "-f", codec, "-")
    found = {"FFmpeg": _by_command(decoder(), *ffmpeg), "Python's wave": _by_python}
    if shutil.which("sox"):
        found["SoX"] = _by_command("sox", "-V1", "-D", "{path}", "-t", "raw", "-")
    if importlib.util.find_spec("soundfile") is not None:
        found["libsndfile"] = _by_libsndfile
    return found
