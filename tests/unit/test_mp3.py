"""The arithmetic of MP3 agrees with real ffmpeg, and an MP3 is sealed only if it is whole."""

import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.audio.mp3 import (
    IncompleteMp3Error,
    Mp3Format,
    audio_byte_count,
    bit_rates,
    frame_count,
    output_rate,
    resampled_count,
    seal,
)
from tests.support.ffmpegs import decoder
from tests.support.mp3s import MP3_RATES, decode, info_header
from tests.support.wavs import S16, chirp

STEREO = Mp3Format(sample_rate=44_100, channels=2, bit_rate=128_000)
SAMPLE_COUNT = 5_000


def encode(path: Path, mp3_format: Mp3Format, sample_count: int, *options: str) -> bytes:
    """Write the unsealed MP3 that ffmpeg makes of so many samples, and return its bytes."""
    rate, channels = mp3_format.sample_rate, mp3_format.channels
    source = ["-f", "s16le", "-ar", str(rate), "-ac", str(channels), "-i", "pipe:0"]
    target = ["-b:a", str(mp3_format.bit_rate), "-map_metadata", "-1", *options, "-f", "mp3", f"file:{path}"]
    sound = S16.encode(chirp(sample_count, rate, channels))
    ffmpeg = decoder()
    subprocess.run([ffmpeg, "-v", "error", *source, *target], input=sound, check=True)
    return path.read_bytes()


def seal_file(path: Path, mp3_format: Mp3Format, sample_count: int, frames: list[int] | None = None) -> bytes:
    expected = [frame_count(sample_count, mp3_format.sample_rate)] if frames is None else frames
    with path.open("r+b") as file:
        seal(file.fileno(), mp3_format, sample_count, expected)
    return path.read_bytes()


@contextmanager
def refused_untouched(path: Path, match: str) -> Iterator[None]:
    before = path.read_bytes()
    with pytest.raises(IncompleteMp3Error, match=match):
        yield
    assert path.read_bytes() == before


@pytest.fixture(scope="module")
def stereo_mp3(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return encode(tmp_path_factory.mktemp("mp3") / "stereo.mp3", STEREO, SAMPLE_COUNT)


@pytest.fixture
def path(tmp_path: Path, stereo_mp3: bytes) -> Path:
    """A whole MP3 of `SAMPLE_COUNT` samples, not sealed yet."""
    path = tmp_path / "draft.mp3"
    path.write_bytes(stereo_mp3)
    return path


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
    ("sample_count", "sample_rate", "expected"),
    [(7, 44_100, 7), (88_200, 88_200, 44_100), (3, 96_000, 2), (1, 192_000, 1), (37_801, 37_800, 44_102)],
)
def test_the_length_after_resampling_is_rounded_up(sample_count: int, sample_rate: int, expected: int) -> None:
    assert resampled_count(sample_count, sample_rate) == expected


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


@pytest.mark.parametrize(
    ("mp3_format", "sample_count"),
    [
        (STEREO, 1),
        (STEREO, 1_152),
        (STEREO, 44_101),
        (STEREO, 49 * 1_152),
        (Mp3Format(48_000, 1, 320_000), 10_000),
        (Mp3Format(32_000, 2, 32_000), 1_153),
        (Mp3Format(24_000, 2, 160_000), 577),
        (Mp3Format(22_050, 1, 64_000), 22_050),
        (Mp3Format(11_025, 2, 64_000), 47),
        (Mp3Format(8_000, 1, 8_000), 12_345),
    ],
    ids=str,
)
def test_ffmpeg_writes_what_was_predicted(tmp_path: Path, mp3_format: Mp3Format, sample_count: int) -> None:
    made = encode(tmp_path / "made.mp3", mp3_format, sample_count)
    info = info_header(made)
    assert (info.sample_rate, info.bit_rate, info.channels) == (
        mp3_format.sample_rate,
        mp3_format.bit_rate,
        mp3_format.channels,
    )
    assert info.frame_count == frame_count(sample_count, mp3_format.sample_rate)
    assert len(made) == info.audio_offset + audio_byte_count(info.frame_count, mp3_format)
    sealed = seal_file(tmp_path / "made.mp3", mp3_format, sample_count)
    info = info_header(sealed)
    assert (info.sample_count, info.has_valid_crc) == (sample_count, True)
    assert decode(sealed).shape == (sample_count, mp3_format.channels)


