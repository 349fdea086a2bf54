"""The parser splits a WAV into header and samples, in whatever pieces it comes, and refuses anything else at once."""

import random
import re
import struct
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.audio.header_chunks import MAX_HEADER_BYTES
from service.audio.wav import WavReader
from service.audio.wav_header import WavHeader
from service.errors import ServiceError, Unprocessable, UnsupportedMedia
from service.models import RecordWarning
from tests.support.pieces import split
from tests.support.wavs import (
    ALAW,
    CHANNEL_MASKS,
    EXTENSIBLE_TAG,
    F32,
    F64,
    GUID_TAIL,
    MULAW,
    S16,
    S24,
    S32,
    SAMPLE_FORMATS,
    U8,
    UNKNOWN_SIZE,
    Container,
    SampleFormat,
    chunk,
    ds64_chunk,
    fmt_chunk,
    header,
    wav,
)

RATE = 16_000
STEREO: dict[str, Any] = {"sample_rate": RATE, "channels": 2}
HEADER_BYTES, FMT_OFFSET = 44, 20
SOUND = bytes(range(1, 41))
LIST = chunk(b"LIST", b"INFO" + chunk(b"ISFT", b"Lavf59.27.100\0"))
CODECS = {
    U8: "u8",
    S16: "s16le",
    S24: "s24le",
    S32: "s32le",
    F32: "f32le",
    F64: "f64le",
    ALAW: "alaw",
    MULAW: "mulaw",
}
FOUR_GIGABYTES = 2**32 + 8  # the RIFF size does not include its own 8 bytes
BIG_PIECE = bytes(16 * 2**20)
PLAIN_HEADER = WavHeader(
    codec="s16le",
    sample_rate=RATE,
    channels=2,
    channel_mask=0,
    block_align=4,
    data_offset=HEADER_BYTES,
    data_size=len(SOUND),
    is_riff=True,
)

RF64 = pytest.mark.parametrize("container", ["RF64", "BW64"])
fuzz = settings(derandomize=True, deadline=None, max_examples=250)


@dataclass
class Refusal:
    """Why a WAV was refused, and how many bytes of it had been read by then."""

    kind: type[ServiceError]
    code: str
    offset: int | None
    byte_count: int


@dataclass
class Sound:
    """What the parser made of a WAV."""

    header: WavHeader | None
    samples: bytes
    sample_count: int
    warnings: tuple[RecordWarning, ...]


def stereo(sound: bytes = SOUND, **lies: Any) -> bytes:
    return wav(sound, **STEREO | lies)


def take_apart(pieces: Iterable[bytes]) -> Sound | Refusal:
    reader, samples, byte_count = WavReader(), b"", 0
    try:
        for piece in pieces:
            byte_count += len(piece)
            samples += reader.feed(piece)
        samples += reader.finish()
        if reader.missing is not None:
            raise reader.missing
        return Sound(without_ends(reader.header), samples, reader.sample_count, reader.warnings())
    except ServiceError as error:
        return Refusal(type(error), error.code, error.offset, byte_count)


def without_ends(found: WavHeader | None) -> WavHeader | None:
    """Leave out what depends on the bytes behind the samples."""
    return replace(found, riff_end=None, is_zero=False) if found is not None else None


def read(wav_file: bytes) -> Sound:
    sound = take_apart([wav_file])
    assert isinstance(sound, Sound), sound
    return sound


def refusal(body: bytes) -> Refusal:
    """Feed the body one byte at a time; fails the test unless it is refused."""
    refused = take_apart(bytes([byte]) for byte in body)
    assert isinstance(refused, Refusal), refused
    return refused


def assert_refused_in_fmt(wav_file: bytes, code: str, field: int) -> None:
    """Fail unless the refusal names the field of the fmt chunk and comes at the end of that chunk."""
    refused = refusal(wav_file)
    fmt_byte_count = min(struct.unpack_from("<I", wav_file, FMT_OFFSET - 4)[0], 40)
    assert (refused.code, refused.offset) == (code, FMT_OFFSET + field)
    assert refused.byte_count == FMT_OFFSET + fmt_byte_count


