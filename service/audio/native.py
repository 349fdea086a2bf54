"""Loads the library that `make ffmpeg` builds beside its ffmpeg, if it is there."""

import ctypes
from functools import cache
from pathlib import Path

from service.audio.ffmpegs import own_build


def library_path() -> Path:
    """Return the place of the library, in this environment."""
    return own_build().parents[1] / "lib" / "libwavepress.so"


@cache
def native_library() -> ctypes.CDLL | None:
    """Return the library, if there is one. Its functions are described in the tools/wavepress-*.c that define them."""
    try:
        library = ctypes.CDLL(str(library_path()))
        draw, start = library.wavepress_draw_16_bits, library.wavepress_start
    except (OSError, AttributeError):  # there is none, or it is not ours
        return None
    draw.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_char_p]
    draw.restype = None
    start.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    start.restype = ctypes.c_int
    return library
