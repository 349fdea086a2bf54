"""Knows the formats of MP3s, and computes how many frames and bytes of constant bit rate sound takes."""

# ISO/IEC 11172-3 and 13818-3 define frame lengths and bit rates.

from collections.abc import Sequence
from dataclasses import dataclass

# LAME encodes at least this many samples more than it gets: its delay before the sound, and padding after it.
_LAME_LOOKAHEAD = 1152


@dataclass(frozen=True, slots=True)
class MpegVersion:
    """One version of MPEG audio, layer III: its tables, in the order of the indices in a frame's header.

    `number` is the version's value in that header. The first bit rate has the index 1. `side_info_byte_counts` are the
    bytes between a frame's header and its main part, for mono and for stereo.
    """

    number: int
    sample_rates: tuple[int, ...]
    kilobits: tuple[int, ...]
    legal_kilobits: tuple[int, ...]
    samples_per_frame: int
    side_info_byte_counts: tuple[int, int]

    def frame_byte_count(self, sample_rate: int, kilobits: int) -> int:
        """Return the bytes of a frame without padding."""
        return self.samples_per_frame // 8 * kilobits * 1000 // sample_rate


_MPEG1_KILOBITS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MPEG2_KILOBITS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_VERSIONS = (
    MpegVersion(3, (44_100, 48_000, 32_000), _MPEG1_KILOBITS, _MPEG1_KILOBITS, 1152, (17, 32)),
    MpegVersion(2, (22_050, 24_000, 16_000), _MPEG2_KILOBITS, _MPEG2_KILOBITS, 576, (9, 17)),
    # LAME encodes MPEG-2.5 at no more than 64 kbit/s.
    MpegVersion(0, (11_025, 12_000, 8_000), _MPEG2_KILOBITS, _MPEG2_KILOBITS[:8], 576, (9, 17)),
)
_VERSION_BY_RATE = {rate: version for version in _VERSIONS for rate in version.sample_rates}
SAMPLE_RATES = tuple(sorted(_VERSION_BY_RATE))


@dataclass(frozen=True, slots=True)
class Mp3Format:
    """The format of an MP3: sample rate in Hz, 1 or 2 channels, bit rate in bit/s."""

    sample_rate: int
    channels: int
    bit_rate: int

    @property
    def version(self) -> MpegVersion:
        """The version of MPEG audio that has this sample rate."""
        return version_of(self.sample_rate)


def version_of(sample_rate: int) -> MpegVersion:
    """Return the only version of MPEG that has this sample rate."""
    return _VERSION_BY_RATE[sample_rate]


def output_rate(sample_rate: int) -> int:
    """Return the MP3's sample rate for a WAV's: the same, or the next higher one. Above 48 kHz, 44.1 or 48 kHz."""
    if sample_rate > SAMPLE_RATES[-1]:
        return 44_100 if sample_rate % 11_025 == 0 else 48_000
    return next(rate for rate in SAMPLE_RATES if rate >= sample_rate)


def bit_rates(sample_rate: int) -> Sequence[int]:
    """Return the bit rates (bit/s) that are legal at an MP3 sample rate, ascending."""
    return [kilobit * 1000 for kilobit in version_of(sample_rate).legal_kilobits]


def resampled_count(sample_count: int, source_rate: int, target_rate: int) -> int:
    """Return how many samples of the MP3's rate `sample_count` samples of the WAV's rate are."""
    return -(-sample_count * target_rate // source_rate)


def frame_count(sample_count: int, sample_rate: int) -> int:
    """Return how many frames of sound LAME writes for `sample_count` samples at the MP3's sample rate."""
    return -(-(sample_count + _LAME_LOOKAHEAD) // version_of(sample_rate).samples_per_frame)


def audio_byte_count(frames: int, mp3_format: Mp3Format) -> int:
    """Return the exact size in bytes of this many frames, of which the first is unpadded."""
    per_frame = mp3_format.version.samples_per_frame // 8 * mp3_format.bit_rate
    whole, fraction = divmod(per_frame, mp3_format.sample_rate)
    return frames * whole + -(-(frames - 1) * fraction // mp3_format.sample_rate)
