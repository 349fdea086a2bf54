"""Real ffmpeg reads what the WAV builders write, and the MP3 oracle accepts only what it should."""

import struct
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import pytest

from tests.support.ffmpegs import decoder
from tests.support.mp3s import (
    Comparison,
    accepted_sample_counts,
    assert_sounds_like,
    decode,
    downmix,
    expected_sample_count,
    info_header,
    output_rate,
    resample,
)
from tests.support.wavs import (
    ALAW,
    F32,
    F64,
    MULAW,
    S16,
    S24,
    S32,
    SAMPLE_FORMATS,
    U8,
    UNKNOWN_SIZE,
    Container,
    SampleFormat,
    Samples,
    chirp,
    chunk,
    ds64_chunk,
    fmt_chunk,
    header,
    stream,
    wav,
)

RATE = 16_000
FFMPEG = (decoder(), "-v", "error", "-f", "wav", "-i", "pipe:0")
MIX = ("-ac", "2", "-rematrix_maxval", "1")
SOFTWARE = chunk(b"LIST", b"INFO" + chunk(b"ISFT", b"Lavf59.27.100\0"))
ODD = chunk(b"JUNK", b"odd")
HALF_STEPS = {U8: 2**-8, S16: 2**-16, S24: 2**-24, S32: 2**-32, F32: 2**-25, F64: 0.0}
SOURCE = chirp(RATE // 2, RATE, 2)
NOISE = np.random.default_rng(7).uniform(-0.6, 0.6, SOURCE.shape)
EXTENSIBLE = pytest.mark.parametrize("extensible", [False, True], ids=["plain", "extensible"])


def decoded(wav_file: bytes, channels: int = 1) -> Samples:
    """Return the samples that real ffmpeg reads from a WAV; fails the test if ffmpeg prints anything."""
    arguments = [*FFMPEG, "-f", "f64le", "pipe:1"]
    ffmpeg = subprocess.run(arguments, input=wav_file, capture_output=True, check=False)
    assert (ffmpeg.returncode, ffmpeg.stderr.decode()) == (0, "")
    return np.frombuffer(ffmpeg.stdout, np.float64).reshape(-1, channels)


@cache
def mp3_of(wav_file: bytes, in_rate: int, *options: str) -> bytes:
    """Return the MP3 that ffmpeg makes of a WAV, in a file, in which it can go back and fill in the header."""
    rate = output_rate(in_rate)
    bit_rate = "64k" if rate <= 12_000 else "128k"
    arguments = (*FFMPEG, "-ar", str(rate), "-b:a", bit_rate, *options)
    with TemporaryFile() as file:
        subprocess.run([*arguments, "-f", "mp3", "-y", "file:/proc/self/fd/1"], input=wav_file, stdout=file, check=True)
        file.seek(0)
        return file.read()


def mp3_of_samples(samples: Samples, rate: int = RATE) -> bytes:
    channels = samples.shape[1]
    wav_file = wav(samples, sample_rate=rate, channels=channels)
    return mp3_of(wav_file, rate, *(MIX if channels > 2 else ()))


def tolerance(sample_format: SampleFormat, samples: Samples) -> Samples:
    """Return half a step of the format; for G.711, whose steps grow with the sample, an approximation."""
    if sample_format in {ALAW, MULAW}:
        return np.abs(samples) / 32 + 8.5 / 32768
    return np.full_like(samples, HALF_STEPS[sample_format])


def gain(decibels: float) -> float:
    return float(10 ** (decibels / 20))


@pytest.mark.parametrize("sample_format", SAMPLE_FORMATS, ids=str)
@EXTENSIBLE
@pytest.mark.parametrize("channels", [1, 6])
def test_ffmpeg_reads_back_what_was_built(sample_format: SampleFormat, channels: int, *, extensible: bool) -> None:
    source = chirp(999, RATE, channels, amplitude=0.99)
    wav_file = wav(source, sample_rate=RATE, channels=channels, sample_format=sample_format, extensible=extensible)
    error = np.abs(decoded(wav_file, channels) - source)
    assert np.all(error <= tolerance(sample_format, source))


@pytest.mark.parametrize("sample_format", [ALAW, MULAW], ids=str)
def test_g711_codes_every_sample_within_half_a_step(sample_format: SampleFormat) -> None:
    source = np.arange(-32768, 32768)[:, None] / 32768
    linear = decoded(wav(source, sample_rate=8000, channels=1, sample_format=sample_format))
    least, bias = (8, 0) if sample_format == ALAW else (4, 132)
    half_steps = np.maximum((np.abs(source) + bias / 32768) / 32, least / 32768)
    assert np.all(np.abs(linear - source) <= half_steps)
    assert np.all(np.diff(linear[:, 0]) >= 0)


@pytest.mark.parametrize("sample_format", [U8, S16, S24, S32], ids=str)
def test_integer_formats_clip(sample_format: SampleFormat) -> None:
    source = np.array([[-7.0], [7.0]])
    linear = decoded(wav(source, sample_rate=RATE, channels=1, sample_format=sample_format))
    np.testing.assert_allclose(linear[:, 0], [-1, 1], atol=2 * HALF_STEPS[sample_format])


def test_float_formats_keep_values_out_of_range() -> None:
    encoded = F32.encode(np.array([[np.nan], [np.inf], [3e38]]))
    np.testing.assert_array_equal(np.frombuffer(encoded, "<f4"), np.array([np.nan, np.inf, 3e38], np.float32))


@pytest.mark.parametrize("container", ["RIFF", "RF64", "BW64"])
@EXTENSIBLE
def test_only_the_data_chunk_is_sound(container: Container, *, extensible: bool) -> None:
    source = chirp(999, RATE, 1)
    wav_file = wav(
        source,
        sample_rate=RATE,
        channels=1,
        sample_format=U8,
        container=container,
        extensible=extensible,
        before=[ODD, SOFTWARE],
        after=[ODD, SOFTWARE],
    )
    np.testing.assert_allclose(decoded(wav_file), source, atol=HALF_STEPS[U8])


@pytest.mark.parametrize(("container", "order"), [("RIFF", "<"), ("RIFX", ">")])
def test_sizes_span_the_file_and_the_data(container: Container, order: str) -> None:
    wav_file = wav(bytes(7), sample_rate=RATE, channels=1, container=container, before=[ODD], after=[ODD])
    riff_size = struct.unpack_from(order + "I", wav_file, 4)
    data_size = struct.unpack_from(order + "I", wav_file, wav_file.index(b"data") + 4)
    assert (*riff_size, *data_size) == (len(wav_file) - 8, 7)


def test_rifx_samples_are_big_endian() -> None:
    # ffmpeg reads the header of RIFX but takes its samples as little-endian, so it cannot check them.
    wav_file = wav(np.array([[0.5]]), sample_rate=RATE, channels=1, sample_format=S24, container="RIFX")
    assert wav_file.endswith(b"\0\0\0\x03\x40\0\0\0")


def test_rf64_keeps_its_sizes_in_ds64() -> None:
    wav_file = wav(bytes(12), sample_rate=RATE, channels=2, container="RF64", after=[ODD])
    assert struct.unpack_from("<4sI4s4sI", wav_file) == (b"RF64", UNKNOWN_SIZE, b"WAVE", b"ds64", 28)
    assert struct.unpack_from("<QQQI", wav_file, 20) == (len(wav_file) - 8, 12, 3, 0)


def test_a_given_ds64_is_kept() -> None:
    lie = ds64_chunk(0, 0, 0)
    assert wav(bytes(12), sample_rate=RATE, channels=2, container="RF64", ds64=lie)[12:48] == lie


@pytest.mark.parametrize("size", [0, UNKNOWN_SIZE, 0x7FFF_FFFF, 0x7FFF_F000])
def test_streaming_sizes_are_declared_as_given(size: int) -> None:
    source = chirp(999, RATE, 2)
    wav_file = wav(source, sample_rate=RATE, channels=2, riff_size=size, data_size=size)
    assert (wav_file[4:8], wav_file[40:44]) == (struct.pack("<I", size),) * 2
    np.testing.assert_allclose(decoded(wav_file, 2), source, atol=HALF_STEPS[S16])


def test_ffmpeg_stops_at_a_data_size_too_small() -> None:
    assert len(decoded(wav(chirp(999, RATE, 1), sample_rate=RATE, channels=1, data_size=400))) == 200


def test_every_field_of_the_fmt_chunk_can_lie() -> None:
    fmt = fmt_chunk(
        sample_rate=2**32 - 1,
        channels=255,
        format_tag=0x55,
        byte_rate=1,
        block_align=2,
        bits=3,
        fmt_extra=b"?",
    )
    assert fmt == b"fmt " + struct.pack("<IHHIIHH", 17, 0x55, 255, 2**32 - 1, 1, 2, 3) + b"?\0"


def test_every_field_of_an_extensible_fmt_chunk_can_lie() -> None:
    fmt = fmt_chunk(
        sample_rate=RATE, channels=2, extensible=True, valid_bits=12, channel_mask=0x30, sub_format_tag=0x92
    )
    guid = bytes.fromhex("92000000 0000 1000 8000 00aa00389b71")
    assert fmt[8:] == struct.pack("<HHIIHHHHI", 0xFFFE, 2, RATE, 4 * RATE, 4, 16, 22, 12, 0x30) + guid


def test_a_given_fmt_chunk_is_kept() -> None:
    fmt = chunk(b"fmt ", b"?")
    assert wav(b"", sample_rate=RATE, channels=1, fmt=fmt)[12:22] == fmt


def test_a_chunk_can_lie_about_its_size() -> None:
    assert chunk(b"LIST", b"odd", declared=9, pad=False) == b"LIST\x09\0\0\0odd"


def test_header_is_what_stands_in_front_of_the_samples() -> None:
    source = chirp(999, RATE, 2)
    samples = S24.encode(source)
    in_front = header(len(samples), sample_rate=RATE, channels=2, sample_format=S24, before=[ODD])
    assert in_front + samples == wav(source, sample_rate=RATE, channels=2, sample_format=S24, before=[ODD])


@pytest.mark.parametrize("byte_count", [0, 1001, 65_536, 300_000])
def test_stream_yields_a_wav_of_just_that_size(byte_count: int) -> None:
    chunks = list(stream(byte_count, sample_rate=RATE, channels=3, sample_format=U8, after=[ODD]))
    wav_file = b"".join(chunks)
    assert max(map(len, chunks)) <= 65_536
    assert len(wav_file) == 44 + byte_count + byte_count % 2 + len(ODD)
    assert len(decoded(wav_file[: 44 + byte_count // 3 * 3], 3)) == byte_count // 3


def test_stream_of_five_gigabytes_holds_one_chunk() -> None:
    chunks = stream(5 * 2**30, sample_rate=RATE, channels=2, container="RF64")
    assert struct.unpack_from("<Q", next(chunks), 28) == (5 * 2**30,)
    assert next(chunks) is next(chunks)


@pytest.mark.parametrize("rate", [8000, 48_000])
def test_chirp_channels_do_not_correlate(rate: int) -> None:
    correlations = np.corrcoef(chirp(rate, rate, 8), rowvar=False)
    assert np.all(np.abs(correlations - np.eye(8)) < 0.25)


def test_chirp_is_reproducible() -> None:
    np.testing.assert_array_equal(chirp(999, RATE, 2), chirp(999, RATE, 2))
    assert not np.allclose(chirp(999, RATE, 2), chirp(999, RATE, 2, seed=2))
    assert 0.49 < np.max(np.abs(chirp(999, RATE, 2, amplitude=0.5))) <= 0.5


# The oracle believes good MP3s ...


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 24_000, 32_000, 44_056, 48_000, 88_200, 192_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_oracle_believes_an_mp3_of_any_rate(rate: int, channels: int) -> None:
    source = chirp(rate // 4, rate, channels)
    assert_sounds_like(mp3_of_samples(source, rate), source, rate)


@pytest.mark.parametrize(
    "channel_mask", [0xB, 0x7, 0x107, 0x33, 0x37, 0x3F, 0x60F, 0x70F, 0x63F, 0xFF], ids="{:#x}".format
)
def test_oracle_believes_ffmpegs_mix_of_any_layout(channel_mask: int) -> None:
    channels = channel_mask.bit_count()
    source = chirp(RATE // 4, RATE, channels)
    wav_file = wav(
        source,
        sample_rate=RATE,
        channels=channels,
        sample_format=F32,
        extensible=True,
        channel_mask=channel_mask,
    )
    assert_sounds_like(mp3_of(wav_file, RATE, *MIX), source, RATE, channel_mask=channel_mask)


@pytest.mark.parametrize("channels", [3, 4, 5, 6, 7, 8])
def test_oracle_believes_ffmpegs_mix_of_a_plain_header(channels: int) -> None:
    source = chirp(RATE // 4, RATE, channels)
    assert_sounds_like(mp3_of_samples(source), source, RATE)


def test_oracle_reads_files_too(tmp_path: Path) -> None:
    mp3 = mp3_of_samples(SOURCE)
    path = tmp_path / "100% sure: a name.mp3"
    path.write_bytes(mp3)
    np.testing.assert_array_equal(decode(path), decode(mp3))


@pytest.mark.parametrize("sample_count", [1, 46, 47, 1152, 1153, 1198, 1199, 144_016, 144_017])
def test_oracle_knows_the_padding_that_ffmpeg_cannot_declare(sample_count: int) -> None:
    samples = decode(mp3_of_samples(chirp(sample_count, 48_000, 1), 48_000))
    accepted = accepted_sample_counts(sample_count, 48_000)
    assert len(samples) == max(accepted)
    assert min(accepted) == expected_sample_count(sample_count, 48_000) == sample_count


def test_oracle_knows_the_sample_lost_in_resampling() -> None:
    counts = {count: len(decode(mp3_of_samples(chirp(count, 192_000, 1), 192_000))) for count in (5000, 5001)}
    assert counts == {5000: 1250, 5001: 1250}
    assert accepted_sample_counts(5001, 192_000) == {1250, 1251}


@pytest.mark.parametrize(
    ("in_rate", "out_rate"),
    [
        (8001, 11_025),
        (37_800, 44_100),
        (44_100, 44_100),
        (64_000, 48_000),
        (88_200, 44_100),
        (192_000, 48_000),
    ],
)
def test_output_rate_is_one_that_mp3_has(in_rate: int, out_rate: int) -> None:
    assert output_rate(in_rate) == out_rate


def test_info_header_of_every_shape_agrees_with_the_sound() -> None:
    for rate in (8000, 22_050, 44_100):
        for channels in (1, 2):
            mp3 = mp3_of_samples(chirp(rate // 4, rate, channels), rate)
            info = info_header(mp3)
            assert info.has_valid_crc
            assert (info.sample_rate, info.channels) == (rate, channels)
            assert info.bit_rate == (64_000 if rate == 8000 else 128_000)
            assert info.sample_count == len(decode(mp3)) == rate // 4
            assert info.byte_count == len(mp3) - info.offset


@pytest.mark.parametrize("channels", [1, 2])
def test_info_header_of_a_short_frame_has_a_valid_crc(channels: int) -> None:
    wav_file = wav(chirp(RATE, RATE, channels), sample_rate=RATE, channels=channels)
    info = info_header(mp3_of(wav_file, RATE, "-b:a", "32k"))
    assert info.audio_offset - info.offset < 190
    assert info.has_valid_crc


# ... and no others.


WRONGS = {
    "swapped channels": SOURCE[:, ::-1],
    "1.5 dB louder": SOURCE * gain(1.5),
    "1.5 dB quieter": SOURCE * gain(-1.5),
    "one channel 1.5 dB louder": SOURCE * [1, gain(1.5)],
    "inverted polarity": -SOURCE,
    "noise": NOISE,
    "some noise": SOURCE * gain(-1) + NOISE * gain(-14),
    "silence": 0 * SOURCE,
    "one silent channel": SOURCE * [1, 0],
    "mono": SOURCE[:, :1],
    "one sample missing": SOURCE[:-1],
    "one sample more": np.vstack([SOURCE, [[0, 0]]]),
    "shifted by two samples": np.roll(SOURCE, 2, axis=0),
    "a gap of 20 ms": np.where((np.arange(len(SOURCE)) // 320 == 7)[:, None], 0, SOURCE),
}


def test_oracle_believes_the_source_of_the_wrong_mp3s() -> None:
    assert_sounds_like(mp3_of_samples(SOURCE), SOURCE, RATE)


@pytest.mark.parametrize("wrong", WRONGS)
def test_oracle_refuses_a_wrong_mp3(wrong: str) -> None:
    mp3 = mp3_of_samples(WRONGS[wrong])
    with pytest.raises(AssertionError):
        assert_sounds_like(mp3, SOURCE, RATE)


def test_oracle_refuses_another_rate() -> None:
    mp3 = mp3_of_samples(chirp(11_025, 22_050, 2), 22_050)
    with pytest.raises(AssertionError):
        assert_sounds_like(mp3, SOURCE, RATE)


def test_oracle_refuses_a_mix_without_the_centre() -> None:
    source = chirp(RATE // 2, RATE, 6)
    mp3 = mp3_of_samples(source * [1, 1, 0, 1, 1, 1])
    with pytest.raises(AssertionError):
        assert_sounds_like(mp3, source, RATE)


def test_oracle_refuses_an_mp3_without_its_header() -> None:
    mp3 = mp3_of_samples(SOURCE)
    bare = mp3[info_header(mp3).audio_offset :]
    with pytest.raises(AssertionError):
        assert_sounds_like(bare, SOURCE, RATE)
    with pytest.raises(AssertionError, match="no Info header"):
        info_header(bare)


def test_oracle_refuses_a_truncated_mp3() -> None:
    mp3 = mp3_of_samples(SOURCE)
    with pytest.raises(AssertionError):
        assert_sounds_like(mp3[: len(mp3) // 2], SOURCE, RATE)


@pytest.mark.parametrize("garbage", [b"", b"no MP3 at all", bytes(10_000)], ids=["empty", "text", "zeros"])
def test_oracle_refuses_garbage(garbage: bytes) -> None:
    with pytest.raises(AssertionError):
        decode(garbage)


def test_info_header_sees_a_wrong_crc() -> None:
    mp3 = bytearray(mp3_of_samples(SOURCE))
    mp3[mp3.index(b"Lavc") + 21] ^= 1
    assert not info_header(bytes(mp3)).has_valid_crc


def test_comparison_measures_level_and_shape_apart() -> None:
    comparison = Comparison.of(SOURCE, SOURCE * [gain(-6), -1])
    np.testing.assert_allclose(comparison.correlations, [1, -1], atol=1e-9)
    np.testing.assert_allclose(comparison.level_differences, [-6, 0], atol=1e-9)


def test_silence_is_similar_only_to_silence() -> None:
    silence = 0 * SOURCE
    assert Comparison.of(silence, silence) == Comparison((1, 1), (0, 0))
    assert max(Comparison.of(silence, SOURCE).correlations) < 0.01
    assert max(Comparison.of(SOURCE, silence).correlations) < 0.01


@pytest.mark.parametrize(("in_rate", "out_rate"), [(88_200, 44_100), (44_100, 48_000), (8001, 11_025)])
def test_resample_keeps_time_and_level(in_rate: int, out_rate: int) -> None:
    def tone(rate: int) -> Samples:
        return np.sin(2 * np.pi * 1000 * np.arange(rate // 2) / rate)[:, None]

    resampled = resample(tone(in_rate), in_rate, out_rate)[: out_rate // 2]
    edges = slice(500, -500)
    np.testing.assert_allclose(resampled[edges], tone(out_rate)[: len(resampled)][edges], atol=0.01)


def test_downmix_leaves_out_the_lfe_and_never_clips() -> None:
    loud = np.ones((1, 6))
    np.testing.assert_allclose(downmix(loud), [[1, 1]])
    np.testing.assert_allclose(downmix(loud * [0, 0, 0, 1, 0, 0]), [[0, 0]])
