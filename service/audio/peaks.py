"""Draws the outline of a sound while it goes by: the lowest and the highest sample of each span of time."""

# The format is that of BBC's audiowaveform, version 2, with 8 bits and one channel
# (https://github.com/bbc/audiowaveform/blob/master/doc/DataFormat.md).

import math
import struct
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from service.audio.native_peaks import draw_16_bits
from service.audio.wav_header import WavHeader

with warnings.catch_warnings():  # it has left the standard library in Python 3.13; audioop-lts goes on with it
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

MOST_POINTS = 8192
_LEAST_SAMPLES_PER_POINT = 64
_HEADER = struct.Struct("<iIiiIi")
_VERSION, _IS_8_BIT, _CHANNELS = 2, 1, 1
_MAGNITUDE = 0x7FFF_FFFF
_SIGN_FLIPPED = bytes(byte ^ 0x80 for byte in range(256))

# Returns the lowest and the highest sample between two places (bytes), as integers in the order of the samples.
_Extremes = Callable[[int, int], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Codec:
    """How samples are read: `width` is that of the integers that `extremes` reads.

    `to_bytes` makes 8 bits of each of these, and adds 128.
    """

    width: int
    extremes: Callable[[bytes], tuple[int, _Extremes]]
    to_bytes: Callable[[Sequence[int]], bytes]


def _integers(width: int, convert: Callable[[bytes], bytes] = bytes) -> _Codec:
    """Return how integers of that width are read, or what `convert` makes of other samples."""

    def extremes(samples: bytes) -> tuple[int, _Extremes]:
        view = memoryview(convert(samples))
        return len(view), lambda start, stop: audioop.minmax(view[start:stop], width)

    surplus = 8 * (width - 1)
    return _Codec(width, extremes, lambda values: bytes([(value >> surplus) + 128 for value in values]))


def _floats(convert: Callable[[bytes], bytes], to_float: Callable[[int], float]) -> _Codec:
    """Return how floats are read, of which `convert` leaves 32 bits: as integers, positive ones have the same order."""

    def extremes(samples: bytes) -> tuple[int, _Extremes]:
        plain = convert(samples)
        negated = bytearray(plain)
        negated[3::4] = negated[3::4].translate(_SIGN_FLIPPED)
        plain_view, negated_view = memoryview(plain), memoryview(negated)
        return len(plain), lambda start, stop: (-_greatest(negated_view[start:stop]), _greatest(plain_view[start:stop]))

    def to_byte(value: int) -> int:
        number = math.copysign(to_float(abs(value)), value)
        return min(max(math.floor(number * 128), -128), 127) + 128

    return _Codec(4, extremes, lambda values: bytes(map(to_byte, values)))


def _greatest(floats: memoryview) -> int:
    """Return the greatest float as an integer. Without a positive one, it is the negative one with the fewest bits."""
    low, high = audioop.minmax(floats, 4)
    return high if high >= 0 else -(low & _MAGNITUDE)


_16_BITS = _integers(2)
_CODECS = {
    "u8": _integers(1, lambda samples: audioop.bias(samples, 1, -128)),
    "s16le": _16_BITS,
    "s24le": _integers(3),
    "s32le": _integers(4),
    "alaw": _integers(2, lambda samples: audioop.alaw2lin(samples, 2)),
    "mulaw": _integers(2, lambda samples: audioop.ulaw2lin(samples, 2)),
    "f32le": _floats(bytes, lambda bits: struct.unpack("<f", struct.pack("<i", bits))[0]),
    # The upper halves have 21 bits of the number.
    "f64le": _floats(
        lambda samples: bytes(memoryview(samples).cast("i")[1::2]),
        lambda bits: struct.unpack("<d", struct.pack("<ii", 0, bits))[0],
    ),
}


class Peaks:
    """The outline of a sound: at most `MOST_POINTS` points. If there are more, each becomes as long as two.

    Each point is the lowest and the highest sample of all channels, in 8 bits.
    """

    def __init__(self, header: WavHeader, expected_count: int | None) -> None:
        self._codec = _CODECS["s16le" if header.block_codec is not None else header.codec]
        self._sample_rate = header.sample_rate
        self._align = self._codec.width * header.channels
        self._per_point = _LEAST_SAMPLES_PER_POINT
        while expected_count is not None and expected_count >= self._per_point * MOST_POINTS:
            self._per_point *= 2  # as it would be in the end
        self._lows, self._highs = bytearray(), bytearray()  # with 128 added
        # Of the point that is not whole yet: its extremes, and how many bytes of it are drawn.
        self._newest: tuple[int, int] | None = None
        self._drawn = 0

    def feed(self, samples: bytes) -> None:
        """Take whole samples, none of them infinite or not a number. A block codec's are decoded, to 16 bits."""
        byte_count, extremes = self._codec.extremes(samples)
        place = self._draw_part(extremes, 0, byte_count) if self._newest is not None else 0
        while byte_count - place >= (size := self._point_size):  # whole points: together they take half of the time
            stop = place + size * min((byte_count - place) // size, MOST_POINTS - len(self._lows))
            points = draw_16_bits(samples, place, size, (stop - place) // size) if self._codec is _16_BITS else None
            self._add(*points or self._in_bytes([extremes(start, start + size) for start in range(place, stop, size)]))
            place = stop
        if place < byte_count:
            self._draw_part(extremes, place, byte_count)

    def dat(self) -> bytes:
        """Return the outline so far, as an audiowaveform data file."""
        lows, highs = bytes(self._lows), bytes(self._highs)
        if self._newest is not None:
            low, high = self._in_bytes([self._newest])
            lows, highs = lows + low, highs + high
        points = bytearray(2 * len(lows))
        points[::2], points[1::2] = lows, highs
        header = _HEADER.pack(_VERSION, _IS_8_BIT, self._sample_rate, self._per_point, len(lows), _CHANNELS)
        return header + points.translate(_SIGN_FLIPPED)

    def end(self, sample_count: int) -> None:
        """Forget what is drawn beyond so many samples of each channel, but for the rest of the last point."""
        count = -(-sample_count // self._per_point)
        if count <= len(self._lows):
            self._newest = None
            del self._lows[count:], self._highs[count:]

    @property
    def _point_size(self) -> int:
        """How many bytes of samples a point has."""
        return self._per_point * self._align

    def _draw_part(self, extremes: _Extremes, place: int, end: int) -> int:
        """Draw what there is of the next point between two places, and return where that stops."""
        stop = min(place + self._point_size - self._drawn, end)
        points = [extremes(place, stop)] if self._newest is None else [self._newest, extremes(place, stop)]
        lows, highs = zip(*points, strict=True)
        self._newest = min(lows), max(highs)
        self._drawn += stop - place
        if self._drawn == self._point_size:
            self._add(*self._in_bytes([self._newest]))
            self._newest, self._drawn = None, 0
        return stop

    def _in_bytes(self, points: list[tuple[int, int]]) -> tuple[bytes, bytes]:
        lows, highs = zip(*points, strict=True)
        return self._codec.to_bytes(lows), self._codec.to_bytes(highs)

    def _add(self, lows: bytes, highs: bytes) -> None:
        """Add points, at most as many as there is room for."""
        self._lows += lows
        self._highs += highs
        if len(self._lows) == MOST_POINTS:
            self._lows = bytearray(map(min, self._lows[::2], self._lows[1::2]))
            self._highs = bytearray(map(max, self._highs[::2], self._highs[1::2]))
            self._per_point *= 2


@dataclass(frozen=True, slots=True)
class Outline:
    """An outline that was read from a data file: `points` are pairs of the lowest and the highest sample in 8 bits."""

    sample_rate: int
    samples_per_point: int
    points: tuple[tuple[int, int], ...]

    @classmethod
    def parse(cls, dat: bytes) -> Self:
        """Read a data file of ours."""
        _, _, sample_rate, samples_per_point, length, _ = _HEADER.unpack_from(dat)
        values = struct.unpack_from(f"<{2 * length}b", dat, _HEADER.size)
        return cls(sample_rate, samples_per_point, tuple(zip(values[::2], values[1::2], strict=True)))
