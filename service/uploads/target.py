"""Decides what an upload's MP3 will be, as soon as the WAV's header is known."""

from dataclasses import dataclass

from service.audio import mp3
from service.audio.encoder import mp3_tag
from service.audio.info_frame import expected_size
from service.audio.mp3 import Mp3Format
from service.audio.mp3_length import Mp3Length
from service.audio.mp3_outline import Mp3Outline, expected_sample_count
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


@dataclass(frozen=True, slots=True)
class Mp3Plan:
    """What the MP3 of a WAV will be: its format, its ID3 tag, and what it begins with; `max_bytes` may be None."""

    source: WavHeader
    target: Mp3Format
    tag: bytes
    outline: Mp3Outline
    max_bytes: int | None

    @classmethod
    def of(
        cls, source: WavHeader, wish: Mp3Wish, *, filename: str, body_length: int | None, default_bit_rate: int
    ) -> "Mp3Plan":
        """Plan the MP3 of a WAV of at most `body_length` bytes (None: nobody knows).

        If it must fit into `wish.max_bytes`, it gets the highest bit rate with which it does. Raises Unprocessable if
        the bit rate is not legal at the MP3's sample rate, if none fits, and if the WAV does not say how long it is.
        """
        tag = mp3_tag(source, filename)
        sample_rate = wish.sample_rate or mp3.output_rate(source.sample_rate)
        if wish.max_bytes is None:
            bit_rate = _legal_bit_rate(wish.bit_rate, sample_rate, default_bit_rate)
            target = Mp3Format(sample_rate, min(source.channels, 2), bit_rate)
        else:
            target = _largest_fit(source, sample_rate, len(tag), wish.max_bytes, body_length)
        return cls(source, target, tag, Mp3Outline.of(source, target, tag, body_length), wish.max_bytes)

    def require_fit(self, sample_count: int) -> None:
        """Raise Unprocessable if the MP3 of so many of the WAV's samples is too large: there are more than declared."""
        if self.max_bytes is not None and _size(self.source, self.target, len(self.tag), sample_count) > self.max_bytes:
            raise CANNOT_FIT(max_bytes=self.max_bytes, reason="the WAV has more sound than its header declares")


def _legal_bit_rate(bit_rate: int | None, sample_rate: int, default: int) -> int:
    legal = mp3.bit_rates(sample_rate)
    if bit_rate is None:
        return max((rate for rate in legal if rate <= default), default=legal[0])
    if bit_rate not in legal:
        raise INVALID_BIT_RATE(legal=f"at {sample_rate} Hz one of {', '.join(map(str, legal))}")
    return bit_rate


def _largest_fit(
    source: WavHeader, sample_rate: int, tag_byte_count: int, max_bytes: int, body_length: int | None
) -> Mp3Format:
    sample_count = expected_sample_count(source, body_length)
    if sample_count is None:
        raise UNKNOWN_LENGTH()
    formats = [Mp3Format(sample_rate, min(source.channels, 2), rate) for rate in mp3.bit_rates(sample_rate)]
    sizes = [_size(source, one, tag_byte_count, sample_count) for one in formats]
    if sizes[0] > max_bytes:
        raise CANNOT_FIT(max_bytes=max_bytes, reason=f"at {sample_rate} Hz, {sizes[0]} bytes are the least")
    return [one for one, size in zip(formats, sizes, strict=True) if size <= max_bytes][-1]


def _size(source: WavHeader, target: Mp3Format, tag_byte_count: int, sample_count: int) -> int:
    length = Mp3Length.of(sample_count, source.sample_rate, target.sample_rate)
    return expected_size(target, length, tag_byte_count)
