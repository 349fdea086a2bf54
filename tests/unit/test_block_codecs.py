"""Block codecs: how many samples blocks hold, which headers are refused, and what ffmpeg is given."""

import itertools
import random
import struct
from typing import Any

import pytest

from service.audio import block_codecs
from service.audio.block_codecs import BY_TAG, BlockCodec, wav_header
from service.audio.ffmpeg_command import Output, encode_command
from service.audio.mp3 import Mp3Format
from service.audio.wav import WavReader
from service.errors import ServiceError, Unprocessable
from tests.support.blocks import FORMS, GSM, IMA, KINDS, MS, Blocks, Kind, of_chirp

# What sox and ffmpeg decode of a last block of so many bytes: both agree. (libsndfile fills up what is missing.)
SHORT_BLOCKS = [
    *((GSM, 1, byte_count, 0) for byte_count in (1, 2, 32, 33, 64)),
    *(
        (IMA, 1, byte_count, count)
        for byte_count, count in [(1, 0), (3, 0), (4, 1), (7, 1), (8, 9), (9, 9), (128, 249)]
    ),
    *((IMA, 2, byte_count, count) for byte_count, count in [(1, 0), (7, 0), (8, 1), (15, 1), (16, 9), (256, 249)]),
    *((MS, 1, byte_count, count) for byte_count, count in [(1, 0), (6, 0), (7, 2), (8, 4), (127, 242), (128, 244)]),
    *((MS, 2, byte_count, count) for byte_count, count in [(1, 0), (13, 0), (14, 2), (15, 3), (255, 243), (256, 244)]),
]
FULL_BLOCKS = [
    (GSM, 1, 65, 320),
    *(
        (IMA, 1, 8, 9),
        (IMA, 1, 256, 505),
        (IMA, 1, 512, 1017),
        (IMA, 1, 36, 65),
        (IMA, 2, 512, 505),
        (IMA, 2, 2048, 2041),
    ),
    *(
        (MS, 1, 7, 2),
        (MS, 1, 8, 4),
        (MS, 1, 256, 500),
        (MS, 2, 14, 2),
        (MS, 2, 15, 3),
        (MS, 2, 512, 500),
        (MS, 2, 65535, 65523),
    ),
]


def codec_of(kind: Kind) -> BlockCodec:
    return BY_TAG[kind.tag]


def read(wav: bytes) -> tuple[WavReader, bytes, int]:
    """Return the reader, the blocks that go to ffmpeg, and the sample count."""
    reader = WavReader()
    blocks = reader.feed(wav) + reader.finish()
    if reader.missing is not None:
        raise reader.missing
    return reader, blocks, reader.sample_count


def count_of(wav: bytes) -> int:
    return read(wav)[2]


def codes_of(wav: bytes) -> list[str]:
    return [warning.code for warning in read(wav)[0].warnings()]


def refusal(wav: bytes) -> ServiceError:
    with pytest.raises(Unprocessable) as caught:
        read(wav)
    return caught.value


@pytest.mark.parametrize(("kind", "channels", "byte_count", "sample_count"), SHORT_BLOCKS + FULL_BLOCKS)
def test_samples_in_the_start_of_a_block(kind: Kind, channels: int, byte_count: int, sample_count: int) -> None:
    assert codec_of(kind).sample_count(byte_count, channels) == sample_count


@pytest.mark.parametrize(("kind", "channels"), FORMS)
def test_bytes_of_samples_are_the_fewest_that_hold_them(kind: Kind, channels: int) -> None:
    codec = codec_of(kind)
    for count in {codec.sample_count(byte_count, channels) for byte_count in range(200)}:
        needed = codec.byte_count(count, channels)
        assert codec.sample_count(needed, channels) == count
        assert count == 0 or codec.sample_count(needed - 1, channels) < count


@pytest.mark.parametrize(("kind", "channels", "block_align", "samples_per_block"), FULL_BLOCKS)
def test_every_block_align_that_fits_is_taken(
    kind: Kind, channels: int, block_align: int, samples_per_block: int
) -> None:
    blocks = Blocks(kind, channels, 8000, block_align, bytes(block_align * 3), samples_per_block=samples_per_block)
    reader, passed, count = read(blocks.wav())
    assert (count, len(passed)) == (3 * samples_per_block, 3 * block_align)
    assert reader.header is not None
    assert (reader.header.samples_per_block, reader.header.block_align) == (samples_per_block, block_align)


