"""Chooses the format of an upload's MP3."""

from service.audio import mp3
from service.audio.mp3 import Mp3Format
from service.audio.wav_header import WavHeader
from service.refusals import INVALID_BIT_RATE


def choose_target(
    source: WavHeader, *, sample_rate: int | None, bit_rate: int | None, default_bit_rate: int
) -> Mp3Format:
    """Return the format of the MP3 for a WAV and what its client asks for, which is None if it leaves the choice.

    `sample_rate` is one of MP3's. Raises Unprocessable if the bit rate is not legal at the MP3's sample rate.
    """
    if sample_rate is None:
        sample_rate = mp3.output_rate(source.sample_rate)
    legal = mp3.bit_rates(sample_rate)
    if bit_rate is None:
        bit_rate = max((rate for rate in legal if rate <= default_bit_rate), default=legal[0])
    elif bit_rate not in legal:
        legal_list = ", ".join(map(str, legal))
        raise INVALID_BIT_RATE(legal=f"at {sample_rate} Hz one of {legal_list}")
    return Mp3Format(sample_rate=sample_rate, channels=min(source.channels, 2), bit_rate=bit_rate)
