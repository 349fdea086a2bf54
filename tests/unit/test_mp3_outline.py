"""An outline is what the WAV's header makes certain of its MP3."""

from pathlib import Path

import pytest

from service.audio.info_frame import endless_info_frame
from service.audio.mp3 import Mp3Format, bit_rates
from service.audio.mp3_outline import Mp3Outline
from service.audio.wav_header import WavHeader
from tests.support.ffmpegs import FFMPEG, run_encoder
from tests.support.mp3s import MP3_RATES

TAG = bytes(20)
TARGET = Mp3Format(44_100, 2, 128_000)
HEADER = WavHeader("s16le", 44_100, 2, 0, 4, data_offset=44, data_size=400_000, is_riff=True, riff_end=400_044)


def sample_count(header: WavHeader, body_length: int | None) -> int | None:
    return Mp3Outline.of(header, TARGET, TAG, body_length).sample_count


@pytest.mark.parametrize("body_length", [None, 400_044, 400_045, 500_000])
def test_declared_size_stands_unless_the_body_is_shorter(body_length: int | None) -> None:
    assert sample_count(HEADER, body_length) == 100_000


@pytest.mark.parametrize("body_length", [44, 400_043])
def test_size_that_the_body_contradicts_is_unknown(body_length: int) -> None:
    outline = Mp3Outline.of(HEADER, TARGET, TAG, body_length)
    assert (outline.sample_count, outline.size, outline.certain_size) == (None, None, None)
    assert outline.head == TAG + endless_info_frame(TARGET)


def test_size_that_the_header_itself_contradicts_or_does_not_have_is_unknown() -> None:
    changed = WavHeader("s16le", 44_100, 2, 0, 4, 44, 400_000, is_riff=True, riff_end=300_000)
    unknown = WavHeader("s16le", 44_100, 2, 0, 4, 44, None, is_riff=True)
    zero = WavHeader("s16le", 44_100, 2, 0, 4, 44, 0, is_riff=True, is_zero=True)
    assert [sample_count(header, None) for header in (changed, unknown, zero)] == [None, None, None]


@pytest.mark.parametrize("sample_rate", MP3_RATES)
def test_newest_frame_is_the_last_one_that_is_whole(tmp_path: Path, sample_rate: int) -> None:
    for bit_rate in (bit_rates(sample_rate)[0], bit_rates(sample_rate)[-1]):
        target = Mp3Format(sample_rate, 1, bit_rate)
        noise = bytes(place * place % 251 for place in range(2 * sample_rate))
        mp3 = run_encoder(FFMPEG, tmp_path / "made.mp3", sample_rate, target, noise)
        header = WavHeader("s16le", sample_rate, 1, 0, 2, 44, None, is_riff=True)
        outline = Mp3Outline.of(header, target, TAG, None)
        sound = len(outline.head)
        frames = [place for place in range(sound, len(mp3) - 1) if mp3[place : place + 2] == mp3[sound : sound + 2]]
        found = {outline.newest_frame(size) for size in range(sound, len(mp3) + 1)}
        assert found <= set(frames)
        assert outline.newest_frame(len(mp3)) == max(found)
        assert len(mp3) - max(found) <= target.version.samples_per_frame // 8 * bit_rate // sample_rate + 1
        for size in range(sound, len(mp3), 97):
            newest = outline.newest_frame(size)
            following = min((place for place in found if place > newest), default=len(mp3))
            assert newest == sound or following <= size
