"""Sizes that lie: what every decoder plays is taken whole, and what may be missing is refused."""

import struct
from collections.abc import Iterator

import pytest

from service.audio.placeholders import PLACEHOLDERS, is_placeholder
from service.audio.wav import WavReader
from service.errors import ServiceError
from tests.support import wavs
from tests.support.wavs import U8, chunk, fmt_chunk

RATE = 8000
MONO = {"sample_rate": RATE, "channels": 1}
SOUND = wavs.S16.encode(wavs.chirp(2000, RATE, 1, amplitude=0.9))
SIZE = len(SOUND)
FMT = fmt_chunk(sample_rate=RATE, channels=1)
LIST = chunk(b"LIST", b"INFO" + chunk(b"ISFT", b"Lavf59.27.100\0"))


def riff(*chunks: bytes, size: int | None = None) -> bytes:
    content = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(content) if size is None else size) + content


def lying(data_size: int, riff_size: int, sound: bytes = SOUND, *after: bytes) -> bytes:
    return riff(FMT, chunk(b"data", sound, declared=data_size), *after, size=riff_size)


def read(body: bytes, piece_size: int = 0) -> tuple[bytes, WavReader]:
    reader, samples = WavReader(), b""
    for piece in pieces(body, piece_size or len(body)):
        samples += reader.feed(piece)
    return samples + reader.finish(), reader


def pieces(body: bytes, size: int) -> Iterator[bytes]:
    return (body[start : start + size] for start in range(0, len(body), size))


def taken(body: bytes) -> tuple[int, list[str]]:
    """Return how many bytes of samples are taken, and the codes of the warnings; fail if any may be missing."""
    for size in (1, 7, 64, 0):
        samples, reader = read(body, size)
        assert reader.missing is None, reader.missing
        assert len(samples) == reader.sample_count * 2
    return len(samples), [warning.code for warning in reader.warnings()]


def refused(body: bytes) -> tuple[str, int | None, str]:
    """Return the code, offset and sentence of the refusal without `?incomplete=keep`."""
    found = set()
    for size in (1, 7, 64, 0):
        try:
            error = read(body, size)[1].missing
        except ServiceError as raised:
            error = raised
        assert error is not None, "it was taken"
        found.add((error.code, error.offset, error.detail))
    [refusal] = found
    return refusal


@pytest.mark.parametrize("surplus", [1, 8, 28, 36, 44, 46, 80, 4 * SIZE, SIZE])
def test_data_size_that_is_too_large_is_ignored_if_the_riff_size_is_right(surplus: int) -> None:
    assert taken(lying(SIZE + surplus, 36 + SIZE)) == (SIZE, ["wrong_data_size"])


@pytest.mark.parametrize(
    ("data_size", "riff_size"),
    [
        pytest.param(SIZE + 44, SIZE + 44, id="both are the file's size"),
        pytest.param(SIZE + 36, SIZE, id="the two are swapped"),
        pytest.param(SIZE + 44, SIZE, id="the file's size, and that of the samples"),
        pytest.param(2 * SIZE, 44 + SIZE, id="bytes counted twice, RIFF counts itself"),
        pytest.param(SIZE + 44, 35 + SIZE, id="RIFF is a byte short"),
        pytest.param(SIZE + 36, 36 + SIZE, id="the RIFF size written twice"),
    ],
)
def test_riff_size_that_is_wrong_by_a_header_still_shows_that_nothing_is_missing(
    data_size: int, riff_size: int
) -> None:
    assert taken(lying(data_size, riff_size)) == (SIZE, ["wrong_data_size"])


def test_riff_size_counts_the_chunks_behind_the_samples() -> None:
    """Every decoder plays the LIST, because the data size covers it."""
    assert taken(riff(FMT, chunk(b"data", SOUND, declared=SIZE + 44), LIST)) == (
        SIZE + len(LIST),
        ["wrong_data_size"],
    )


