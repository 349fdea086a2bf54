"""A waveform is what a slow, obvious reference finds in the samples, however they arrive."""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.audio import native, native_peaks
from service.audio.peaks import MOST_POINTS, Outline, Peaks
from service.audio.wav_header import WavHeader
from tests.support import wavs
from tests.support.ffmpegs import native_library

FORMATS = {
    "u8": wavs.U8,
    "s16le": wavs.S16,
    "s24le": wavs.S24,
    "s32le": wavs.S32,
    "f32le": wavs.F32,
    "f64le": wavs.F64,
    "alaw": wavs.ALAW,
    "mulaw": wavs.MULAW,
}
# By how much a point may differ in 8 bits: A-law and mu-law have about as few bits as that.
TOLERANCE = dict.fromkeys(FORMATS, 0) | {"alaw": 3, "mulaw": 3}


@pytest.fixture(params=["python", "library"], autouse=True, scope="module")
def drawing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Draw by Python alone, and by the library that `make ffmpeg` builds."""
    with native_library(tmp_path_factory.mktemp("library"), is_there=request.param == "library"):
        yield


def peaks(codec: str, channels: int = 1, expected_count: int | None = None, sample_rate: int = 44_100) -> Peaks:
    header = WavHeader(codec, sample_rate, channels, 0, channels, 44, None, is_riff=True)
    return Peaks(header, expected_count)


def reference(samples: wavs.Samples) -> list[tuple[int, int]]:
    """Return the points of samples between -1 and 1, one after the other."""
    per_point = 64
    while len(samples) >= per_point * MOST_POINTS:
        per_point *= 2
    spans = [samples[start : start + per_point] for start in range(0, len(samples), per_point)]
    return [(in_8_bits(span.min()), in_8_bits(span.max())) for span in spans]


def in_8_bits(value: float) -> int:
    return int(min(max(np.floor(value * 128), -128), 127))


def drawn(codec: str, encoded: bytes, channels: int, piece_samples: int, width: int) -> Outline:
    outline = peaks(codec, channels)
    step = piece_samples * width * channels
    for start in range(0, len(encoded), step):
        outline.feed(encoded[start : start + step])
    return Outline.parse(outline.dat())


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("codec", FORMATS)
def test_points_are_the_lowest_and_the_highest_of_all_channels(codec: str, channels: int) -> None:
    samples = np.random.default_rng(1).uniform(-1, 0.999, (5_000, channels)) * np.linspace(0, 1, 5_000)[:, None]
    samples[1_000:1_200] = -np.abs(samples[1_000:1_200]) - 0.001  # spans without a positive sample
    samples[2_000:2_200] = np.abs(samples[2_000:2_200]) + 0.001
    encoded = FORMATS[codec].encode(samples)
    width = len(encoded) // samples.size
    found = drawn(codec, encoded, channels, 777, width)
    assert found.samples_per_point == 64
    difference = np.array(found.points) - np.array(reference(samples))
    # Encoding rounds, which may carry a sample over the edge between two of 256 values.
    assert np.abs(difference).max() <= TOLERANCE[codec] + 1
    if codec in {"s32le", "f64le", "f32le"}:
        assert np.count_nonzero(difference) <= 2


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=40), st.sampled_from(["s16le", "f32le", "u8"]))
def test_pieces_of_any_size_give_the_same(sizes: list[int], codec: str) -> None:
    samples = np.random.default_rng(2).uniform(-1, 0.99, (sum(sizes), 2))
    encoded = FORMATS[codec].encode(samples)
    align = len(encoded) // len(samples)
    at_once, in_pieces = peaks(codec, 2), peaks(codec, 2, expected_count=len(samples))
    at_once.feed(encoded)
    place = 0
    for size in sizes:
        in_pieces.feed(encoded[place * align : (place + size) * align])
        place += size
    assert at_once.dat() == in_pieces.dat()


@pytest.mark.parametrize("count", [64 * MOST_POINTS - 1, 64 * MOST_POINTS, 64 * MOST_POINTS + 1, 3_000_000])
def test_long_sounds_have_no_more_points_and_the_same_whether_their_length_was_known(count: int) -> None:
    samples = np.random.default_rng(3).integers(-32768, 32767, count, dtype=np.int16)
    known, unknown = peaks("s16le", expected_count=count), peaks("s16le")
    for outline in (known, unknown):
        outline.feed(samples.tobytes())
    assert known.dat() == unknown.dat()
    found = Outline.parse(known.dat())
    assert MOST_POINTS // 2 <= len(found.points) <= MOST_POINTS
    assert list(found.points) == reference(samples[:, None] / 32768)


def test_a_click_is_where_it_was() -> None:
    samples = np.zeros((44_100 * 60, 1))
    samples[44_100 * 41] = 0.9
    outline = peaks("s16le")
    outline.feed(wavs.S16.encode(samples))
    found = Outline.parse(outline.dat())
    loud = [place for place, (_, high) in enumerate(found.points) if high > 100]
    assert loud == [44_100 * 41 // found.samples_per_point]


def test_data_file_is_audiowaveforms() -> None:
    outline = peaks("s16le", sample_rate=8_000)
    outline.feed(struct.pack("<3h", -32768, 0, 32767))
    assert outline.dat() == struct.pack("<iIiiIibb", 2, 1, 8_000, 64, 1, 1, -128, 127)


@pytest.mark.parametrize("value", [3.0, -3.0, 1.0, -1.0, 0.0, -0.0, 1e-40])
@pytest.mark.parametrize("codec", ["f32le", "f64le"])
def test_floats_beyond_full_scale_are_clipped(codec: str, value: float) -> None:
    outline = peaks(codec)
    outline.feed(struct.pack("<f" if codec == "f32le" else "<d", value))
    assert Outline.parse(outline.dat()).points == ((in_8_bits(value), in_8_bits(value)),)


@pytest.mark.parametrize("count", [1, 63, 64, 65, 128, 999, 1_000])
def test_what_is_drawn_beyond_the_end_is_forgotten(count: int) -> None:
    samples = np.random.default_rng(5).integers(-32768, 32767, 1_000, dtype=np.int16)
    outline = peaks("s16le")
    outline.feed(samples.tobytes())
    outline.end(count)
    found = Outline.parse(outline.dat()).points
    assert list(found) == reference(samples[:, None] / 32768)[: -(-count // 64)]


@pytest.mark.parametrize(("place", "size", "count"), [(0, 4, 3), (-2, 4, 1), (8, 4, 1), (0, 3, 1)])
def test_library_is_asked_for_nothing_beyond_the_samples(place: int, size: int, count: int) -> None:
    if native.native_library() is None:
        assert native_peaks.draw_16_bits(bytes(10), place, size, count) is None
        return
    with pytest.raises(ValueError, match="do not fit"):
        native_peaks.draw_16_bits(bytes(10), place, size, count)


def test_library_that_is_not_ours_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "library_path", lambda: Path("libc.so.6"))
    assert native.native_library.__wrapped__() is None  # past what it remembers
