"""An MP3 is sealed only if it is whole; its tag and its Info frame are then ours."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from service.audio.info_frame import expected_size, info_frame
from service.audio.mp3 import Mp3Format
from service.audio.mp3_length import Mp3Length
from service.audio.sealing import IncompleteMp3Error, seal
from tests.support.ffmpegs import FFMPEG, every_ffmpeg, run_encoder
from tests.support.mp3s import decode, info_header
from tests.support.wavs import S16, chirp

STEREO = Mp3Format(sample_rate=44_100, channels=2, bit_rate=128_000)
SAMPLE_COUNT = 5_000
LENGTH = Mp3Length.of(SAMPLE_COUNT, 44_100, 44_100)
# An empty tag of the size that ffmpeg writes.
TAG = b"ID3\x04\0\0\0\0\0\x0a" + bytes(10)


def encode(path: Path, mp3_format: Mp3Format, sample_count: int, *options: str, ffmpeg: str = "") -> bytes:
    """Write the unsealed MP3 that ffmpeg makes of so many samples, and return its bytes."""
    rate = mp3_format.sample_rate
    sound = S16.encode(chirp(sample_count, rate, mp3_format.channels))
    return run_encoder(ffmpeg or FFMPEG, path, rate, mp3_format, sound, *options)


def seal_file(path: Path, mp3_format: Mp3Format, length: Mp3Length, tag: bytes = TAG) -> bytes:
    with path.open("r+b") as file:
        seal(file.fileno(), tag, mp3_format, length)
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


def test_the_seal_writes_the_tag_and_the_info_frame_and_nothing_else(path: Path, stereo_mp3: bytes) -> None:
    sealed = seal_file(path, STEREO, LENGTH)
    assert sealed == TAG + info_frame(STEREO, LENGTH) + stereo_mp3[info_header(stereo_mp3).audio_offset :]
    assert info_header(sealed).has_valid_crc
    assert len(decode(sealed)) == SAMPLE_COUNT


def test_the_tag_fills_the_room_that_ffmpeg_reserved(tmp_path: Path) -> None:
    tag = b"ID3\x04\0\0\0\0\x0f\x50" + bytes(2_000)
    made = encode(tmp_path / "made.mp3", STEREO, SAMPLE_COUNT, "-metadata_header_padding", "2000")
    sealed = seal_file(tmp_path / "made.mp3", STEREO, LENGTH, tag)
    assert (len(sealed), sealed[:2_010]) == (len(made), tag)
    assert len(decode(sealed)) == SAMPLE_COUNT


@pytest.mark.parametrize("tag", [b"", b"ID3\x04\0\0\0\0\0\x0b" + bytes(11), b"ID3\x04\0\0\0\0\0\x09" + bytes(9)])
def test_a_tag_that_does_not_fill_its_room_is_refused(path: Path, tag: bytes) -> None:
    with refused_untouched(path, "no"):
        seal_file(path, STEREO, LENGTH, tag)


@every_ffmpeg
@pytest.mark.parametrize("sample_count", [1_153, 1_153 + 45, 10 * 1_152 + 1], ids=str)
def test_a_length_that_ffmpeg_states_wrongly_is_set_right(tmp_path: Path, ffmpeg: str, sample_count: int) -> None:
    # The padding would be up to 1,727 samples here; ffmpeg states at most 1,681, so that silence follows.
    made = encode(tmp_path / "made.mp3", STEREO, sample_count, ffmpeg=ffmpeg)
    assert len(decode(made)) > sample_count
    sealed = seal_file(tmp_path / "made.mp3", STEREO, Mp3Length.of(sample_count, 44_100, 44_100))
    assert len(decode(sealed)) == sample_count


@every_ffmpeg
@pytest.mark.parametrize("sample_rate", [8_000, 16_000, 24_000])
def test_the_shortest_sounds_in_short_frames_play_47_samples(tmp_path: Path, ffmpeg: str, sample_rate: int) -> None:
    mp3_format = Mp3Format(sample_rate, 1, 64_000)
    encode(tmp_path / "made.mp3", mp3_format, 1, ffmpeg=ffmpeg)
    sealed = seal_file(tmp_path / "made.mp3", mp3_format, Mp3Length.of(1, sample_rate, sample_rate))
    assert info_header(sealed).sample_count == len(decode(sealed)) == 47


@every_ffmpeg
@pytest.mark.parametrize("sample_count", [9_999, 4_609, 4_608, 1_153, 1_152, 1])
def test_frames_behind_the_last_sample_are_cut_off(tmp_path: Path, ffmpeg: str, sample_count: int) -> None:
    made = encode(tmp_path / "made.mp3", STEREO, 10_000, ffmpeg=ffmpeg)
    length, encoded = Mp3Length.of(sample_count, 44_100, 44_100), Mp3Length.of_blocks(10_000, 500, 44_100, 44_100)
    with (tmp_path / "made.mp3").open("r+b") as file:
        seal(file.fileno(), TAG, STEREO, length, encoded)
    sealed = (tmp_path / "made.mp3").read_bytes()
    assert len(sealed) == expected_size(STEREO, length, len(TAG))
    offset = info_header(made).audio_offset
    assert sealed == TAG + info_frame(STEREO, length) + made[offset : len(sealed)]
    assert len(decode(sealed)) == sample_count


def test_an_mp3_of_less_sound_than_there_must_be_is_refused(path: Path) -> None:
    with refused_untouched(path, "are fewer than"), path.open("r+b") as file:
        seal(file.fileno(), TAG, STEREO, Mp3Length.of(10_000, 44_100, 44_100), LENGTH)


@pytest.mark.parametrize("unit", [1, 9, 320, 505, 4_089, 131_057])
@pytest.mark.parametrize("target_rate", [8_000, 11_025, 44_100, 48_000])
def test_flush_is_whole_blocks_behind_all_that_must_be_heard(unit: int, target_rate: int) -> None:
    for sample_count in range(unit, 20 * unit, max(unit // 3, 1)):
        length = Mp3Length.of(sample_count, 6_000, target_rate)
        encoded = Mp3Length.of_blocks(-(-sample_count // unit) * unit, unit, 6_000, target_rate)
        assert (encoded.flush % unit, encoded.flush >= 32) == (0, True)
        assert encoded.frame_count >= length.frame_count


def test_an_mp3_without_an_info_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "made.mp3"
    encode(path, STEREO, SAMPLE_COUNT, "-write_xing", "0")
    with refused_untouched(path, "no Info header"):
        seal_file(path, STEREO, LENGTH)


def test_an_mp3_whose_size_ffmpeg_cannot_state_is_sealed(tmp_path: Path) -> None:
    # From 4 GiB on, ffmpeg's sizes begin again at zero. The file has a hole for the sound.
    mp3_format, length = Mp3Format(48_000, 1, 320_000), Mp3Length.of(5_200_000_000, 48_000, 48_000)
    sealed_frame, size = info_frame(mp3_format, length), expected_size(mp3_format, length, len(TAG))
    assert sealed_frame.count(b"\xff\xff\xff\xff") == 2
    frame, tag = bytearray(sealed_frame), sealed_frame.index(b"Info")
    for size_offset in (tag + 12, tag + 148):
        frame[size_offset : size_offset + 4] = struct.pack(">I", (size - len(TAG)) % 2**32)
    frame[tag + 16 : tag + 116] = bytes(100)
    path = tmp_path / "long.mp3"
    path.write_bytes(TAG + frame)
    with path.open("r+b") as file:
        file.truncate(size)
        seal(file.fileno(), TAG, mp3_format, length)
        assert file.read(len(TAG) + len(frame)) == TAG + sealed_frame


@pytest.mark.parametrize("length", [20, 21, 44, 150, 436])
def test_an_mp3_that_ends_in_its_info_header_is_refused(path: Path, stereo_mp3: bytes, length: int) -> None:
    path.write_bytes(stereo_mp3[:length])
    with refused_untouched(path, "no Info header"):
        seal_file(path, STEREO, LENGTH)


@pytest.mark.parametrize("length", [0, 1, 9])
def test_an_mp3_that_ends_in_its_tag_is_refused(path: Path, stereo_mp3: bytes, length: int) -> None:
    path.write_bytes(stereo_mp3[:length])
    with refused_untouched(path, "no ID3 tag of 20 bytes"):
        seal_file(path, STEREO, LENGTH)


# Of the Info frame's 417 bytes, ffmpeg alone knows the encoder's name and the checksums.
@pytest.mark.parametrize("place", [*range(0, 156, 8), 155, 165, *range(170, 188), *range(192, 417, 20)])
def test_an_info_frame_that_is_not_what_we_computed_is_refused(path: Path, stereo_mp3: bytes, place: int) -> None:
    damaged = bytearray(stereo_mp3)
    damaged[20 + place] ^= 1
    path.write_bytes(damaged)
    with refused_untouched(path, "."):
        seal_file(path, STEREO, LENGTH)


@pytest.mark.parametrize("place", [*range(36 + 120, 36 + 129), *range(36 + 152, 36 + 156)])
def test_name_and_checksums_of_ffmpeg_are_not_ours_to_know(path: Path, stereo_mp3: bytes, place: int) -> None:
    other = bytearray(stereo_mp3)
    other[20 + place] ^= 1
    path.write_bytes(other)
    assert len(decode(seal_file(path, STEREO, LENGTH))) == SAMPLE_COUNT


@pytest.mark.parametrize("missing", [-47, -1, 1, 100])
def test_an_mp3_of_other_samples_in_as_many_frames_is_refused(tmp_path: Path, missing: int) -> None:
    path = tmp_path / "made.mp3"
    encode(path, STEREO, SAMPLE_COUNT - missing)
    with refused_untouched(path, "samples after a delay of 576"):
        seal_file(path, STEREO, LENGTH)


@pytest.mark.parametrize("difference", [-1_152, 1_152])
def test_an_mp3_of_another_number_of_frames_is_refused(path: Path, difference: int) -> None:
    with refused_untouched(path, "6 frames instead of"):
        seal_file(path, STEREO, Mp3Length.of(SAMPLE_COUNT + difference, 44_100, 44_100))


def test_an_mp3_whose_frame_count_was_never_written_is_refused(path: Path, stereo_mp3: bytes) -> None:
    # A killed ffmpeg leaves this, because the header is a placeholder until the end.
    tag = stereo_mp3.index(b"Info")
    path.write_bytes(stereo_mp3[: tag + 8] + struct.pack(">I", 0) + stereo_mp3[tag + 12 :])
    with refused_untouched(path, "0 frames instead of"):
        seal_file(path, STEREO, LENGTH)


@pytest.mark.parametrize("cut", [slice(0, -1), slice(0, -418), slice(0, 800)], ids=repr)
def test_an_mp3_that_was_cut_off_is_refused(path: Path, stereo_mp3: bytes, cut: slice) -> None:
    path.write_bytes(stereo_mp3[cut])
    with refused_untouched(path, f"bytes instead of {len(stereo_mp3)}"):
        seal_file(path, STEREO, LENGTH)


@pytest.mark.parametrize("extra", [b"\0", b"TAG" + bytes(125)], ids=len)
def test_an_mp3_with_more_behind_it_is_refused(path: Path, stereo_mp3: bytes, extra: bytes) -> None:
    path.write_bytes(stereo_mp3 + extra)
    with refused_untouched(path, f"bytes instead of {len(stereo_mp3)}"):
        seal_file(path, STEREO, LENGTH)


def test_an_mp3_of_another_bit_rate_is_refused(path: Path) -> None:
    with refused_untouched(path, "."):
        seal_file(path, Mp3Format(44_100, 2, 160_000), LENGTH)


@pytest.mark.parametrize("sample_count", [2_240, 6_337], ids=["too few", "too many"])
def test_a_padding_that_cannot_be_stated_is_refused(path: Path, sample_count: int) -> None:
    # Six frames with the encoder's delay of 576 samples leave room for a padding of 0 to 4,095.
    with refused_untouched(path, "a padding of"):
        seal_file(path, STEREO, replace(LENGTH, sample_count=sample_count))


def test_an_error_of_the_descriptor_reaches_the_caller(path: Path) -> None:
    with path.open("rb") as file, pytest.raises(OSError, match="Bad file descriptor"):
        seal(file.fileno(), TAG, STEREO, LENGTH)