@pytest.mark.parametrize(
    ("data_size", "riff_size", "sent"),
    [
        pytest.param(SIZE, 36 + SIZE, SIZE - 2, id="one sample is missing"),
        pytest.param(SIZE, 36 + SIZE, SIZE // 2, id="half is missing"),
        pytest.param(2 * SIZE, 36 + 2 * SIZE, SIZE, id="both are doubled"),
        pytest.param(2 * SIZE, 36 + SIZE, SIZE // 2, id="data is doubled, and the body cut"),
        pytest.param(SIZE + 44, 36 + SIZE, SIZE - 2, id="data counts the header in, and the body is cut"),
        pytest.param(SIZE, SIZE, SIZE - 20, id="RIFF has the size of data, and the body is cut"),
        pytest.param(SIZE, 0, SIZE - 2, id="RIFF is unknown"),
        pytest.param(SIZE, 36, SIZE - 2, id="RIFF is that of an empty file"),
        pytest.param(SIZE, 0xFFFFFFFF, SIZE - 2, id="RIFF is a placeholder"),
        pytest.param(SIZE // 2, 36 + SIZE, SIZE - 2, id="data is halved, and the body cut"),
        pytest.param(0, 36 + SIZE, SIZE - 2, id="only RIFF is known, and the body cut"),
    ],
)
def test_what_may_be_missing_is_refused_in_words_that_name_both_causes(
    data_size: int, riff_size: int, sent: int
) -> None:
    body = lying(data_size, riff_size, SOUND[:sent])
    code, offset, detail = refused(body)
    assert (code, offset) == ("truncated", len(body))
    assert "If it was cut in transfer, send the whole file." in detail
    assert "If its header is wrong, send it with ?incomplete=keep" in detail
    assert [warning.code for warning in read(body)[1].warnings()] == ["truncated"]


@pytest.mark.parametrize("riff_size", [36 + SIZE, 44 + SIZE])
def test_data_size_of_0_is_wrong_if_sound_follows(riff_size: int) -> None:
    assert taken(lying(0, riff_size)) == (SIZE, ["wrong_data_size"])


@pytest.mark.parametrize("riff_size", [0, 36, 0xFFFFFFFF, 0x7FFFF024, 0x7FFF0024])
def test_data_size_of_0_in_a_stream_means_up_to_the_end(riff_size: int) -> None:
    assert taken(lying(0, riff_size)) == (SIZE, [])
    # Samples that look like the name of a chunk do not end a recording whose size nobody knows.
    assert taken(lying(0, riff_size, b"Abcd" + SOUND)) == (SIZE + 4, [])


@pytest.mark.parametrize("riff_size", [None, 0, 36, 0xFFFFFFFF])
@pytest.mark.parametrize("after", [LIST, chunk(b"bext", bytes(600)), chunk(b"id3 ", b"ID3"), chunk(b"cue ", b"")])
def test_data_size_of_0_is_right_if_a_chunk_follows(after: bytes, riff_size: int | None) -> None:
    assert refused(riff(FMT, chunk(b"data", b""), after, size=riff_size))[0] == "empty"


@pytest.mark.parametrize("kind", PLACEHOLDERS, ids=lambda kind: kind.sizes)
@pytest.mark.parametrize("extra", [0, 36])
def test_placeholder_means_up_to_the_end(kind: object, extra: int) -> None:
    for size in (kind.first, kind.last):  # type: ignore[attr-defined]
        assert taken(lying(size, (size + extra) % 2**32)) == (SIZE, [])


@pytest.mark.parametrize("size", [1, 44100, 999_999_999, 1_000_000_001, 0x7FFEFFFF, 0x7FFF0001, 0x80000001])
def test_other_sizes_are_sizes(size: int) -> None:
    assert not is_placeholder(size)
    assert refused(lying(size, (size + 36) % 2**32, SOUND[: min(size - 1, SIZE)] or b"\0"))[0] in {
        "truncated",
        "empty",
    }


@pytest.mark.parametrize("declared", [2, 64, 2048, SIZE // 2, SIZE - 2])
@pytest.mark.parametrize("riff_size", ["first buffer", "right", "unknown"])
def test_sound_that_the_header_does_not_declare_is_taken(declared: int, riff_size: str) -> None:
    size = {"first buffer": 36 + declared, "right": 36 + SIZE, "unknown": 0}[riff_size]
    assert taken(lying(declared, size)) == (SIZE, ["surplus_sound"])


@pytest.mark.parametrize("surplus", [bytes(1000), bytes(2), b"\x1fIST\x1fabc", b"\0LIS\0\0\0\0", b"\xff" * 8])
def test_what_is_not_a_chunk_is_sound(surplus: bytes) -> None:
    assert taken(lying(SIZE, 36 + SIZE, SOUND + surplus)) == (SIZE + len(surplus), ["surplus_sound"])


def test_rest_of_a_sample_is_left_out_with_a_warning() -> None:
    assert taken(lying(SIZE, 36 + SIZE, SOUND + b"\1")[:-1]) == (SIZE, ["surplus_sound", "partial_sample"])


@pytest.mark.parametrize(
    "trailer", [b"TAG" + bytes(125), b"APETAGEX" + bytes(40), b"ID3\x04" + bytes(60), b"PK\x03\x04" + bytes(60)]
)
@pytest.mark.parametrize("chunks", [[], [LIST]], ids=["samples", "LIST"])
def test_tags_and_archives_behind_a_wav_are_not_sound(trailer: bytes, chunks: list[bytes]) -> None:
    body = riff(FMT, chunk(b"data", SOUND), *chunks) + trailer
    assert taken(body) == (SIZE, ["trailing_bytes"])


def test_what_follows_a_chunk_is_not_sound() -> None:
    assert taken(riff(FMT, chunk(b"data", SOUND), LIST) + bytes(600)) == (SIZE, ["trailing_bytes"])
    assert taken(riff(FMT, chunk(b"data", SOUND), LIST)[:-5]) == (SIZE, ["trailing_bytes"])
    assert taken(riff(FMT, chunk(b"data", SOUND), LIST, LIST, chunk(b"id3 ", b"abc"))) == (SIZE, [])


@pytest.mark.parametrize("name", [b"Ours", b"~ !?", b"abcd"])
@pytest.mark.parametrize("is_counted", [True, False], ids=["within RIFF", "behind RIFF"])
def test_chunk_of_an_unknown_name_is_one_if_it_ends_with_the_body(name: bytes, *, is_counted: bool) -> None:
    unknown = chunk(name, b"12345")
    size = 36 + SIZE + len(unknown) if is_counted else 36 + SIZE
    for after in ([unknown], [unknown, unknown], [unknown, LIST], [LIST, unknown]):
        body = riff(FMT, chunk(b"data", SOUND), *after, size=None if is_counted else size)
        assert taken(body) == (SIZE, [])


@pytest.mark.parametrize("rest", [bytes(64), b"abcdefghijklmnopqrst", LIST[:3]])
def test_what_may_be_a_chunk_or_sound_is_refused(rest: bytes) -> None:
    body = riff(FMT, chunk(b"data", SOUND), size=36 + SIZE) + chunk(b"Ours", b"1234") + rest
    assert refused(body)[:2] == ("unclear_end", 44 + SIZE)
    assert [warning.code for warning in read(body)[1].warnings()] == ["unclear_end"]
    cut = riff(FMT, chunk(b"data", SOUND), size=36 + SIZE) + chunk(b"Ours", rest, declared=1000)
    assert refused(cut)[:2] == ("unclear_end", 44 + SIZE)


@pytest.mark.parametrize("between", [b"", LIST], ids=["nothing between", "LIST between"])
@pytest.mark.parametrize(
    ("second", "what"),
    [
        (chunk(b"data", SOUND), "data chunk"),
        (riff(FMT, chunk(b"data", SOUND)), "WAV"),
        (wavs.wav(SOUND, sample_rate=RATE, channels=1, container="RF64"), "WAV"),
    ],
)
def test_second_recording_is_refused_because_no_player_plays_it(second: bytes, what: str, between: bytes) -> None:
    body = riff(FMT, chunk(b"data", SOUND), between) + second
    code, offset, detail = refused(body)
    assert (code, offset) == ("second_sound", len(body) - len(second))
    assert detail.startswith(f"Another {what} follows the samples")
    samples, reader = read(body)
    assert (samples, reader.source_size) == (SOUND, offset)
    assert [warning.code for warning in reader.warnings()] == ["second_sound"]


@pytest.mark.parametrize("pad", [b"", b"\0"], ids=["unpadded", "padded"])
@pytest.mark.parametrize("after", [b"", LIST, chunk(b"data", b"\x80" * 9)], ids=["nothing", "LIST", "data"])
def test_pad_byte_behind_the_samples_may_be_missing(pad: bytes, after: bytes) -> None:
    sound = b"\x80" * 801
    fmt = fmt_chunk(sample_rate=RATE, channels=1, sample_format=U8)
    samples, reader = read(riff(fmt, chunk(b"data", sound, pad=False), pad, after))
    assert samples == sound
    assert (reader.missing is not None) == after.startswith(b"data")


def test_a_hundred_thousand_chunks_behind_the_samples_do_not_hold_the_service_up() -> None:
    body = riff(FMT, chunk(b"data", SOUND), chunk(b"JUNK", b"") * 100_000)
    samples, reader = read(body, 65_536)
    assert (len(samples), reader.missing) == (SIZE, None)
    assert [warning.code for warning in reader.warnings()] == ["trailing_bytes"]


@pytest.mark.parametrize(
    ("odd", "where"),
    [
        (chunk(b"LIST", b"INFOISFT\x05\0\0\0Foo1\0", pad=False), "The LIST chunk at byte 36"),
        (chunk(b"JUNK", b"abc", pad=False), "The JUNK chunk at byte 36"),
        (chunk(b"bext", bytes(603), pad=False), "The bext chunk at byte 36"),
        (chunk(b"LIST", b"INFO", pad=False) + chunk(b"note", b"x", pad=False), "The note chunk at byte 48"),
    ],
)
@pytest.mark.parametrize("sound", [SOUND, bytes(SIZE), b"\x7f" * SIZE], ids=["loud", "silent", "text"])
def test_odd_chunk_without_a_pad_byte_is_named(odd: bytes, where: str, sound: bytes) -> None:
    for following in (chunk(b"data", sound), LIST + chunk(b"data", sound)):
        code, offset, detail = refused(riff(FMT, odd, following))
        assert (code, offset) == ("malformed_header", int(where.rpartition(" ")[2]))
        assert detail == f"{where} has an odd size and no pad byte. Export the WAV again."


@pytest.mark.parametrize("declared", [8, 12, 17, 23, 24, 26])
@pytest.mark.parametrize("sound", [SOUND, bytes(SIZE), b"\x01" * SIZE], ids=["loud", "silent", "ones"])
def test_chunk_of_a_wrong_size_is_named(declared: int, sound: bytes) -> None:
    broken = chunk(b"bext", bytes(range(128, 148)), declared=declared)
    code, offset, detail = refused(riff(FMT, LIST, broken, chunk(b"data", sound)))
    assert (code, offset) == ("malformed_header", 36 + len(LIST))
    assert detail.startswith(f"The bext chunk at byte {36 + len(LIST)} has")


ID3 = b"ID3\x03\0\0\0\0\0\x0a" + bytes(10)
LONG_ID3 = b"ID3\x04\0\0\0\0\x02\x00" + bytes(256)
FOOTED_ID3 = b"ID3\x04\0\x10\0\0\0\x0a" + bytes(10) + b"3DI\x04\0\x10\0\0\0\x0a"


@pytest.mark.parametrize("tag", [ID3, LONG_ID3, FOOTED_ID3, ID3 + LONG_ID3, b"ID3\x02" + bytes(6)], ids=len)
@pytest.mark.parametrize("container", ["RIFF", "RF64"])
def test_wav_behind_an_id3_tag_is_taken_without_the_tag(tag: bytes, container: wavs.Container) -> None:
    wav = wavs.wav(SOUND, sample_rate=RATE, channels=1, container=container)
    assert taken(tag + wav) == (SIZE, ["leading_tag"])
    assert taken(tag + lying(SIZE + 44, 36 + SIZE)) == (SIZE, ["leading_tag", "wrong_data_size"])
    code, offset, _ = refused(tag + wav[:-2])
    assert (code, offset) == ("truncated", len(tag) + len(wav) - 2)


@pytest.mark.parametrize(
    "tag",
    [
        b"ID3\x03\0\0\x01\0\0\0",
        b"ID3\x03\0\0\x80\0\0\0",
        b"ID3\x03\0\0\0\0\0\x80" + bytes(128),
        b"ID3\x04\0\0\x7f\x7f\x7f\x7f",
    ],
    ids=bytes.hex,
)
def test_id3_tag_has_a_bound(tag: bytes) -> None:
    expected = "truncated" if tag[6] == 1 else "not_wav"
    assert refused(tag + wavs.wav(SOUND, sample_rate=RATE, channels=1))[0] == expected
