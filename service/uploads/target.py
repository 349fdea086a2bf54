"""Chooses the format of an upload's MP3."""

from dataclasses import dataclass

from service.audio import mp3
from service.audio.info_frame import expected_size
from service.audio.mp3 import Mp3Format
from service.audio.mp3_length import Mp3Length
from service.audio.mp3_outline import expected_sample_count
from service.audio.wav_header import WavHeader
from service.refusals import CANNOT_FIT, INVALID_BIT_RATE, UNKNOWN_LENGTH


@dataclass(frozen=True, slots=True)
class Mp3Wish:
    """What a client asks of its MP3: bit rate (bit/s), sample rate (Hz), size (bytes). None: it leaves the choice.

    `sample_rate` is one of MP3's. `bit_rate` and `max_bytes` never come together.
    """

    bit_rate: int | None = None
    sample_rate: int | None = None
    max_bytes: int | None = None


def choose_target(
    source: WavHeader, wish: Mp3Wish, *, default_bit_rate: int, tag_byte_count: int, body_length: int | None
) -> Mp3Format:
    """Return the format of the MP3 for a WAV of at most `body_length` bytes (None: nobody knows).

    If the MP3 must fit into `wish.max_bytes`, it gets the highest bit rate with which it does. Raises Unprocessable if
    the bit rate is not legal at the MP3's sample rate, if none fits, and if the WAV does not say how long it is.
    """
    sample_rate = wish.sample_rate or mp3.output_rate(source.sample_rate)
    channels, legal = min(source.channels, 2), mp3.bit_rates(sample_rate)
    if wish.max_bytes is not None:
        sample_count = expected_sample_count(source, body_length)
        if sample_count is None:
            raise UNKNOWN_LENGTH()
        formats = [Mp3Format(sample_rate, channels, rate) for rate in legal]
        sizes = [_size(source, one, tag_byte_count, sample_count) for one in formats]
        if sizes[0] > wish.max_bytes:
            raise CANNOT_FIT(max_bytes=wish.max_bytes, reason=f"at {sample_rate} Hz, {sizes[0]} bytes are the least")
        return max(
            (one for one, size in zip(formats, sizes, strict=True) if size <= wish.max_bytes),
            key=lambda one: one.bit_rate,
        )
    if wish.bit_rate is None:
        bit_rate = max((rate for rate in legal if rate <= default_bit_rate), default=legal[0])
    elif wish.bit_rate in legal:
        bit_rate = wish.bit_rate
    else:
        raise INVALID_BIT_RATE(legal=f"at {sample_rate} Hz one of {', '.join(map(str, legal))}")
    return Mp3Format(sample_rate, channels, bit_rate)


def require_fit(
    source: WavHeader, target: Mp3Format, max_bytes: int | None, *, tag_byte_count: int, sample_count: int
) -> None:
    """Raise Unprocessable if the MP3 of so many of the WAV's samples has more than `max_bytes`: more than declared."""
    if max_bytes is not None and _size(source, target, tag_byte_count, sample_count) > max_bytes:
        raise CANNOT_FIT(max_bytes=max_bytes, reason="the WAV has more sound than its header declares")


def _size(source: WavHeader, target: Mp3Format, tag_byte_count: int, sample_count: int) -> int:
    length = Mp3Length.of(sample_count, source.sample_rate, target.sample_rate)
    return expected_size(target, length, tag_byte_count)
