"""The oracle: decodes MP3s with real ffmpeg and measures them against what was uploaded."""

import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, gcd
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import numpy as np
import numpy.typing as npt

from tests.support.ffmpegs import decoder
from tests.support.wavs import CHANNEL_MASKS

Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]

MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
BIT_RATES_OF_MPEG_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
BIT_RATES_OF_MPEG_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)

# How much of each speaker ffmpeg mixes to the left and to the right, in the order of the channel mask's bits:
# FL FR FC LFE BL BR FLC FRC BC SL SR.
LEFT = (1, 0, 0.5**0.5, 0, 0.5**0.5, 0, 1, 0, 0.5, 0.5**0.5, 0)
RIGHT = (0, 1, 0.5**0.5, 0, 0, 0.5**0.5, 0, 1, 0.5, 0, 0.5**0.5)


def decode(mp3: bytes | Path, *, may_warn: bool = False) -> npt.NDArray[np.float32]:
    """Return what a player would play, in the shape (sample_count, channels).

    Fails the test unless ffmpeg exits 0 and, unless it `may_warn`, says nothing. Gapless: the encoder's delay and
    padding, as the Info header states them, are not among the samples.
    """
    return _decode(mp3, may_warn=may_warn)[1]


def _decode(mp3: bytes | Path, *, may_warn: bool = False) -> tuple[int, npt.NDArray[np.float32]]:
    """Return the sample rate and the samples."""
    if isinstance(mp3, bytes):
        # Not a pipe: ffmpeg trims neither delay nor padding unless it can seek.
        with TemporaryDirectory() as directory:
            path = Path(directory, "decoded.mp3")
            path.write_bytes(mp3)
            return _decode(path, may_warn=may_warn)
    arguments = ["-nostdin", "-v", "warning", "-f", "mp3", "-i", f"file:{mp3}"]
    au = ["-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
    decoded = subprocess.run([decoder(), *arguments, *au], capture_output=True, check=False)
    assert (decoded.returncode, "" if may_warn else decoded.stderr.decode()) == (0, "")
    offset, _, _, sample_rate, channels = struct.unpack_from(">5I", decoded.stdout, 4)
    samples = np.frombuffer(decoded.stdout, ">f4", offset=offset).astype(np.float32)
    return sample_rate, samples.reshape(-1, channels)


def output_rate(in_rate: int) -> int:
    """Return the sample rate of the MP3 made from a WAV of that rate."""
    if in_rate > MP3_RATES[-1]:
        return 44100 if in_rate % 11025 == 0 else 48000
    return min(rate for rate in MP3_RATES if rate >= in_rate)


def expected_sample_count(sample_count: int, in_rate: int, out_rate: int | None = None) -> int:
    """Return how many samples of the MP3's rate that many of the WAV's rate last. The rate is `output_rate` if None.

    The MP3 may hold slightly more or fewer: see `accepted_sample_counts`.
    """
    return -(-sample_count * (out_rate or output_rate(in_rate)) // in_rate)


def accepted_sample_counts(sample_count: int, in_rate: int, out_rate: int | None = None) -> set[int]:
    """Return the counts that a faultless MP3 of that many samples of the WAV's rate may decode to.

    The expected count, and two departures of ffmpeg 5.1 and 9.0, both measured. Its Info header declares
    at most a frame and 529 samples as padding; if there is more, up to 46 samples of silence follow the
    sound. And when it resamples, the last sample is missing at certain lengths. (It makes no audio at
    all of less than its resampler's reach, 66 samples at 192 kHz; such an MP3 is not faultless.)
    """
    rate = out_rate or output_rate(in_rate)
    expected = expected_sample_count(sample_count, in_rate, rate)
    resampled = {expected} if rate == in_rate else {expected, expected - 1}
    return resampled | {max(count, _least_sample_count(count, rate)) for count in resampled}


def _least_sample_count(sample_count: int, rate: int) -> int:
    """Return what is left of the frames of so many samples if all declarable padding is taken away."""
    samples_per_frame = 1152 if rate >= 32000 else 576
    frame_count = ceil((sample_count + 1152) / samples_per_frame)
    return (frame_count - 1) * samples_per_frame - 576 - 529


def resample(samples: Floats, in_rate: int, out_rate: int) -> npt.NDArray[np.float64]:
    """Return the samples at another rate, band-limited; the first sample stays the first."""
    if in_rate == out_rate:
        return samples.astype(np.float64)
    divisor = gcd(in_rate, out_rate)
    # Zeros up to a whole number of periods; otherwise the FFT would stretch the sound by up to a sample.
    period_count = ceil(len(samples) * divisor / in_rate)
    padded, wanted = period_count * (in_rate // divisor), period_count * (out_rate // divisor)
    spectrum = np.fft.rfft(samples, padded, axis=0)
    resampled = np.fft.irfft(spectrum, wanted, axis=0) * (wanted / padded)
    return resampled[: ceil(len(samples) * out_rate / in_rate)]


def downmix(samples: Floats, channel_mask: int | None = None) -> npt.NDArray[np.float64]:
    """Return the stereo that ffmpeg makes with `-ac 2 -rematrix_maxval 1`; mono and stereo as they are.

    Without a mask the layout is that of `CHANNEL_MASKS`. Speakers above the ears are unknown here.
    """
    channels = samples.shape[1]
    if channels <= 2:
        return samples.astype(np.float64)
    mask = CHANNEL_MASKS[channels] if channel_mask is None else channel_mask
    speakers = [bit for bit in range(len(LEFT)) if mask >> bit & 1]
    matrix = np.array([[LEFT[speaker], RIGHT[speaker]] for speaker in speakers])
    mix: npt.NDArray[np.float64] = samples @ matrix / max(matrix.sum(axis=0).max(), 1)
    return mix


@dataclass(frozen=True)
class Comparison:
    """How alike two sounds of the same rate are, channel by channel, over the length of the shorter.

    `correlations` are 1 for the same shape at any level, 0 for strangers and -1 for inverted polarity;
    `level_differences` are in dB, above 0 if the decoded one is louder. Two silent channels are alike.
    """

    correlations: tuple[float, ...]
    level_differences: tuple[float, ...]

    @classmethod
    def of(cls, source: Floats, decoded: Floats) -> Self:
        """Compare arrays of the shape (sample_count, channels) with as many channels each."""
        length = min(len(source), len(decoded))
        pairs = zip(_channels(source[:length]), _channels(decoded[:length]), strict=True)
        correlations, level_differences = zip(*(_compare(*pair) for pair in pairs), strict=True)
        return cls(correlations, level_differences)


def _channels(samples: Floats) -> Sequence[npt.NDArray[np.float64]]:
    return list(samples.T.astype(np.float64))


def _compare(source: npt.NDArray[np.float64], decoded: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return correlation and level difference of one channel."""
    silence = 1e-5
    source_level, decoded_level = (float(np.sqrt(np.mean(x * x))) for x in (source, decoded))
    if max(source_level, decoded_level) < silence:
        return 1.0, 0.0
    level_difference = 20 * np.log10(max(decoded_level, silence) / max(source_level, silence))
    correlation = np.mean(source * decoded) / max(source_level * decoded_level, silence**2)
    return float(correlation), float(level_difference)


def assert_sounds_like(
    mp3: bytes | Path,
    source: Floats,
    in_rate: int,
    *,
    channel_mask: int | None = None,
    out_rate: int | None = None,
    least_correlation: float = 0.99,
) -> None:
    """Fail unless the MP3 is the sound of the WAV whose samples, -1 to 1, are `source`.

    That is: it decodes without complaint, its rate is `out_rate` (`output_rate` if None), it is mono if the source is
    and stereo otherwise, its sample count is one of `accepted_sample_counts`, and each channel has a correlation of at
    least `least_correlation` with the source's and a level within 1 dB of it (LAME itself takes 0.4 dB away). More than
    two channels are compared with ffmpeg's own mix of them, see `downmix`.
    """
    rate, decoded = _decode(mp3)
    expected = resample(downmix(source, channel_mask), in_rate, rate)
    assert rate == (out_rate or output_rate(in_rate))
    assert decoded.shape[1] == expected.shape[1]
    assert len(decoded) in accepted_sample_counts(len(source), in_rate, rate)
    comparison = Comparison.of(expected, decoded)
    assert all(correlation >= least_correlation for correlation in comparison.correlations), comparison
    assert all(abs(decibels) <= 1 for decibels in comparison.level_differences), comparison


@dataclass(frozen=True)
class Frame:
    """One MPEG audio layer III frame, as its four byte header describes it."""

    sample_rate: int
    bit_rate: int
    channels: int
    byte_count: int

    @classmethod
    def at(cls, mp3: bytes, offset: int) -> Self:
        """Read the header at that offset; fails the test if there is none."""
        (word,) = struct.unpack_from(">I", mp3, offset)
        assert word >> 21 == 0x7FF, "no frame here"
        assert word >> 17 & 3 == 1, "not layer III"
        halvings = {3: 0, 2: 1, 0: 2}[word >> 19 & 3]
        sample_rate = (44100, 48000, 32000)[word >> 10 & 3] >> halvings
        bit_rates = BIT_RATES_OF_MPEG_2 if halvings else BIT_RATES_OF_MPEG_1
        bit_rate = bit_rates[word >> 12 & 15] * 1000
        byte_count = (72 if halvings else 144) * bit_rate // sample_rate + (word >> 9 & 1)
        return cls(sample_rate, bit_rate, 1 if word >> 6 & 3 == 3 else 2, byte_count)

    @property
    def samples_per_frame(self) -> int:
        """1152, or 576 below 32 kHz."""
        return 1152 if self.sample_rate >= 32000 else 576

    @property
    def side_info_byte_count(self) -> int:
        """How many bytes lie between a frame's header and its main part."""
        return {(1152, 1): 17, (1152, 2): 32, (576, 1): 9, (576, 2): 17}[self.samples_per_frame, self.channels]


@dataclass(frozen=True)
class InfoHeader:
    """What the Xing or Info header of an MP3 states, and the offsets of the header and of the audio after it.

    `frame_count` leaves out the header's own frame, `byte_count` includes it. Rates and channels are those
    of the first frame of audio, whose bit rate the header's own frame need not share.
    """

    offset: int
    audio_offset: int
    frame_count: int
    byte_count: int
    encoder_delay: int
    padding: int
    sample_rate: int
    bit_rate: int
    channels: int
    samples_per_frame: int
    has_valid_crc: bool

    @property
    def sample_count(self) -> int:
        """How many samples a gapless player plays."""
        return self.frame_count * self.samples_per_frame - self.encoder_delay - self.padding


def info_header(mp3: bytes) -> InfoHeader:
    """Parse the header that ffmpeg and LAME write first; fails the test if there is no header or no audio."""
    offset = _id3_byte_count(mp3)
    own = Frame.at(mp3, offset)
    tag = offset + 4 + own.side_info_byte_count
    assert mp3[tag : tag + 4] in {b"Xing", b"Info"}, "no Info header"
    flags, frame_count, byte_count = struct.unpack_from(">3I", mp3, tag + 4)
    assert flags == 0b1111, "not all of frames, bytes, seek table and quality"
    gaps = int.from_bytes(mp3[tag + 141 : tag + 144], "big")
    (crc,) = struct.unpack_from(">H", mp3, tag + 154)
    first = Frame.at(mp3, offset + own.byte_count)
    return InfoHeader(
        offset=offset,
        audio_offset=offset + own.byte_count,
        frame_count=frame_count,
        byte_count=byte_count,
        encoder_delay=gaps >> 12,
        padding=gaps & 0xFFF,
        sample_rate=first.sample_rate,
        bit_rate=first.bit_rate,
        channels=first.channels,
        samples_per_frame=first.samples_per_frame,
        has_valid_crc=crc == _tag_crc(mp3[offset : offset + own.byte_count], tag + 154 - offset),
    )


def _id3_byte_count(mp3: bytes) -> int:
    """Return the length of the ID3v2 tag in front, 0 if none."""
    if not mp3.startswith(b"ID3"):
        return 0
    sizes = mp3[6:10]
    return 10 + (sizes[0] << 21 | sizes[1] << 14 | sizes[2] << 7 | sizes[3])


def _tag_crc(frame: bytes, crc_offset: int) -> int:
    """Return what ffmpeg writes: CRC-16/ARC of the frame's first 190 bytes, before the CRC is filled in.

    A shorter frame (180 bytes at 32 kbit/s) counts as if zeros followed.
    """
    unfilled = frame[:crc_offset] + bytes(2) + frame[crc_offset + 2 :] + bytes(190)
    crc = 0
    for byte in unfilled[:190]:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc
