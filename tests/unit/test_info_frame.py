"""The Info frame and the size of an MP3, computed before the first sample, are those that ffmpeg arrives at."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import pytest

from service.audio.info_frame import endless_info_frame, expected_size, info_frame
from service.audio.mp3 import Mp3Format, bit_rates, frame_count
from service.audio.mp3_length import Mp3Length
from tests.support.ffmpegs import FFMPEG, every_ffmpeg, run_encoder
from tests.support.mp3s import MP3_RATES, decode

TAG_BYTES = 20
STEREO = Mp3Format(44_100, 2, 128_000)
# Offsets from the tag "Info": what ffmpeg alone knows are the sound's checksum and, by it, the frame's own.
CHECKSUMS = range(152, 156)
ENCODER = range(120, 129)
PADDING = range(142, 144)
# Rates that no MP3 has, and rates that the client of an upload may ask to have changed.
RESAMPLED = [(1_000, 8_000), (5_512, 8_000), (8_001, 11_025), (37_800, 44_100), (96_000, 48_000), (250_000, 48_000)]
RESAMPLED += [(768_000, 48_000), (48_000, 8_000), (8_000, 44_100), (44_100, 16_000)]


def edge_lengths(samples_per_frame: int) -> list[int]:
    """Return lengths about the ends of frames, of the shortest sounds, and of steps of the table of contents."""
    frames = (1, 2, 7, 99, 398, 399, 400, 401, 803)
    ends = {samples_per_frame * count + more for count in frames[:4] for more in (-1, 0, 1, 2, 46, 47)}
    steps = {samples_per_frame * count - 1_152 for count in frames[4:]}
    return sorted(ends | steps | {1, 2, 46, 47, 48, 10_000})


def sound(sample_count: int, channels: int, flush: int = 0) -> bytes:
    """Return noise that never repeats within a frame, and the silence after it."""
    noise = bytes(place * place % 251 for place in range(4_096))
    byte_count = 2 * channels * sample_count
    return (noise * (byte_count // len(noise) + 1))[:byte_count] + bytes(2 * channels * flush)


def assert_predicted(made: bytes, mp3_format: Mp3Format, length: Mp3Length) -> None:
    """Fail unless ffmpeg's unsealed MP3 has the size and the Info frame that were computed beforehand."""
    assert len(made) == expected_size(mp3_format, length, TAG_BYTES)
    ours = info_frame(mp3_format, length)
    theirs = made[TAG_BYTES : TAG_BYTES + len(ours)]
    tag = ours.index(b"Info")
    different = {place - tag for place, (mine, its) in enumerate(zip(ours, theirs, strict=True)) if mine != its}
    assert different <= {*ENCODER, *CHECKSUMS, *(PADDING if is_padding_ffmpegs_own(mp3_format, length) else ())}


def is_padding_ffmpegs_own(mp3_format: Mp3Format, length: Mp3Length) -> bool:
    """Return whether ffmpeg cannot state the right padding: it is too long for it, or it does not know the flush."""
    samples_per_frame = 1152 if mp3_format.sample_rate >= 32_000 else 576
    padding = length.frame_count * samples_per_frame - 576 - length.sample_count
    return length.flush > 0 or padding > samples_per_frame + 529