def test_a_length_that_ffmpeg_states_wrongly_is_set_right(tmp_path: Path) -> None:
    # The padding would be 1,198 samples here; ffmpeg states at most a frame, so 46 samples of silence follow.
    made = encode(tmp_path / "made.mp3", STEREO, 1_153)
    assert len(decode(made)) > 1_153
    sealed = seal_file(tmp_path / "made.mp3", STEREO, 1_153)
    assert len(decode(sealed)) == 1_153


@pytest.mark.parametrize("sample_rate", [8_000, 16_000, 24_000])
def test_the_shortest_sounds_in_short_frames_play_47_samples(tmp_path: Path, sample_rate: int) -> None:
    mp3_format = Mp3Format(sample_rate, 1, 64_000)
    encode(tmp_path / "made.mp3", mp3_format, 1)
    sealed = seal_file(tmp_path / "made.mp3", mp3_format, 1)
    assert info_header(sealed).sample_count == len(decode(sealed)) == 47


def test_the_seal_changes_nothing_but_padding_and_checksum(path: Path, stereo_mp3: bytes) -> None:
    sealed = seal_file(path, STEREO, SAMPLE_COUNT - 100, [frame_count(SAMPLE_COUNT, 44_100)])
    tag = stereo_mp3.index(b"Info")
    changed = {place - tag for place, (old, new) in enumerate(zip(stereo_mp3, sealed, strict=True)) if old != new}
    assert changed <= {142, 143, 154, 155}
    assert info_header(sealed).encoder_delay == info_header(stereo_mp3).encoder_delay
    assert info_header(sealed).has_valid_crc


def test_any_right_frame_count_is_accepted(path: Path) -> None:
    frames = frame_count(SAMPLE_COUNT, 44_100)
    sealed = seal_file(path, STEREO, SAMPLE_COUNT - 3, [frames - 1, frames, frames + 1])
    assert len(decode(sealed)) == SAMPLE_COUNT - 3


def test_a_sealed_mp3_may_be_sealed_again(path: Path) -> None:
    assert seal_file(path, STEREO, SAMPLE_COUNT) == seal_file(path, STEREO, SAMPLE_COUNT)


@pytest.mark.parametrize(
    "mp3_format",
    [
        Mp3Format(16_000, 1, 32_000),
        Mp3Format(16_000, 2, 8_000),
        Mp3Format(22_050, 1, 56_000),
        Mp3Format(32_000, 1, 40_000),
        Mp3Format(44_100, 1, 32_000),
    ],
    ids=str,
)
def test_the_checksum_of_a_short_info_frame_is_valid(tmp_path: Path, mp3_format: Mp3Format) -> None:
    made = encode(tmp_path / "made.mp3", mp3_format, SAMPLE_COUNT)
    assert info_header(made).has_valid_crc
    assert info_header(seal_file(tmp_path / "made.mp3", mp3_format, SAMPLE_COUNT)).has_valid_crc


def test_an_mp3_without_an_info_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "made.mp3"
    encode(path, STEREO, SAMPLE_COUNT, "-write_xing", "0")
    with refused_untouched(path, "no Info header"):
        seal_file(path, STEREO, SAMPLE_COUNT)


@pytest.mark.parametrize("length", [0, 10, 44, 150])
def test_an_mp3_that_ends_in_its_info_header_is_refused(path: Path, stereo_mp3: bytes, length: int) -> None:
    path.write_bytes(stereo_mp3[:length])
    with refused_untouched(path, "no Info header"):
        seal_file(path, STEREO, SAMPLE_COUNT)


