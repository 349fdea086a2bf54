"""Knows what an MP3 begins with, and how large it becomes, before its sound is encoded."""

from dataclasses import dataclass
from typing import Self

from service.audio.info_frame import endless_info_frame, expected_size, info_frame
from service.audio.mp3 import Mp3Format, audio_byte_count
from service.audio.mp3_length import Mp3Length
from service.audio.wav_header import WavHeader


@dataclass(frozen=True, slots=True)
class Mp3Outline:
    """What is known of an MP3 before its sound.

    `head` is its ID3 tag and its Info frame, as long as the finished ones. The MP3 is to have `size` bytes, of
    `sample_count` samples of the WAV. Both are None if nobody knows; the Info frame then states only the delay.
    `certain_size` is how many bytes will not change any more once they are written; None: all of them.
    """

    mp3_format: Mp3Format
    head: bytes
    sample_count: int | None
    size: int | None
    certain_size: int | None

    @classmethod
    def of(cls, source: WavHeader, target: Mp3Format, tag: bytes, body_length: int | None) -> Self:
        """Outline the MP3 of a WAV. `body_length` is how many bytes the WAV has at most, or None if nobody knows."""
        sample_count = expected_sample_count(source, body_length)
        if sample_count is not None:
            length = Mp3Length.of(sample_count, source.sample_rate, target.sample_rate)
            size = expected_size(target, length, len(tag))
            return cls(target, tag + info_frame(target, length), sample_count, size, size)
        certain_size = None
        if source.block_codec is not None and source.fact:  # what the last block has beyond it is cut off in the end
            length = Mp3Length.of(source.fact, source.sample_rate, target.sample_rate)
            certain_size = expected_size(target, length, len(tag))
        return cls(target, tag + endless_info_frame(target), None, None, certain_size)

    def newest_frame(self, size: int) -> int:
        """Return where the newest whole frame begins in the first `size` bytes; without one, where sound begins."""
        sound = size - len(self.head)
        per_frame = self.mp3_format.version.samples_per_frame // 8 * self.mp3_format.bit_rate
        frames = sound * self.mp3_format.sample_rate // per_frame + 1
        while frames > 0 and audio_byte_count(frames, self.mp3_format) > sound:
            frames -= 1
        return len(self.head) + (audio_byte_count(frames - 1, self.mp3_format) if frames > 1 else 0)


def expected_sample_count(source: WavHeader, body_length: int | None) -> int | None:
    """Return how many samples the WAV declares, or None if it does not say or something contradicts it."""
    declared = source.data_size
    if not declared or source.least_data_size < declared:
        return None
    if body_length is not None and body_length < source.data_offset + declared:
        return None
    return source.sample_count(declared) or None