def opened(wav_file_header: bytes) -> WavReader:
    reader = WavReader()
    assert reader.feed(wav_file_header) == b""
    return reader


def feed_zeros(reader: WavReader, byte_count: int) -> None:
    """Feed more than fits into memory, by feeding the same bytes again and again."""
    while byte_count:
        piece = BIG_PIECE if byte_count >= len(BIG_PIECE) else bytes(byte_count)
        reader.feed(piece)
        byte_count -= len(piece)


def test_header_and_samples_come_apart() -> None:
    assert read(stereo()) == Sound(PLAIN_HEADER, SOUND, len(SOUND) // 4, ())


@pytest.mark.parametrize("sample_format", SAMPLE_FORMATS, ids=str)
@pytest.mark.parametrize("extensible", [False, True], ids=["plain", "extensible"])
@pytest.mark.parametrize("container", ["RIFF", "RF64", "BW64"])
def test_every_sample_format_is_known_in_every_wrapping(
    sample_format: SampleFormat, container: Container, *, extensible: bool
) -> None:
    sound = bytes(48 * 7)
    wav_file = stereo(sound, sample_format=sample_format, extensible=extensible, container=container)
    assert read(wav_file).header == WavHeader(
        codec=CODECS[sample_format],
        sample_rate=RATE,
        channels=2,
        channel_mask=CHANNEL_MASKS[2] if extensible else 0,
        block_align=2 * sample_format.bits // 8,
        data_offset=wav_file.index(b"data") + 8,
        data_size=len(sound),
        is_riff=container == "RIFF",
    )


@pytest.mark.parametrize(
    ("bits", "container_bits", "codec"),
    [(4, 8, "u8"), (9, 16, "s16le"), (12, 16, "s16le"), (17, 24, "s24le"), (20, 24, "s24le")],
)
def test_odd_bit_depths_are_read_in_the_bytes_that_hold_them(bits: int, container_bits: int, codec: str) -> None:
    found = read(stereo(bytes(24), bits=bits, block_align=container_bits // 4)).header
    assert found is not None
    assert (found.codec, found.block_align) == (codec, container_bits // 4)


@pytest.mark.parametrize(
    ("format_tag", "bits"),
    [
        pytest.param(0x0001, 0, id="PCM of no bits"),
        pytest.param(0x0001, 40, id="PCM of 40 bits"),
        pytest.param(0x0001, 64, id="PCM of 64 bits"),
        pytest.param(0x0001, 0xFFFF, id="PCM of 65535 bits"),
        pytest.param(0x0003, 16, id="half floats"),
        pytest.param(0x0003, 24, id="float of 24 bits"),
        pytest.param(0x0055, 0, id="MP3"),
        pytest.param(0x2000, 16, id="AC-3"),
        pytest.param(0x0000, 16, id="no format"),
    ],
)
def test_other_formats_are_refused(format_tag: int, bits: int) -> None:
    align = 2 * ((bits + 7) // 8)
    lies: dict[str, Any] = {"bits": bits, "block_align": align % 2**16}
    assert_refused_in_fmt(stereo(format_tag=format_tag, **lies), "unsupported_codec", 0)
    assert_refused_in_fmt(stereo(extensible=True, sub_format_tag=format_tag, **lies), "unsupported_codec", 0)


@pytest.mark.parametrize("format_tag", [0x02, 0x11, 0x31])
def test_block_codecs_in_an_extensible_header_are_refused(format_tag: int) -> None:
    assert_refused_in_fmt(stereo(extensible=True, sub_format_tag=format_tag), "unsupported_codec", 0)


def test_a_vendors_own_sub_format_is_refused() -> None:
    ambisonic = stereo(extensible=True).replace(GUID_TAIL, bytes.fromhex("d31121a84200acf1"))
    assert_refused_in_fmt(ambisonic, "unsupported_codec", 0)
    assert_refused_in_fmt(stereo(extensible=True, sub_format_tag=EXTENSIBLE_TAG), "unsupported_codec", 0)


@pytest.mark.parametrize("channels", range(1, 33))
def test_one_to_thirty_two_channels_are_taken(channels: int) -> None:
    found = read(wav(bytes(2 * channels), sample_rate=RATE, channels=channels)).header
    assert found is not None
    assert (found.channels, found.block_align) == (channels, 2 * channels)


@pytest.mark.parametrize("channels", [0, 33, 255, 0xFFFF])
def test_other_channel_counts_are_refused(channels: int) -> None:
    assert_refused_in_fmt(wav(SOUND, sample_rate=RATE, channels=channels), "unsupported_channels", 2)


@pytest.mark.parametrize("rate", [1_000, 5_512, 6_000, 8_000, 11_025, 44_100, 192_000, 250_000, 384_000, 768_000])
def test_sensible_sample_rates_are_taken(rate: int) -> None:
    found = read(stereo(sample_rate=rate)).header
    assert found is not None
    assert found.sample_rate == rate


@pytest.mark.parametrize("rate", [0, 1, 999, 768_001, 0xFFFF_FFFF])
def test_other_sample_rates_are_refused(rate: int) -> None:
    assert_refused_in_fmt(stereo(sample_rate=rate), "unsupported_sample_rate", 4)


def codes(sound: Sound) -> list[str]:
    return [warning.code for warning in sound.warnings]


@pytest.mark.parametrize(
    ("channels", "sample_format", "block_align"),
    [
        pytest.param(1, S16, 4, id="the AudioRecord snippet"),
        pytest.param(2, S16, 2, id="stereo with the align of mono"),
        pytest.param(1, S16, 1, id="mono with the width left out"),
        pytest.param(1, S24, 2, id="20 bits rounded down"),
        pytest.param(2, S24, 5, id="20 bits times two channels"),
        pytest.param(1, U8, 2, id="8 bits with the align of 16"),
        pytest.param(6, S32, 8, id="six channels with the align of stereo"),
        pytest.param(2, F32, 4, id="floats of one channel"),
        pytest.param(2, S16, 0, id="none"),
        pytest.param(2, S16, 0xFFFF, id="the largest"),
    ],
)
def test_a_block_align_that_does_not_fit_is_ignored_with_a_warning(
    channels: int, sample_format: SampleFormat, block_align: int
) -> None:
    sound = bytes(48 * channels)
    right: dict[str, Any] = {"sample_rate": RATE, "channels": channels, "sample_format": sample_format}
    align = channels * sample_format.bits // 8
    found = read(wav(sound, block_align=block_align, byte_rate=RATE * align, **right))
    assert (found.samples, found.sample_count) == (sound, len(sound) // align)
    detail = f"The header says a block align of {block_align}, but it is {align}."
    assert found.warnings == (RecordWarning("wrong_block_align", detail),)
    found = read(wav(sound, block_align=block_align, **right))
    assert (found.samples, codes(found)) == (sound, ["wrong_block_align", "wrong_byte_rate"])


@pytest.mark.parametrize("byte_rate", [0, 1, RATE, 8 * RATE, 0xFFFF_FFFF])
def test_a_wrong_byte_rate_is_ignored_with_a_warning(byte_rate: int) -> None:
    found = read(stereo(byte_rate=byte_rate))
    assert (found.samples, found.sample_count) == (SOUND, 10)
    detail = f"The header says a byte rate of {byte_rate}, but it is {4 * RATE}."
    assert found.warnings == (RecordWarning("wrong_byte_rate", detail),)


@pytest.mark.parametrize("channels", [1, 2, 32])
@pytest.mark.parametrize("bits", [17, 20, 24])
def test_24_bits_in_4_bytes_are_refused_because_players_disagree(channels: int, bits: int) -> None:
    lying = wav(bytes(24), sample_rate=RATE, channels=channels, bits=bits, block_align=4 * channels)
    assert_refused_in_fmt(lying, "malformed_header", 12)
    with pytest.raises(Unprocessable, match=f"puts samples of {bits} bits into 4 bytes, and players disagree"):
        WavReader().feed(lying)


@pytest.mark.parametrize("sample_format", [ALAW, MULAW], ids=str)
@pytest.mark.parametrize("extensible", [False, True], ids=["plain", "extensible"])
@pytest.mark.parametrize("bits", [0, 4, 12, 13, 14, 16, 32])
def test_g711_has_one_byte_for_each_sample_whatever_its_bits(
    sample_format: SampleFormat, bits: int, *, extensible: bool
) -> None:
    found = read(stereo(sample_format=sample_format, bits=bits, extensible=extensible))
    assert (found.samples, found.sample_count) == (SOUND, 20)
    assert found.header is not None
    assert found.header.codec == CODECS[sample_format]
    title = "A-law" if sample_format == ALAW else "mu-law"
    detail = f"The header says {bits} bits, but {title} has 8."
    assert found.warnings == (RecordWarning("wrong_bits", detail),)


@pytest.mark.parametrize(
    ("lies", "advice"),
    [
        ({"channels": 33}, "has 33 channels. Send 1 to 32."),
        ({"sample_rate": 999}, "is 999 Hz. Send 1000 to 768000 Hz."),
        ({"format_tag": 0x55}, "format 0x0055 with 16 bits. Send PCM of"),
        ({"bits": 24, "block_align": 8}, "align of 8 puts samples of 24 bits into 4 bytes"),
    ],
    ids=repr,
)
def test_a_refusal_says_what_is_wrong_and_what_to_do(lies: dict[str, Any], advice: str) -> None:
    with pytest.raises(Unprocessable, match=re.escape(advice)):
        WavReader().feed(stereo(**lies))


@pytest.mark.parametrize("length", [1, 14, 15])
def test_a_short_fmt_chunk_is_refused(length: int) -> None:
    fmt = chunk(b"fmt ", fmt_chunk(sample_rate=RATE, channels=2)[8 : 8 + length])
    assert_refused_in_fmt(stereo(fmt=fmt), "malformed_header", 0)


@pytest.mark.parametrize("length", [16, 18, 39])
def test_a_short_extensible_fmt_chunk_is_refused(length: int) -> None:
    fmt = chunk(b"fmt ", fmt_chunk(sample_rate=RATE, channels=2, extensible=True)[8 : 8 + length])
    assert_refused_in_fmt(stereo(fmt=fmt), "malformed_header", 0)


@pytest.mark.parametrize("extra", [b"\0\0", b"x" * 23, b"x" * 24, b"x" * 1001])
def test_a_long_fmt_chunk_is_read_by_its_beginning(extra: bytes) -> None:
    sound = read(stereo(fmt_extra=extra))
    padded = len(extra) + len(extra) % 2
    assert sound.header == replace(PLAIN_HEADER, data_offset=HEADER_BYTES + padded)
    assert sound.samples == SOUND


def test_a_second_fmt_chunk_is_refused() -> None:
    refused = refusal(stereo(before=[fmt_chunk(sample_rate=RATE, channels=1)]))
    assert (refused.code, refused.offset, refused.byte_count) == ("malformed_header", 36, 44)


@pytest.mark.parametrize("fmt", [b"", chunk(b"fmt ", b""), LIST], ids=["none", "empty", "LIST"])
def test_data_before_any_fmt_chunk_is_refused(fmt: bytes) -> None:
    refused = refusal(stereo(fmt=fmt))
    assert (refused.code, refused.offset, refused.byte_count) == ("malformed_header", 12 + len(fmt), 20 + len(fmt))


@pytest.mark.parametrize(
    "before",
    [[LIST], [chunk(b"JUNK", b"odd")], [chunk(b"JUNK", b"")], [chunk(b"junk", b"\xff"), LIST, chunk(b"umid", SOUND)]],
    ids=["LIST", "odd-sized", "empty", "several"],
)
def test_chunks_before_the_samples_are_skipped(before: Sequence[bytes]) -> None:
    data_offset = HEADER_BYTES + sum(map(len, before))
    sound = Sound(replace(PLAIN_HEADER, data_offset=data_offset), SOUND, len(SOUND) // 4, ())
    assert read(stereo(before=before)) == sound
    assert read(stereo(fmt=b"".join(before) + fmt_chunk(sample_rate=RATE, channels=2))) == sound


def test_a_list_that_declares_four_gigabytes_is_refused_at_once() -> None:
    refused = refusal(stereo(before=[chunk(b"LIST", b"INFO", declared=0xFFFF_FFFF)]))
    assert (refused.code, refused.offset, refused.byte_count) == ("header_too_large", 36, 44)


@pytest.mark.parametrize("size", [MAX_HEADER_BYTES - 44, MAX_HEADER_BYTES - 45])
def test_a_header_of_the_largest_size_is_taken(size: int) -> None:
    sound = read(stereo(before=[chunk(b"JUNK", bytes(size))]))
    assert sound.samples == SOUND
    assert sound.header == replace(PLAIN_HEADER, data_offset=MAX_HEADER_BYTES + 8)


@pytest.mark.parametrize("size", [MAX_HEADER_BYTES - 43, MAX_HEADER_BYTES - 42])
def test_a_larger_header_is_refused_at_the_chunk_that_makes_it_so(size: int) -> None:
    refused = refusal(stereo(before=[chunk(b"JUNK", b"", declared=size)]))
    assert (refused.code, refused.offset, refused.byte_count) == ("header_too_large", 36, 44)


def test_many_small_chunks_count_as_one_large_header() -> None:
    small = chunk(b"JUNK", bytes(2**20))
    refused = take_apart([header(0, **STEREO)[:36], *[small] * 17])
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.offset) == ("header_too_large", 36 + 15 * len(small))


@contextmanager
def traced_memory(*, kept: int, at_most: int) -> Iterator[None]:
    """Fail if the block allocates more bytes than that at any time, or keeps more than that."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before <= kept
    assert peak - before <= at_most


@pytest.mark.parametrize("piece", [bytes(64 * 1024), bytes(64 * 1024 - 1), bytes(999)], ids=len)
def test_three_megabytes_of_junk_are_skipped_and_not_kept(piece: bytes) -> None:
    reader = opened(header(0, **STEREO)[:36] + chunk(b"JUNK", b"", declared=3_000_000))
    with traced_memory(kept=5_000, at_most=2 * len(piece) + 5_000):
        for _ in range(3_000_000 // len(piece)):
            assert reader.feed(piece) == b""
    reader.feed(bytes(3_000_000 % len(piece)))
    assert reader.feed(chunk(b"data", SOUND)) == SOUND


@pytest.mark.parametrize("declared", [UNKNOWN_SIZE, 0x7FFF_0000, 400], ids=["unknown size", "large", "small"])
def test_samples_and_what_follows_them_are_not_kept(declared: int) -> None:
    piece = bytes(64 * 1024 - 1)
    reader = opened(header(0, data_size=declared, **STEREO))
    with traced_memory(kept=5_000, at_most=3 * len(piece) + 5_000):
        for _ in range(100):
            reader.feed(piece)


@RF64
@pytest.mark.parametrize("data_size", [0, UNKNOWN_SIZE], ids=hex)
def test_rf64_takes_its_size_from_ds64(container: Container, data_size: int) -> None:
    sound = read(stereo(container=container, data_size=data_size, after=[LIST]))
    assert sound.samples == SOUND
    assert sound.header is not None
    assert (sound.header.data_size, sound.header.is_riff) == (len(SOUND), False)


@RF64
@pytest.mark.parametrize("data_size", [0, UNKNOWN_SIZE])
@pytest.mark.parametrize("real_size", [0, 2**63, 2**64 - 1])
def test_ds64_without_a_size_means_up_to_the_end(container: Container, data_size: int, real_size: int) -> None:
    sound = read(stereo(container=container, data_size=data_size, ds64=ds64_chunk(0, real_size, 0)))
    assert sound.samples == SOUND
    assert sound.header is not None
    assert sound.header.data_size is None


@pytest.mark.parametrize("real_size", [1, 2**32, 2**63 - 1], ids=hex)
def test_ds64_takes_any_real_size(real_size: int) -> None:
    ds64 = chunk(b"ds64", struct.pack("<QQ", 0, real_size))
    found = opened(header(0, container="RF64", ds64=ds64, **STEREO)).header
    assert found is not None
    assert found.data_size == real_size


def test_a_real_size_in_the_data_chunk_of_an_rf64_counts() -> None:
    sound = read(stereo(container="RF64", data_size=len(SOUND), ds64=ds64_chunk(0, 4, 1), after=[LIST]))
    assert sound.samples == SOUND


def test_a_ds64_with_a_table_is_read() -> None:
    ds64 = chunk(b"ds64", struct.pack("<QQQI", 0, len(SOUND), 10, 2) + b"dataLIST" * 3)
    assert read(stereo(container="RF64", ds64=ds64, after=[LIST])).samples == SOUND


def test_a_plain_riff_ignores_ds64() -> None:
    assert read(stereo(ds64=ds64_chunk(0, 4, 1))).samples == SOUND


@RF64
@pytest.mark.parametrize("ds64", [b"", chunk(b"ds64", b"")], ids=["none", "empty"])
def test_rf64_without_ds64_is_refused(container: Container, ds64: bytes) -> None:
    refused = refusal(stereo(container=container, ds64=ds64))
    assert (refused.code, refused.offset, refused.byte_count) == ("malformed_header", 36 + len(ds64), 44 + len(ds64))


def test_a_short_ds64_is_refused() -> None:
    refused = refusal(stereo(container="RF64", ds64=chunk(b"ds64", bytes(15))))
    assert (refused.code, refused.offset) == ("malformed_header", 20)


def test_a_second_ds64_is_refused() -> None:
    refused = refusal(stereo(container="RF64", before=[ds64_chunk(0, 0, 0)]))
    assert (refused.code, refused.offset) == ("malformed_header", 72)


@pytest.mark.parametrize(
    "placeholder",
    [0, 0xFFFF_FFFF, 0xFFFF_FFFF - 255, 0x7FFF_F000, 0x7FFF_F000 - 64, 0x7FFF_FFFF, 0x8000_0000],
    ids=hex,
)
@pytest.mark.parametrize("riff_size", [0, 36, 0xFFFF_FFFF, 0x7FFF_F024], ids=hex)
def test_a_placeholder_for_the_size_means_up_to_the_end(placeholder: int, riff_size: int) -> None:
    sound = read(stereo(data_size=placeholder, riff_size=riff_size))
    assert sound == Sound(replace(PLAIN_HEADER, data_size=None), SOUND, len(SOUND) // 4, ())


@pytest.mark.parametrize("size", [1, 0x7FFF_F000 - 65, 0x8000_0001, 0xFFFF_FFFF - 256], ids=hex)
def test_a_size_near_a_placeholder_is_a_size(size: int) -> None:
    reader = opened(header(0, data_size=size, **STEREO))
    assert without_ends(reader.header) == replace(PLAIN_HEADER, data_size=size)


def test_a_finished_file_without_samples_is_empty_whatever_follows() -> None:
    for after in (LIST, chunk(b"LIST", b"")):
        wav_file = stereo(b"", after=[after])
        assert without_ends(opened(wav_file).header) == replace(PLAIN_HEADER, data_size=0)
        assert refusal(wav_file).code == "empty"


@pytest.mark.parametrize("lies", [{}, {"data_size": UNKNOWN_SIZE}, {"container": "RF64"}], ids=repr)
def test_a_header_alone_is_empty(lies: dict[str, Any]) -> None:
    wav_file = stereo(b"", **lies)
    refused = refusal(wav_file)
    assert (refused.code, refused.offset) == ("empty", len(wav_file))


def test_less_than_one_sample_is_empty() -> None:
    assert refusal(stereo(b"abc")).code == "empty"


def test_no_bytes_at_all_are_empty() -> None:
    refused = refusal(b"")
    assert (refused.code, refused.offset) == ("empty", 0)


@pytest.mark.parametrize("container", ["RIFF", "RF64"])
def test_a_file_cut_off_anywhere_is_truncated(container: Container) -> None:
    wav_file = stereo(container=container, before=[LIST])
    for length in range(1, len(wav_file)):
        refused = refusal(wav_file[:length])
        assert (refused.code, refused.offset) == ("truncated", length)


def test_chunks_after_the_samples_are_left_out() -> None:
    assert read(stereo(after=[LIST, chunk(b"id3 ", b"ID3"), chunk(b" ~~ ", b"")])) == read(stereo())


@pytest.mark.parametrize("pad", [b"", b"\0"], ids=["unpadded", "padded"])
def test_chunks_after_an_odd_number_of_bytes_are_left_out(pad: bytes) -> None:
    sound = b"\x80" * 5
    wav_file = header(len(sound), sample_rate=RATE, channels=1, sample_format=U8) + sound + pad + LIST
    assert (read(wav_file).samples, read(wav_file).warnings) == (sound, ())


@pytest.mark.parametrize("lies", [{}, {"data_size": UNKNOWN_SIZE}], ids=["known size", "unknown size"])
@pytest.mark.parametrize("rest", [1, 2, 3])
def test_a_partial_last_sample_is_left_out_with_a_warning(lies: dict[str, Any], rest: int) -> None:
    # Without the pad byte, which cannot be distinguished from sound if the size is unknown.
    sound = read(stereo(SOUND + b"???"[:rest], **lies)[: HEADER_BYTES + len(SOUND) + rest])
    assert (sound.samples, sound.sample_count) == (SOUND, len(SOUND) // 4)
    detail = f"The last {rest} bytes are less than one sample and were left out."
    assert sound.warnings == (RecordWarning("partial_sample", detail),)


def test_a_size_that_wrapped_at_four_gigabytes_is_refused() -> None:
    reader = opened(header(0, data_size=1_000, **STEREO))
    feed_zeros(reader, FOUR_GIGABYTES - HEADER_BYTES)
    with pytest.raises(ServiceError, match="over 4 GiB") as error:
        reader.feed(b"\0")
    assert (error.value.code, error.value.offset) == ("size_wrapped", FOUR_GIGABYTES + 1)


@pytest.mark.parametrize(
    "lies", [{"data_size": UNKNOWN_SIZE}, {"container": "RF64", "ds64": ds64_chunk(0, 5 * 2**30, 0)}], ids=repr
)
def test_more_than_four_gigabytes_are_taken_if_the_header_allows_it(lies: dict[str, Any]) -> None:
    reader = opened(header(0, **STEREO | lies))
    feed_zeros(reader, 5 * 2**30)
    assert reader.finish() == b""
    assert reader.sample_count == 5 * 2**30 // 4
    assert reader.warnings() == ()


def test_a_riff_of_another_kind_is_refused_at_its_twelfth_byte() -> None:
    assert refusal(stereo().replace(b"WAVE", b"AVI ")) == Refusal(UnsupportedMedia, "not_wav", 8, 12)


def assert_the_same_in_any_pieces(body: bytes, cuts: Iterable[int]) -> Sound | Refusal:
    """Fail unless one piece, any pieces and single bytes have the same outcome; only ServiceErrors may be raised."""
    whole = take_apart([body])
    # How much was read beyond the refusal depends on the pieces.
    for pieces in (split(body, cuts), split(body, range(len(body)))):
        found = take_apart(pieces)
        if isinstance(found, Refusal) and isinstance(whole, Refusal):
            found = replace(found, byte_count=whole.byte_count)
        assert found == whole
    return whole


CUTS = st.lists(st.integers(0, 10_000), max_size=8)
CHUNKS = st.builds(chunk, st.sampled_from([b"LIST", b"JUNK", b"bext", b"\xff\0ab"]), st.binary(max_size=40))
NAMED_CHUNKS = st.builds(chunk, st.sampled_from([b"LIST", b"id3 ", b"Ours", b"~ !?"]), st.binary(max_size=40))
LAYOUTS = st.fixed_dictionaries(
    {
        "sample_rate": st.integers(1_000, 768_000),
        "channels": st.integers(1, 32),
        "sample_format": st.sampled_from(SAMPLE_FORMATS),
        "container": st.sampled_from(["RIFF", "RF64", "BW64"]),
        "extensible": st.booleans(),
        "before": st.lists(CHUNKS, max_size=3),
        "after": st.lists(NAMED_CHUNKS, max_size=2),
    }
)


@fuzz
@given(LAYOUTS, st.binary(min_size=256, max_size=600), CUTS)
def test_any_valid_file_comes_apart_the_same_in_any_pieces(
    layout: dict[str, Any], sound: bytes, cuts: list[int]
) -> None:
    whole = assert_the_same_in_any_pieces(wav(sound, **layout), cuts)
    assert isinstance(whole, Sound), whole
    assert whole.header is not None
    assert whole.header.codec == CODECS[layout["sample_format"]]
    assert (whole.header.sample_rate, whole.header.channels) == (layout["sample_rate"], layout["channels"])
    block_align = layout["channels"] * layout["sample_format"].bits // 8
    assert whole.sample_count == len(sound) // block_align
    assert whole.samples == sound[: whole.sample_count * block_align]


# Any four bytes in place of a word of the format, and numbers at the edges.
WORDS = st.sampled_from([b"RIFF", b"RF64", b"WAVE", b"fmt ", b"ds64", b"data", b"LIST"]) | st.builds(
    struct.pack, st.just("<I"), st.sampled_from([0, 1, 16, 40, 41, 2**31, 2**32 - 1]) | st.integers(0, 60)
)
FRAGMENTS = WORDS | CHUNKS | st.binary(max_size=20) | st.just(fmt_chunk(sample_rate=RATE, channels=2))
OPENINGS = st.sampled_from([b"", b"RIFF\0\0\0\0WAVE", b"RF64\xff\xff\xff\xffWAVE" + ds64_chunk(0, 40, 10)])


@fuzz
@given(OPENINGS, st.lists(FRAGMENTS, max_size=12), CUTS)
def test_any_bytes_are_a_wav_or_are_refused(opening: bytes, fragments: list[bytes], cuts: list[int]) -> None:
    assert_the_same_in_any_pieces(b"".join([opening, *fragments]), cuts)


@fuzz
@given(
    LAYOUTS,
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=6),
    CUTS,
)
def test_any_damaged_header_is_read_or_refused(
    layout: dict[str, Any], damage: list[tuple[int, int]], cuts: list[int]
) -> None:
    wav_file = bytearray(wav(bytes(256), **layout))
    header_byte_count = wav_file.index(b"data") + 8
    for position, byte in damage:
        wav_file[position % header_byte_count] = byte
    whole = assert_the_same_in_any_pieces(bytes(wav_file), cuts)
    if isinstance(whole, Sound):
        assert whole.header is not None
        assert len(whole.samples) == whole.sample_count * whole.header.block_align > 0


def test_random_pieces_of_a_long_file_come_apart() -> None:
    source = random.Random(1)
    sound = source.randbytes(300_000)
    wav_file = wav(sound, sample_rate=RATE, channels=5, sample_format=S24, after=[LIST])
    sizes = [source.choice([1, 7, 1_000, 64 * 1024]) for _ in range(60)]
    found = take_apart(split(wav_file, [min(cut, len(wav_file)) for cut in accumulate(sizes)]))
    assert isinstance(found, Sound)
    assert (found.samples, found.sample_count) == (sound, 20_000)