def test_an_info_header_outside_a_frame_is_refused(path: Path) -> None:
    path.write_bytes(bytes(32) + b"Info" + bytes(1_000))
    with refused_untouched(path, "no MPEG layer III frame"):
        seal_file(path, STEREO, SAMPLE_COUNT)


def with_frame_byte(mp3: bytes, value: int) -> bytes:
    """Return the MP3 with another value of the byte that has the rates in the header of its Info frame."""
    offset = info_header(mp3).offset + 2
    return mp3[:offset] + bytes([value]) + mp3[offset + 1 :]


@pytest.mark.parametrize("damage", ["reserved bit rate", "reserved sample rate", "cut in the ID3 tag"])
def test_an_mp3_that_starts_with_nonsense_is_refused(path: Path, stereo_mp3: bytes, damage: str) -> None:
    damaged = {
        "reserved bit rate": with_frame_byte(stereo_mp3, 0xF0),
        "reserved sample rate": with_frame_byte(stereo_mp3, 0x9C),
        "cut in the ID3 tag": stereo_mp3[:3],
    }
    path.write_bytes(damaged[damage])
    with refused_untouched(path, "."):
        seal_file(path, STEREO, SAMPLE_COUNT)


@pytest.mark.parametrize("difference", [-1_152, 1_152])
def test_an_mp3_of_another_number_of_frames_is_refused(path: Path, difference: int) -> None:
    with refused_untouched(path, "6 frames instead of"):
        seal_file(path, STEREO, SAMPLE_COUNT + difference)


def test_an_mp3_whose_frame_count_was_never_written_is_refused(path: Path, stereo_mp3: bytes) -> None:
    # A killed ffmpeg leaves this, because the header is a placeholder until the end.
    tag = stereo_mp3.index(b"Info")
    path.write_bytes(stereo_mp3[: tag + 8] + struct.pack(">I", 0) + stereo_mp3[tag + 12 :])
    with refused_untouched(path, "0 frames instead of"):
        seal_file(path, STEREO, SAMPLE_COUNT)


@pytest.mark.parametrize("cut", [slice(0, -1), slice(0, -418), slice(0, 800)], ids=repr)
def test_an_mp3_that_was_cut_off_is_refused(path: Path, stereo_mp3: bytes, cut: slice) -> None:
    path.write_bytes(stereo_mp3[cut])
    with refused_untouched(path, f"bytes instead of {len(stereo_mp3)}"):
        seal_file(path, STEREO, SAMPLE_COUNT)


@pytest.mark.parametrize("extra", [b"\0", b"TAG" + bytes(125)], ids=len)
def test_an_mp3_with_more_behind_it_is_refused(path: Path, stereo_mp3: bytes, extra: bytes) -> None:
    path.write_bytes(stereo_mp3 + extra)
    with refused_untouched(path, f"bytes instead of {len(stereo_mp3)}"):
        seal_file(path, STEREO, SAMPLE_COUNT)


def test_an_mp3_of_another_bit_rate_is_refused(path: Path) -> None:
    with refused_untouched(path, "bytes instead of"):
        seal_file(path, Mp3Format(44_100, 2, 160_000), SAMPLE_COUNT)


# Six frames with the encoder's delay of 576 samples leave room for a padding of 0 to 4095.
@pytest.mark.parametrize("sample_count", [2_241, 6_336])
def test_any_padding_that_can_be_stated_is_taken(path: Path, sample_count: int) -> None:
    assert info_header(seal_file(path, STEREO, sample_count, [6])).sample_count == sample_count


@pytest.mark.parametrize("sample_count", [2_240, 6_337], ids=["too few", "too many"])
def test_a_padding_that_cannot_be_stated_is_refused(path: Path, sample_count: int) -> None:
    with refused_untouched(path, "a padding of"):
        seal_file(path, STEREO, sample_count, [6])


def test_an_error_of_the_descriptor_reaches_the_caller(path: Path) -> None:
    with path.open("rb") as file, pytest.raises(OSError, match="Bad file descriptor"):
        seal(file.fileno(), STEREO, SAMPLE_COUNT, [6])