@pytest.mark.parametrize(("kind", "channels"), FORMS)
@pytest.mark.parametrize("seed", range(5))
def test_pieces_make_no_difference(kind: Kind, channels: int, seed: int) -> None:
    blocks = of_chirp(kind, channels)
    wav = blocks.but(data=blocks.data[: -blocks.block_align // 3]).wav()
    rng = random.Random(seed)
    whole, split_up = read(wav), WavReader()
    passed, place = b"", 0
    while place < len(wav):
        size = rng.choice([1, 7, 64, 65, 500])
        passed += split_up.feed(wav[place : place + size])
        place += size
    assert passed + split_up.finish() == whole[1]
    assert split_up.sample_count == whole[2]
    assert len(whole[1]) % blocks.block_align == 0


@pytest.mark.parametrize(("kind", "channels"), FORMS)
def test_fact_chunk_cuts_the_last_block_and_no_more(kind: Kind, channels: int) -> None:
    blocks = of_chirp(kind, channels)
    per_block = blocks.samples_per_block or 0
    held = count_of(blocks.wav())
    assert held == len(blocks.data) // blocks.block_align * per_block
    for right in (held, held - 1, held - per_block + 1):
        assert count_of(blocks.but(fact=right).wav()) == right
        assert codes_of(blocks.but(fact=right).wav()) == []
    for wrong in (held - per_block, held + 1, 1, 2**31 - 2**13):
        assert count_of(blocks.but(fact=wrong).wav()) == held
        assert codes_of(blocks.but(fact=wrong).wav()) == ["wrong_fact"]
    for unknown in (0, 2**31 - 1, 2**32 - 1):
        assert count_of(blocks.but(fact=unknown).wav()) == held
        assert codes_of(blocks.but(fact=unknown).wav()) == []


@pytest.mark.parametrize(("kind", "channels"), FORMS)
def test_fact_of_a_single_block_may_say_any_count_but_none(kind: Kind, channels: int) -> None:
    blocks = of_chirp(kind, channels)
    one = blocks.but(data=blocks.data[: blocks.block_align])
    assert count_of(one.but(fact=1).wav()) == 1
    assert count_of(one.but(fact=0).wav()) == blocks.samples_per_block


@pytest.mark.parametrize("kind", [IMA, MS])
def test_fact_that_libsndfile_divided_by_the_channels_cuts_nothing(kind: Kind) -> None:
    blocks = of_chirp(kind, 2)
    one = blocks.but(data=blocks.data[: blocks.block_align])
    held = count_of(one.wav())
    assert count_of(one.but(fact=held // 2).wav()) == held
    assert codes_of(one.but(fact=held // 2).wav()) == ["wrong_fact"]


@pytest.mark.parametrize(("kind", "channels", "byte_count", "sample_count"), SHORT_BLOCKS)
def test_last_block_that_is_short_is_filled_up(kind: Kind, channels: int, byte_count: int, sample_count: int) -> None:
    blocks = of_chirp(kind, channels)
    align, per_block = blocks.block_align, blocks.samples_per_block or 0
    for is_streamed in (False, True):
        sizes = {"data_size": 0xFFFFFFFF, "riff_size": 0xFFFFFFFF} if is_streamed else {}
        short = blocks.but(data=blocks.data[: 3 * align + byte_count], **sizes)
        reader = WavReader()
        passed = reader.feed(short.head + short.data)  # without a pad byte
        last = reader.finish()
        assert reader.sample_count == 3 * per_block + sample_count
        assert passed == short.data[: 3 * align]
        assert last == (short.data[3 * align :].ljust(align, b"\0") if sample_count else b"")


def test_pad_byte_that_sox_counts_is_no_sound_and_no_warning() -> None:
    blocks = of_chirp(GSM, 1)
    odd = blocks.but(data=blocks.data[: 65 * 5] + b"\0")
    assert (count_of(odd.wav()), codes_of(odd.wav())) == (1600, [])
    assert codes_of(blocks.but(data=blocks.data[: 65 * 4] + b"\0").wav()) == ["partial_sample"]


def test_blocks_with_less_than_a_sample_are_empty() -> None:
    for blocks in itertools.starmap(of_chirp, FORMS):
        for data in (b"", blocks.data[:3]):
            assert refusal(blocks.but(data=data).wav()).code == "empty"


@pytest.mark.parametrize(("kind", "channels"), FORMS)
def test_blocks_that_are_missing_are_truncated(kind: Kind, channels: int) -> None:
    wav = of_chirp(kind, channels).wav()
    assert refusal(wav[:-70]).code == "truncated"


WRONG_ALIGNS = [
    *((GSM, 1, align) for align in (0, 1, 2, 33, 41, 64, 66, 130, 65535)),
    *((IMA, 1, align) for align in (0, 1, 3, 5, 6, 7, 255, 257, 65535)),
    *((IMA, 2, align) for align in (0, 4, 7, 9, 12, 20, 511, 516)),
    *((MS, 1, align) for align in (0, 1, 6)),
    *((MS, 2, align) for align in (0, 1, 7, 13)),
]


@pytest.mark.parametrize(("kind", "channels", "block_align"), WRONG_ALIGNS)
def test_block_align_that_no_block_has_is_refused(kind: Kind, channels: int, block_align: int) -> None:
    for samples_per_block in (None, 320, 505):
        blocks = of_chirp(kind, channels).but(block_align=block_align, samples_per_block=samples_per_block)
        refused = refusal(blocks.wav())
        assert (refused.code, refused.offset) == ("malformed_header", 32)
        assert f"has no blocks of {block_align} bytes" in str(refused)


@pytest.mark.parametrize(("kind", "channels"), FORMS)
@pytest.mark.parametrize("difference", [-8, -1, 1, 8, 60_000])
def test_samples_per_block_that_contradict_the_block_align_are_refused(
    kind: Kind, channels: int, difference: int
) -> None:
    blocks = of_chirp(kind, channels)
    wrong = (blocks.samples_per_block or 0) + difference
    refused = refusal(blocks.but(samples_per_block=wrong).wav())
    assert (refused.code, refused.offset) == ("malformed_header", 38)
    assert f"says {wrong} samples per block, but {blocks.block_align} bytes hold" in str(refused)


@pytest.mark.parametrize(("kind", "channels"), FORMS)
def test_samples_per_block_that_are_not_declared_follow_from_the_block_align(kind: Kind, channels: int) -> None:
    blocks = of_chirp(kind, channels)
    for silent in (blocks.but(samples_per_block=None), blocks.but(samples_per_block=0)):
        assert count_of(silent.wav()) == count_of(blocks.wav())
        assert codes_of(silent.wav())[0] == "no_samples_per_block"


@pytest.mark.parametrize("channels", [0, 3, 8, 32, 33, 65535])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_more_channels_than_the_codec_has_are_refused(kind: Kind, channels: int) -> None:
    refused = refusal(of_chirp(kind, 1).but(channels=channels).wav())
    assert (refused.code, refused.offset) == ("unsupported_channels", 22)


def test_stereo_gsm_is_refused_in_words() -> None:
    refused = refusal(of_chirp(GSM, 1).but(channels=2).wav())
    assert str(refused) == "The WAV has 2 channels. Send 1 with GSM 6.10."


@pytest.mark.parametrize("kind", [IMA, MS])
@pytest.mark.parametrize("bits", [0, 3, 8, 16])
def test_bits_count_only_if_nothing_else_proves_four(kind: Kind, bits: int) -> None:
    blocks = of_chirp(kind, 2).but(bits=bits)
    assert codes_of(blocks.wav()) == ["wrong_bits"]
    assert refusal(blocks.but(samples_per_block=None).wav()).code == "unsupported_codec"


@pytest.mark.parametrize("bits", [0, 8, 13, 16])
def test_bits_of_gsm_say_nothing(bits: int) -> None:
    assert codes_of(of_chirp(GSM, 1).but(bits=bits).wav()) == []


@pytest.mark.parametrize("pair", range(7))
def test_other_coefficients_are_refused(pair: int) -> None:
    blocks = of_chirp(MS, 1)
    other = bytearray(blocks.coefficients)
    other[pair * 4] ^= 1
    refused = refusal(blocks.but(coefficients=bytes(other)).wav())
    assert (refused.code, refused.offset) == ("malformed_header", 42)


@pytest.mark.parametrize(
    "lie", [{"coefficient_count": count} for count in (0, 1, 6, 8, 65535)] + [{"coefficients": b""}]
)
def test_another_number_of_coefficients_is_a_warning(lie: dict[str, Any]) -> None:
    blocks = of_chirp(MS, 1)
    assert codes_of(blocks.but(**lie).wav()) == ["wrong_coefficients"]


@pytest.mark.parametrize(("channels", "channel"), [(1, 0), (2, 0), (2, 1)])
@pytest.mark.parametrize(("kind", "highest"), [(IMA, 88), (MS, 6)])
def test_block_with_an_index_beyond_its_table_is_refused_at_its_byte(
    kind: Kind, highest: int, channels: int, channel: int
) -> None:
    blocks = of_chirp(kind, channels)
    place = 2 * blocks.block_align + (2 + 4 * channel if kind is IMA else channel)

    def with_index(index: int) -> Blocks:
        return blocks.but(data=blocks.data[:place] + bytes([index]) + blocks.data[place + 1 :])

    assert count_of(with_index(highest).wav()) == count_of(blocks.wav())
    for index in (highest + 1, 255):
        refused = refusal(with_index(index).wav())
        assert (refused.code, refused.offset) == ("malformed_block", len(blocks.head) + place)
        assert f"an index of {index}, and {highest} is the highest" in str(refused)


@pytest.mark.parametrize("channels", [1, 2])
def test_reserved_byte_of_ima_adpcm_never_reaches_ffmpeg(channels: int) -> None:
    blocks = of_chirp(IMA, channels)
    dirty = bytearray(blocks.data)
    for channel in range(channels):
        dirty[3 + 4 * channel :: blocks.block_align] = b"\xff" * (len(dirty) // blocks.block_align)
    assert read(blocks.but(data=bytes(dirty)).wav())[1] == read(blocks.wav())[1] == blocks.data


@pytest.mark.parametrize(("kind", "channels"), FORMS)
def test_header_for_ffmpeg_has_nothing_of_the_clients(kind: Kind, channels: int) -> None:
    blocks = of_chirp(kind, channels)
    head = wav_header(codec_of(kind), 8000, channels, blocks.block_align)
    fields = struct.unpack("<4sI4s4sIHHIIHH4sI", head)
    assert fields[:4] == (b"RIFF", 0xFFFFFFFF, b"WAVE", b"fmt ")
    assert fields[5:8] + fields[9:10] == (kind.tag, channels, 8000, blocks.block_align)
    assert fields[-2:] == (b"data", 0)


@pytest.mark.parametrize(("kind", "channels"), FORMS)
def test_ffmpeg_may_use_its_wav_demuxer_and_this_decoder_alone(kind: Kind, channels: int) -> None:
    header = read(of_chirp(kind, channels).wav())[0].header
    assert header is not None
    command = encode_command("ffmpeg", header, Output(Mp3Format(8000, channels, 64_000), 20), 60).arguments
    options = dict(itertools.pairwise(command))
    assert options["-f"] in {"wav", "mp3"}  # of the input, of the output
    assert (options["-format_whitelist"], options["-protocol_whitelist"]) == ("wav", "pipe")
    assert options["-codec_whitelist"] == codec_of(kind).name


def test_playing_rate_is_that_of_packed_samples() -> None:
    header = read(of_chirp(GSM, 1).wav())[0].header
    assert header is not None
    assert header.playing_rate == 1625


def test_coefficients_are_microsofts() -> None:
    assert of_chirp(MS, 1).coefficients == block_codecs._COEFFICIENTS  # noqa: SLF001 - written twice on purpose
