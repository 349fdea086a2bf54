"""Computes what a complete MP3 of constant bit rate looks like, and checks and seals one."""

# ISO/IEC 11172-3 and 13818-3 define frame lengths and bit rates. The Info header with its LAME extension says how many
# of the decoded samples are sound (encoder delay and padding), so that players can play it sample-exact.

import os
from collections.abc import Sequence
from dataclasses import dataclass

# LAME encodes at least this many samples more than it gets: its delay before the sound, and padding after it.
_LAME_LOOKAHEAD = 1152
# A shorter sound plays this long: Debian 12's decoder drops at most one and a half short frames from both ends of it.
_FEWEST_SAMPLES_IN_SHORT_FRAMES = 47
_SYNC_BYTE = 0xFF
# Offsets from the tag "Info". Flags, frames, bytes, a table of contents of 100 bytes and a quality follow it, then the
# LAME extension.
_FRAMES, _BYTES, _DELAYS, _MUSIC_BYTES, _TAG_CRC = 8, 12, 141, 148, 154
_CRC_SPAN = 190
_LARGEST_PADDING = 0xFFF


@dataclass(frozen=True, slots=True)
class _MpegVersion:
    """One version of MPEG audio, layer III: its tables, in the order of the indices in a frame's header.

    `number` is the version's value in that header. The first bit rate has the index 1.
    """

    number: int
    sample_rates: tuple[int, ...]
    kilobits: tuple[int, ...]
    legal_kilobits: tuple[int, ...]
    samples_per_frame: int


_MPEG1_KILOBITS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MPEG2_KILOBITS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_VERSIONS = (
    _MpegVersion(3, (44_100, 48_000, 32_000), _MPEG1_KILOBITS, _MPEG1_KILOBITS, 1152),
    _MpegVersion(2, (22_050, 24_000, 16_000), _MPEG2_KILOBITS, _MPEG2_KILOBITS, 576),
    # LAME encodes MPEG-2.5 at no more than 64 kbit/s.
    _MpegVersion(0, (11_025, 12_000, 8_000), _MPEG2_KILOBITS, _MPEG2_KILOBITS[:8], 576),
)
SAMPLE_RATES = tuple(sorted(rate for version in _VERSIONS for rate in version.sample_rates))


class IncompleteMp3Error(Exception):
    """The MP3 is not as long as its samples require."""


@dataclass(frozen=True, slots=True)
class Mp3Format:
    """The format of an MP3: sample rate in Hz, 1 or 2 channels, bit rate in bit/s."""

    sample_rate: int
    channels: int
    bit_rate: int


def output_rate(sample_rate: int) -> int:
    """Return the MP3's sample rate for a WAV's: the same, or the next higher one. Above 48 kHz, 44.1 or 48 kHz."""
    if sample_rate > SAMPLE_RATES[-1]:
        return 44_100 if sample_rate % 11_025 == 0 else 48_000
    return next(rate for rate in SAMPLE_RATES if rate >= sample_rate)


def bit_rates(sample_rate: int) -> Sequence[int]:
    """Return the bit rates (bit/s) that are legal at an MP3 sample rate, ascending."""
    return [kilobit * 1000 for kilobit in _version_of(sample_rate).legal_kilobits]


