"""The arithmetic of MP3."""

import pytest

from service.audio.mp3 import Mp3Format, audio_byte_count, bit_rates, frame_count, output_rate, resampled_count
from tests.support.mp3s import MP3_RATES


@pytest.mark.parametrize(
    ("sample_count", "sample_rate", "expected"),
    [
        (1, 44_100, 2),
        (1_152, 44_100, 2),
        (1_153, 44_100, 3),
        (44_100, 44_100, 40),
        (48_000 * 3_600, 48_000, 150_001),
        (1, 8_000, 3),
        (576, 8_000, 3),
        (577, 8_000, 4),
        (24_000, 24_000, 44),
        (1_152, 32_000, 2),
    ],
)
def test_the_number_of_frames_is_known_beforehand(sample_count: int, sample_rate: int, expected: int) -> None:
    assert frame_count(sample_count, sample_rate) == expected


@pytest.mark.parametrize(
    ("frames", "sample_rate", "bit_rate", "expected"),
    [
        (1, 48_000, 128_000, 384),
        (10, 48_000, 128_000, 3_840),
        (1, 44_100, 128_000, 417),
        (2, 44_100, 128_000, 835),
        (40, 44_100, 128_000, 16_718),
        (49, 44_100, 128_000, 20_480),
        (50, 44_100, 128_000, 20_897),
        (7, 32_000, 320_000, 10_080),
        (1, 22_050, 64_000, 208),
        (50, 22_050, 64_000, 10_448),
        (3, 8_000, 8_000, 216),
    ],
)
def test_the_bytes_of_the_frames_are_known_beforehand(
    frames: int, sample_rate: int, bit_rate: int, expected: int
) -> None:
    assert audio_byte_count(frames, Mp3Format(sample_rate, 2, bit_rate)) == expected


@pytest.mark.parametrize(
    ("sample_rate", "expected"),
    [
        *((rate, rate) for rate in MP3_RATES),
        (8_001, 11_025),
        (15_999, 16_000),
        (37_800, 44_100),
        (44_056, 44_100),
        (47_999, 48_000),
        (48_001, 48_000),
        (88_200, 44_100),
        (96_000, 48_000),
        (176_400, 44_100),
        (192_000, 48_000),
    ],
)
def test_the_rate_is_kept_or_the_nearest_that_loses_nothing(sample_rate: int, expected: int) -> None:
    assert output_rate(sample_rate) == expected


@pytest.mark.parametrize(
    ("sample_count", "sample_rate", "target_rate", "expected"),
    [
        (7, 44_100, 44_100, 7),
        (88_200, 88_200, 44_100, 44_100),
        (3, 96_000, 48_000, 2),
        (1, 192_000, 48_000, 1),
        (37_801, 37_800, 44_100, 44_102),
        (3, 8_000, 44_100, 17),
        (3, 44_100, 8_000, 1),
    ],
)
def test_the_length_after_resampling_is_rounded_up(
    sample_count: int, sample_rate: int, target_rate: int, expected: int
) -> None:
    assert resampled_count(sample_count, sample_rate, target_rate) == expected


@pytest.mark.parametrize(
    ("sample_rates", "expected"),
    [
        ((32_000, 44_100, 48_000), (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)),
        ((16_000, 22_050, 24_000), (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)),
        ((8_000, 11_025, 12_000), (8, 16, 24, 32, 40, 48, 56, 64)),
    ],
)
def test_the_legal_bit_rates_are_those_of_the_standard(
    sample_rates: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    for rate in sample_rates:
        assert tuple(bit_rates(rate)) == tuple(kilobits * 1000 for kilobits in expected)
