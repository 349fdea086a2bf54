"""`max_bytes` chooses the highest legal bit rate whose MP3 fits, from the WAV's header alone."""

import random
from pathlib import Path

import pytest

from service.audio.mp3 import Mp3Format, bit_rates, output_rate
from service.audio.mp3_length import Mp3Length
from service.audio.wav_header import WavHeader
from service.errors import ServiceError
from service.uploads.target import Mp3Plan, Mp3Wish
from tests.support.ffmpegs import FFMPEG, run_encoder
from tests.support.mp3s import MP3_RATES

TAG_BYTES = 20


def header(sample_rate: int, channels: int, byte_count: int | None) -> WavHeader:
    return WavHeader("s16le", sample_rate, channels, 0, 2 * channels, 44, byte_count, is_riff=True)


def chosen(source: WavHeader, max_bytes: int, sample_rate: int | None = None) -> Mp3Format:
    wish = Mp3Wish(sample_rate=sample_rate, max_bytes=max_bytes)
    plan = Mp3Plan.of(source, wish, filename="", body_length=None, default_bit_rate=128_000)
    assert len(plan.tag) == TAG_BYTES
    return plan.target


def real_size(path: Path, source: WavHeader, target: Mp3Format, sample_count: int) -> int:
    """Return the size of the MP3 that ffmpeg makes."""
    length = Mp3Length.of(sample_count, source.sample_rate, target.sample_rate)
    sound = bytes(2 * target.channels * (sample_count + length.flush))
    return len(run_encoder(FFMPEG, path, source.sample_rate, target, sound, tag_byte_count=TAG_BYTES))


@pytest.mark.parametrize("how_many", [25, pytest.param(500, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
def test_never_over_and_never_less_than_the_best_that_fits(tmp_path: Path, how_many: int) -> None:
    rng = random.Random(14)
    refused = 0
    for _ in range(how_many):
        rate, channels = rng.choice([1_000, 8_000, 22_050, 44_100, 48_000, 96_000]), rng.choice([1, 2])
        out = rng.choice([None, *MP3_RATES])
        sample_count = rng.randrange(1, 2 * rate)
        source = header(rate, channels, sample_count * 2 * channels)
        legal = bit_rates(out or output_rate(rate))
        sizes = {
            one: real_size(tmp_path / "a.mp3", source, Mp3Format(out or output_rate(rate), channels, one), sample_count)
            for one in rng.sample(legal, 3)
        }
        limit = rng.choice([*sizes.values(), *(size - 1 for size in sizes.values()), rng.randrange(1, 90_000)])
        try:
            target = chosen(source, limit, out)
        except ServiceError as error:
            assert error.code == "cannot_fit"  # noqa: PT017 - either is right
            assert all(size > limit for size in sizes.values())
            refused += 1
            continue
        assert real_size(tmp_path / "a.mp3", source, target, sample_count) <= limit
        assert all(size > limit for one, size in sizes.items() if one > target.bit_rate)
    assert 0 < refused < how_many / 2


def test_least_size_is_named() -> None:
    hour = header(44_100, 2, 44_100 * 4 * 3600)
    with pytest.raises(ServiceError, match=r"at 44100 Hz, 14400[0-9]{3} bytes are the least") as error:
        chosen(hour, 10_000_000)
    assert (error.value.status, error.value.code) == (422, "cannot_fit")


def test_two_hours_fit_into_25_megabytes() -> None:
    assert chosen(header(44_100, 2, 44_100 * 4 * 6_000), 26_214_400).bit_rate == 32_000
    assert chosen(header(16_000, 1, 16_000 * 2 * 7_200), 26_214_400).bit_rate == 24_000


@pytest.mark.parametrize("byte_count", [None, 0])
def test_wav_of_unknown_length_is_refused(byte_count: int | None) -> None:
    with pytest.raises(ServiceError, match="does not say how much sound") as error:
        chosen(header(44_100, 2, byte_count), 26_214_400)
    assert (error.value.status, error.value.code) == (422, "unknown_length")