def resampled_count(sample_count: int, sample_rate: int, target_rate: int) -> int:
    """Return how many samples the MP3 plays at `target_rate` for `sample_count` samples of a WAV."""
    return -(-sample_count * target_rate // sample_rate)


def frame_count(sample_count: int, sample_rate: int) -> int:
    """Return how many frames of sound LAME writes for `sample_count` samples at the MP3's sample rate."""
    return -(-(sample_count + _LAME_LOOKAHEAD) // _version_of(sample_rate).samples_per_frame)


def audio_byte_count(frames: int, mp3_format: Mp3Format) -> int:
    """Return the exact size in bytes of this many frames, of which the first is unpadded."""
    per_frame = _version_of(mp3_format.sample_rate).samples_per_frame // 8 * mp3_format.bit_rate
    whole, fraction = divmod(per_frame, mp3_format.sample_rate)
    return frames * whole + -(-(frames - 1) * fraction // mp3_format.sample_rate)


def seal(descriptor: int, mp3_format: Mp3Format, sample_count: int, frames: Sequence[int]) -> None:
    """Check a finished MP3's length, and write the exact number of its samples into its Info header.

    `sample_count` is how many samples must play, and `frames` are the frame counts that are right for all that was
    encoded. Frames that no longer hold sound to play are cut off. ffmpeg's own header is wrong by 1 to 46 samples for
    one length in 25 (if the padding would exceed a frame), and by the resampler's rounding, so the padding is written
    again. Raises IncompleteMp3Error and OSError.
    """
    try:
        info = _InfoHeader.read(descriptor)
    except (IndexError, ValueError) as error:
        raise IncompleteMp3Error(f"no MP3 frame at the start: {error}") from error
    if info.frames not in frames:
        raise IncompleteMp3Error(f"{info.frames} frames instead of {frames} for {sample_count} samples")
    expected = info.end + audio_byte_count(info.frames, mp3_format)
    actual = os.fstat(descriptor).st_size
    if actual != expected:
        raise IncompleteMp3Error(f"{actual} bytes instead of {expected} for {sample_count} samples")
    samples_per_frame = _version_of(mp3_format.sample_rate).samples_per_frame
    if samples_per_frame < _LAME_LOOKAHEAD:
        sample_count = max(sample_count, _FEWEST_SAMPLES_IN_SHORT_FRAMES)
    kept = min(frame_count(sample_count, mp3_format.sample_rate), info.frames)
    if kept < info.frames:
        info.cut(descriptor, kept, actual - info.end - audio_byte_count(kept, mp3_format))
    info.write_padding(descriptor, kept * samples_per_frame - info.delay - sample_count)


def _version_of(sample_rate: int) -> _MpegVersion:
    """Return the only version of MPEG that has this sample rate."""
    return next(version for version in _VERSIONS if sample_rate in version.sample_rates)


@dataclass(frozen=True, slots=True)
class _InfoHeader:
    """An MP3's first frame, which holds no sound; `start`, `tag` and `end` are offsets in the file."""

    start: int
    tag: int
    end: int
    frames: int
    delay: int

    @classmethod
    def read(cls, descriptor: int) -> "_InfoHeader":
        id3 = os.pread(descriptor, 10, 0)
        start = 0
        if id3[:3] == b"ID3":
            start = 10 + sum(byte << shift for byte, shift in zip(id3[6:10], (21, 14, 7, 0), strict=True))
        frame = os.pread(descriptor, 1441, start)  # the largest frame: 320 kbit/s at 32 kHz, padded
        tag = frame.find(b"Info")
        if tag < 0 or len(frame) < tag + _TAG_CRC + 2:
            raise IncompleteMp3Error("no Info header")
        return cls(
            start=start,
            tag=start + tag,
            end=start + _frame_byte_count(frame),
            frames=int.from_bytes(frame[tag + _FRAMES : tag + _FRAMES + 4], "big"),
            delay=int.from_bytes(frame[tag + _DELAYS : tag + _DELAYS + 3], "big") >> 12,
        )

    def cut(self, descriptor: int, frames: int, surplus: int) -> None:
        """Shorten the MP3 to so many frames, by `surplus` bytes, and say so in its header."""
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - surplus)
        os.pwrite(descriptor, frames.to_bytes(4, "big"), self.tag + _FRAMES)
        for place in (_BYTES, _MUSIC_BYTES):
            byte_count = int.from_bytes(os.pread(descriptor, 4, self.tag + place), "big") - surplus
            os.pwrite(descriptor, byte_count.to_bytes(4, "big"), self.tag + place)

    def write_padding(self, descriptor: int, padding: int) -> None:
        if not 0 <= padding <= _LARGEST_PADDING:
            raise IncompleteMp3Error(f"a padding of {padding} samples")
        os.pwrite(descriptor, (self.delay << 12 | padding).to_bytes(3, "big"), self.tag + _DELAYS)
        # The checksum's span includes its own two bytes if it reaches so far, and may pass the frame's end. Both count
        # as zeros.
        os.pwrite(descriptor, b"\0\0", self.tag + _TAG_CRC)
        span = os.pread(descriptor, min(_CRC_SPAN, self.end - self.start), self.start)
        crc = _crc16(span.ljust(_CRC_SPAN, b"\0"))
        os.pwrite(descriptor, crc.to_bytes(2, "big"), self.tag + _TAG_CRC)


def _frame_byte_count(frame: bytes) -> int:
    """Return a frame's length in bytes by its own header, because the muxer chooses the Info frame's bit rate."""
    number, layer_bits = frame[1] >> 3 & 3, frame[1] >> 1 & 3
    version = next((version for version in _VERSIONS if version.number == number), None)
    if frame[0] != _SYNC_BYTE or layer_bits != 1 or version is None:
        raise IncompleteMp3Error("no MPEG layer III frame at the start")
    bit_rate = version.kilobits[(frame[2] >> 4) - 1] * 1000
    sample_rate = version.sample_rates[frame[2] >> 2 & 3]
    return version.samples_per_frame // 8 * bit_rate // sample_rate + (frame[2] >> 1 & 1)


def _crc16(content: bytes) -> int:
    """Return the CRC-16/ARC, which the LAME extension and ffmpeg's muxer use."""
    crc = 0
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc
