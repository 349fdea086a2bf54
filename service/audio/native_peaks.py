"""Draws points of 16-bit samples by the native library."""

import ctypes

from service.audio.native import native_library

_BYTES_PER_SAMPLE = 2


def draw_16_bits(samples: bytes, place: int, point_size: int, count: int) -> tuple[bytes, bytes] | None:
    """Return the lowest samples and the highest ones of so many points of `point_size` bytes, from a place on.

    Each is in 8 bits, with 128 added. Returns None if there is no library.
    """
    library = native_library()
    if library is None:
        return None
    if not 0 <= place <= place + count * point_size <= len(samples) or point_size % _BYTES_PER_SAMPLE:
        raise ValueError(f"{count} points of {point_size} bytes do not fit into {len(samples)} bytes from {place} on")
    address = ctypes.cast(ctypes.c_char_p(samples), ctypes.c_void_p).value or 0
    lows, highs = ctypes.create_string_buffer(count), ctypes.create_string_buffer(count)
    library.wavepress_draw_16_bits(address + place, point_size // _BYTES_PER_SAMPLE, count, lows, highs)
    return lows.raw, highs.raw