def formats(sample_rate: int, channels: int) -> list[Mp3Format]:
    """Return formats of the lowest, a middle and the highest bit rate."""
    legal = bit_rates(sample_rate)
    return [Mp3Format(sample_rate, channels, rate) for rate in (legal[0], legal[len(legal) // 2], legal[-1])]


def sampled_cases(sample_rate: int, channels: int) -> Iterator[tuple[Mp3Format, int]]:
    """Yield one case for each second edge length, with each bit rate in turn."""
    lengths = edge_lengths(1152 if sample_rate >= 32_000 else 576)
    return zip(cycle(formats(sample_rate, channels)), lengths[channels - 1 :: 6], strict=False)


def every_case(sample_rate: int, channels: int) -> Iterator[tuple[Mp3Format, int]]:
    for rate in bit_rates(sample_rate):
        for sample_count in edge_lengths(1152 if sample_rate >= 32_000 else 576):
            yield Mp3Format(sample_rate, channels, rate), sample_count


@every_ffmpeg
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("sample_rate", MP3_RATES)
@pytest.mark.parametrize("cases", [sampled_cases, pytest.param(every_case, marks=pytest.mark.long)])
def test_ffmpeg_arrives_at_the_frame_and_the_size_that_we_computed(
    tmp_path: Path,
    cases: Callable[[int, int], Iterator[tuple[Mp3Format, int]]],
    sample_rate: int,
    channels: int,
    ffmpeg: str,
) -> None:
    for mp3_format, sample_count in cases(sample_rate, channels):
        length = Mp3Length.of(sample_count, sample_rate, sample_rate)
        made = run_encoder(ffmpeg, tmp_path / "made.mp3", sample_rate, mp3_format, sound(sample_count, channels))
        assert_predicted(made, mp3_format, length)


@every_ffmpeg
@pytest.mark.parametrize(("source_rate", "target_rate"), RESAMPLED)
def test_resampled_sound_has_the_one_frame_count_that_its_flush_leaves(
    tmp_path: Path, source_rate: int, target_rate: int, ffmpeg: str
) -> None:
    mp3_format = formats(target_rate, 1)[1]
    samples_per_frame = 1152 if target_rate >= 32_000 else 576
    for played in (1, 500, 3 * samples_per_frame - 64, 3 * samples_per_frame - 62, 3 * samples_per_frame - 60, 9_000):
        sample_count = max(played * source_rate // target_rate, 1)
        length = Mp3Length.of(sample_count, source_rate, target_rate)
        samples = sound(sample_count, 1, length.flush)
        assert_predicted(
            run_encoder(ffmpeg, tmp_path / "made.mp3", source_rate, mp3_format, samples), mp3_format, length
        )


@pytest.mark.parametrize(("source_rate", "target_rate"), RESAMPLED)
def test_flush_is_short_and_leaves_one_frame_count(source_rate: int, target_rate: int) -> None:
    for sample_count in range(1, 3_000):
        length = Mp3Length.of(sample_count, source_rate, target_rate)
        assert {frame_count(count, target_rate) for count in length.encoded_counts} == {length.frame_count}
        assert length.flush >= 32
        assert 64 <= length.flush * target_rate / source_rate < 64 + 5 + 33 * max(target_rate / source_rate, 1)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("sample_rate", MP3_RATES)
def test_frame_of_an_unknown_length_is_as_long_and_states_only_the_delay(
    tmp_path: Path, sample_rate: int, channels: int
) -> None:
    for mp3_format in formats(sample_rate, channels):
        length = Mp3Length.of(10_000, sample_rate, sample_rate)
        samples = sound(10_000, channels)
        made = run_encoder(FFMPEG, tmp_path / "made.mp3", sample_rate, mp3_format, samples)
        frame, sized = endless_info_frame(mp3_format), info_frame(mp3_format, length)
        assert len(frame) == len(sized)
        assert frame[: frame.index(b"Info")] == sized[: sized.index(b"Info")]
        listened = made[:TAG_BYTES] + frame + made[TAG_BYTES + len(frame) :]
        heard = decode(listened, may_warn=True)  # that the duration is an estimate
        # 529 samples are the decoder's own delay. Nothing is cut off the end.
        assert len(heard) == length.frame_count * mp3_format.version.samples_per_frame - 576 - 529


def test_table_of_contents_is_right_where_ffmpegs_overflows() -> None:
    # From 2 GiB on, ffmpeg 9's is all zeros.
    frame = info_frame(Mp3Format(32_000, 1, 320_000), Mp3Length.of(1_760_000_000, 32_000, 32_000))
    tag = frame.index(b"Info")
    table = frame[tag + 16 : tag + 116]
    assert int.from_bytes(frame[tag + 12 : tag + 16], "big") == 2_200_003_200
    assert [table[place] for place in (0, 25, 50, 75, 99)] == [0, 64, 128, 192, 253]


def test_encoder_is_one_whose_delay_every_player_cuts_off() -> None:
    # Firefox knows LAME and Lavc, but not the Lavf that ffmpeg calls itself without its version.
    for frame in (info_frame(STEREO, Mp3Length.of(1, 44_100, 44_100)), endless_info_frame(STEREO)):
        assert frame.count(b"Lavc") == 1


def test_padding_that_cannot_be_stated_is_refused() -> None:
    length = replace(Mp3Length.of(5_000, 44_100, 44_100), sample_count=10_000)
    with pytest.raises(ValueError, match="a padding of"):
        info_frame(STEREO, length)
