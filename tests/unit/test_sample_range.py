"""Samples that no LAME takes are found before ffmpeg gets them."""

import struct

import pytest

from service.audio.sample_range import LIMIT, is_in_range

FORMATS = {"f32le": "<f", "f64le": "<d"}
IN_RANGE = [0.0, -0.0, 1.0, -1.0, 5e-324, 1e-45, 32_768.0, -131_071.99]
OUT_OF_RANGE = [LIMIT, -LIMIT, 1e10, -3e38, float("inf"), float("-inf"), float("nan"), -float("nan")]


@pytest.mark.parametrize("codec", FORMATS)
@pytest.mark.parametrize("place", [0, 1, 499, 999])
@pytest.mark.parametrize(("samples", "expected"), [(IN_RANGE, True), (OUT_OF_RANGE, False)])
def test_one_sample_out_of_range_is_found(codec: str, place: int, samples: list[float], *, expected: bool) -> None:
    for sample in samples:
        values = [0.25] * 1000
        values[place] = sample
        assert is_in_range(codec, b"".join(struct.pack(FORMATS[codec], value) for value in values)) is expected, sample


def test_every_kind_of_nan_is_found() -> None:
    for bits in (0x7F80_0001, 0x7FC0_0000, 0xFFFF_FFFF, 0xFF80_0001):
        assert not is_in_range("f32le", struct.pack("<I", bits))
        assert not is_in_range("f64le", struct.pack("<Q", bits << 32 | 1))


def test_integers_are_always_in_range() -> None:
    for codec in ("u8", "s16le", "s24le", "s32le", "alaw", "mulaw"):
        assert is_in_range(codec, b"\xff\x7f\x80\xff" * 3)


@pytest.mark.parametrize("codec", FORMATS)
def test_nothing_is_in_range(codec: str) -> None:
    assert is_in_range(codec, b"")
