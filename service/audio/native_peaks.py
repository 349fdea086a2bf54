"""Draws points of 16-bit samples by the library that `make ffmpeg` builds beside its ffmpeg, if it is there."""

import ctypes
from functools import cache
from pathlib import Path

from service.audio.ffmpegs import own_build

_BYTES_PER_SAMPLE = 2


def draw_16_bits(samples: bytes, place: int, point_size: int, count: int) -> tuple[bytes, bytes] | None:
    """Return the lowest samples and the highest ones of so many points of `point_size` bytes, from a place on.

    Each is in 8 bits, with 128 added. Returns None if there is no library.
    """
    library = _library()
    if library is None:
        return None
    if not 0 <= place <= place + count * point_size <= len(samples) or point_size % _BYTES_PER_SAMPLE:
        raise ValueError(f"{count} points of {point_size} bytes do not fit into {len(samples)} bytes from {place} on")
    address = ctypes.cast(ctypes.c_char_p(samples), ctypes.c_void_p).value or 0
    lows, highs = ctypes.create_string_buffer(count), ctypes.create_string_buffer(count)
    library.wavepress_draw_16_bits(address + place, point_size // _BYTES_PER_SAMPLE, count, lows, highs)
    return lows.raw, highs.raw


def library_path() -> Path:
    """Return the place of the library, in this environment."""
    return own_build().parents[1] / "lib" / "libwavepress-peaks.so"


@cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(str(library_path()))
        draw = library.wavepress_draw_16_bits
    except (OSError, AttributeError):  # there is none, or it is not ours
        return None
    draw.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_char_p]
    draw.restype = None
    return library
