"""Computes how long the MP3 of a WAV is, and the silence that makes this length certain."""

from dataclasses import dataclass
from itertools import count
from typing import Self

from service.audio.mp3 import frame_count, resampled_count, version_of

# LAME's delay before the sound, as its encoder states it in the Info frame.
ENCODER_DELAY = 576
# A sound in short frames plays this long at least: Debian 12's decoder drops at most one and a half short frames from
# both ends of it.
_FEWEST_SAMPLES_IN_SHORT_FRAMES = 47
_SHORT_FRAME_SAMPLES = 576
# The resampler keeps its last samples until more follow, so at least this much silence follows: so many samples of the
# MP3, and of the WAV. The Info frame cuts it off.
_FLUSH_SAMPLES, _FLUSH_SOURCE_SAMPLES = 64, 32
# ffmpeg's resampler makes up to so many samples more or fewer than the rates say.
_RESAMPLER_TOLERANCE = 2


@dataclass(frozen=True, slots=True)
class Mp3Length:
    """The length of an MP3, known before its first sample.

    `sample_count` samples play, of `frame_count` frames of sound. `flush` is how many samples of silence, of the WAV's
    rate, must follow the WAV's samples. ffmpeg then encodes one of `encoded_counts` samples.
    """

    sample_count: int
    frame_count: int
    flush: int
    encoded_counts: range

    @classmethod
    def of(cls, sample_count: int, source_rate: int, target_rate: int) -> Self:
        """Return the length of the MP3, of the sample rate `target_rate`, of so many samples of a WAV.

        If the sound is resampled, the flush is the shortest that leaves only one possible count of frames.
        """
        played = resampled_count(sample_count, source_rate, target_rate)
        if version_of(target_rate).samples_per_frame == _SHORT_FRAME_SAMPLES:
            played = max(played, _FEWEST_SAMPLES_IN_SHORT_FRAMES)
        flush, encoded = _flushed(sample_count, 1, source_rate, target_rate)
        return cls(played, frame_count(encoded[0], target_rate), flush, encoded)

    @classmethod
    def of_blocks(cls, sample_count: int, samples_per_block: int, source_rate: int, target_rate: int) -> Self:
        """Return the length of an MP3 that plays all that whole blocks hold, and the flush, which is blocks as well."""
        flush, encoded = _flushed(sample_count, samples_per_block, source_rate, target_rate)
        return cls(encoded[len(encoded) // 2], frame_count(encoded[0], target_rate), flush, encoded)


def _flushed(sample_count: int, unit: int, source_rate: int, target_rate: int) -> tuple[int, range]:
    """Return the shortest flush, in whole units of samples, that leaves one count of frames, and what is encoded."""
    if source_rate == target_rate:
        return 0, range(sample_count, sample_count + 1)
    least = max(resampled_count(_FLUSH_SAMPLES, target_rate, source_rate), _FLUSH_SOURCE_SAMPLES)
    for flush in count(-(-least // unit) * unit, unit):
        middle = resampled_count(sample_count + flush, source_rate, target_rate)
        encoded = range(middle - _RESAMPLER_TOLERANCE, middle + _RESAMPLER_TOLERANCE + 1)
        if frame_count(encoded[0], target_rate) == frame_count(encoded[-1], target_rate):
            return flush, encoded
    raise AssertionError("count has ended")
