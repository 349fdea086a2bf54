"""Seeded mutants of WAV headers: whatever they say, the answer is right and in time, and nothing is left behind.

The right answer comes from `reading`, which shares no code with the service's parser. A mutant depends only on its
number, so the number in a failure message makes it again.
"""

import asyncio
import random
import struct
from dataclasses import dataclass

import pytest

from tests.support import wavs
from tests.support.blocks import FORMS, KINDS, of_chirp, read_blocks
from tests.support.client import TRANSPORTS, Account, Answer, Service
from tests.support.hostile import Taken, outcomes, played
from tests.support.invariants import invariants_hold
from tests.support.raw import MULTIPART_HEAD, MULTIPART_TAIL, connect

MUTANTS_IN_A_BATCH = 125
BATCHES_IN_MAKE_TEST = 4  # 500 mutants
BATCHES_IN_MAKE_FUZZ = 80  # 10,000 more

REFUSALS = {
    *((415, "not_wav"), (413, "too_large"), (413, "too_long")),
    *((422, code) for code in ("empty", "truncated", "malformed_header", "malformed_block", "header_too_large")),
    *((422, f"unsupported_{what}") for what in ("codec", "channels", "sample_rate")),
}
UNENCODABLE = (422, "unencodable_audio")

batches = pytest.mark.parametrize(
    "batch",
    [
        pytest.param(batch, marks=[] if batch < BATCHES_IN_MAKE_TEST else [pytest.mark.long])
        for batch in range(BATCHES_IN_MAKE_TEST + BATCHES_IN_MAKE_FUZZ)
    ],
)


def seed(**layout: object) -> bytes:
    """Return a valid file of at most 2 kB."""
    sample_rate, channels = layout.setdefault("sample_rate", 8000), layout.setdefault("channels", 1)
    return wavs.wav(wavs.chirp(300, sample_rate, channels), **layout)  # type: ignore[arg-type]


LIST = wavs.chunk(b"LIST", b"INFOISFT" + wavs.chunk(b"", b"Lavf59.27.100")[1:])
SEEDS = (
    seed(),
    seed(sample_rate=44100, channels=2),
    seed(before=[LIST, wavs.chunk(b"JUNK", bytes(27))], after=[LIST]),
    seed(extensible=True, channels=2),
    seed(extensible=True, channels=6, sample_rate=48000),
    seed(container="RF64", sample_rate=96000),
    seed(container="BW64", extensible=True, before=[LIST]),
    seed(data_size=wavs.UNKNOWN_SIZE, riff_size=wavs.UNKNOWN_SIZE, sample_rate=22050),
    seed(sample_format=wavs.U8),
    seed(sample_format=wavs.S24, channels=2),
    seed(sample_format=wavs.F32),
    seed(sample_format=wavs.F64, channels=2),
    seed(sample_format=wavs.MULAW),
)
BLOCK_SEEDS = tuple(of_chirp(*form, sample_count=900).but(fact=900).wav() for form in FORMS)

BYTES = (0, 1, 2, 3, 7, 8, 9, 16, 24, 32, 0x7F, 0x80, 0xFE, 0xFF)
WORDS = (0, 1, 2, 4, 15, 16, 17, 18, 40, 299, 600, 601, 8000, 44100, 192_000, 0x7FFFF000, 2**31, 2**32 - 2, 2**32 - 1)
NAMES = (b"RIFF", b"RF64", b"WAVE", b"fmt ", b"data", b"ds64", b"LIST", b"JUNK", b"\0\0\0\0")


def _bit(rng: random.Random, wav: bytes, place: int) -> bytes:
    return wav[:place] + bytes([wav[place] ^ 1 << rng.randrange(8)]) + wav[place + 1 :]


def _byte(rng: random.Random, wav: bytes, place: int) -> bytes:
    return wav[:place] + bytes([rng.choice([*BYTES, rng.randrange(256)])]) + wav[place + 1 :]


def _word(rng: random.Random, wav: bytes, place: int) -> bytes:
    place -= place % 2
    return wav[:place] + struct.pack("<I", rng.choice([*WORDS, rng.randrange(2**32)])) + wav[place + 4 :]


def _name(rng: random.Random, wav: bytes, place: int) -> bytes:
    place -= place % 4
    return wav[:place] + rng.choice(NAMES) + wav[place + 4 :]


def _insertion(rng: random.Random, wav: bytes, place: int) -> bytes:
    return wav[:place] + rng.choice([rng.randbytes(rng.randrange(1, 9)), *NAMES, LIST]) + wav[place:]


def _deletion(rng: random.Random, wav: bytes, place: int) -> bytes:
    return wav[:place] + wav[place + rng.choice([1, 2, 4, 8, 24]) :]


def _repetition(rng: random.Random, wav: bytes, place: int) -> bytes:
    length = rng.choice([2, 4, 8, 24, 48])
    return wav[: place + length] + wav[place:]


def _cut(rng: random.Random, wav: bytes, place: int) -> bytes:
    return wav[: rng.choice([place, rng.randrange(1, len(wav)), len(wav) - 1])]


def _riff_size(rng: random.Random, wav: bytes, _place: int) -> bytes:
    return wav[:4] + struct.pack("<I", rng.choice([*WORDS, rng.randrange(2**32)])) + wav[8:]


def _data_size(rng: random.Random, wav: bytes, _place: int) -> bytes:
    place = wav.find(b"data") + 4
    there = len(wav) - place - 4
    size = rng.choice([there - 1, there + 1, there // 2, there * 2, 3, 2**31 - 1, *WORDS])
    return wav[:place] + struct.pack("<I", max(size, 0)) + wav[place + 4 :]


def _sample_rate(rng: random.Random, wav: bytes, _place: int) -> bytes:
    place = wav.find(b"fmt ") + 12
    rate = rng.choice([1000, 8000, 11025, 16000, 44100, 88200, 768_000, rng.randrange(990, 768_010)])
    return wav[:place] + struct.pack("<I", rate) + wav[place + 4 :]


def _chunk(rng: random.Random, wav: bytes, _place: int) -> bytes:
    place = rng.choice([12, wav.find(b"fmt "), wav.find(b"data"), len(wav)])
    return wav[:place] + wavs.chunk(rng.choice(NAMES), rng.randbytes(rng.choice([0, 1, 2, 40]))) + wav[place:]


def _ending(rng: random.Random, wav: bytes, _place: int) -> bytes:
    return wav + rng.randbytes(rng.randrange(1, 9)) if rng.randrange(2) else wav[: -rng.randrange(1, 9)]


def _start_of_blocks(rng: random.Random, wav: bytes, _place: int) -> bytes:
    return _byte(rng, wav, min(wav.find(b"data") + 8 + rng.randrange(16), len(wav) - 1))


BLIND = (_bit, _byte, _byte, _word, _word, _name, _insertion, _deletion, _repetition, _cut)
KNOWING = (_riff_size, _data_size, _sample_rate, _sample_rate, _chunk, _ending, _start_of_blocks)


def mutant(number: int) -> bytes:
    """Return the mutant of that number: a seed with one to three mutations, mostly in its header."""
    rng = random.Random(f"mutant {number}")
    wav = rng.choice(SEEDS + BLOCK_SEEDS)
    for _ in range(rng.choice([1, 1, 2, 3])):
        header_length = wav.find(b"data") + 8
        wav = rng.choice(rng.choice([BLIND, KNOWING, KNOWING]))(
            rng, wav, rng.randrange(max(min(header_length, len(wav) - 1), 1))
        )
    return wav


@dataclass(frozen=True)
class Reading:
    """What a file holds: its sound, if any, and whether a refusal would be right as well."""

    sound: Taken | None = None
    is_doubtful: bool = False


NOTHING = Reading()
BYTES_A_SAMPLE = {(1, 1), (1, 2), (1, 3), (1, 4), (3, 4), (3, 8), (6, 1), (7, 1)}


def chunks_before_samples(wav: bytes) -> tuple[dict[bytes, bytes], int] | None:
    """Return the chunks in front of the samples and where the samples start; None if there are no samples."""
    chunks: dict[bytes, bytes] = {}
    place = 12
    while len(wav) >= place + 8:
        name, size = struct.unpack_from("<4sI", wav, place)
        place += 8
        if name == b"data":
            return chunks, place
        if size and name in {b"fmt ", b"ds64", b"fact"}:  # an empty chunk says nothing
            if name in chunks and name != b"fact":
                return None
            chunks[name] = wav[place : place + size]
        place += size + size % 2
    return None


def form_of(fmt: bytes) -> tuple[int, int, int] | None:
    """Return the sample rate, the channels and the bytes per frame; None if the service does not take them."""
    if len(fmt) < 16:
        return None
    tag, channels, sample_rate, _, declared_align, bits = struct.unpack_from("<HHIIHH", fmt)
    if tag == wavs.EXTENSIBLE_TAG:
        if len(fmt) < 40:
            return None
        tag, tail = struct.unpack_from("<H14s", fmt, 24)
        tag = tag if tail == b"\0\0\0\0\x10\0" + wavs.GUID_TAIL else 0
    byte_count = 1 if tag in {6, 7} else -(-bits // 8)
    is_right = (tag, byte_count) in BYTES_A_SAMPLE and (byte_count != 3 or declared_align != 4 * channels)
    return (sample_rate, channels, channels * byte_count) if is_right and _is_sensible(sample_rate, channels) else None


def form_of_blocks(fmt: bytes) -> tuple[int, int, int] | None:
    """Return the sample rate, the channels and 1; None if these are not blocks."""
    if len(fmt) < 16:
        return None
    tag, channels, sample_rate = struct.unpack_from("<HHI", fmt)
    return (sample_rate, channels, 1) if tag in {k.tag for k in KINDS} and _is_sensible(sample_rate, channels) else None


def _is_sensible(sample_rate: int, channels: int) -> bool:
    return 1000 <= sample_rate <= 768_000 and 1 <= channels <= 32


def reading(wav: bytes) -> Reading:
    """Read a whole file in the simplest way."""
    if wav[:4] not in {b"RIFF", b"RF64", b"BW64"} or wav[8:12] != b"WAVE":
        return NOTHING
    found = chunks_before_samples(wav)
    if found is None:
        return NOTHING
    chunks, place = found
    fmt = chunks.get(b"fmt ", b"")
    block_form = form_of_blocks(fmt)
    form = block_form or form_of(fmt)
    declared = declared_size(wav, chunks.get(b"ds64", b""), place)
    if form is None or declared is None:
        return NOTHING
    sample_rate, channels, block_align = form
    there = len(wav) - place
    # Only a placeholder says 0, or a size that the file does not have.
    is_unknown = declared == 0 or (declared > there and declared >= 0x7FFF_EFC0)
    if declared > there and not is_unknown:
        return NOTHING
    byte_count = there if is_unknown else declared
    sample_count: int | None = byte_count // block_align
    if block_form:
        sample_count = read_blocks(fmt, chunks.get(b"fact", b""), wav[place : place + byte_count])
    return Reading(Taken(wav, sample_count, sample_rate, channels), is_unknown) if sample_count else NOTHING


def declared_size(wav: bytes, ds64: bytes, place: int) -> int | None:
    (size,) = struct.unpack_from("<I", wav, place - 4)
    if wav[:4] == b"RIFF":
        return int(size)
    if len(ds64) < 16:
        return None
    return int(struct.unpack_from("<Q", ds64, 8)[0]) if size in {0, wavs.UNKNOWN_SIZE} else int(size)


def is_float(wav: bytes) -> bool:
    fmt = wav.find(b"fmt ")
    return 3 in {*wav[fmt + 8 : fmt + 9], *wav[fmt + 32 : fmt + 33]}


async def wrong_about(service: Service, wav: bytes, answer: Answer) -> str | None:
    """Return what is wrong with the answer to a mutant; None if it is right."""
    expected, word = reading(wav), (answer.status, (answer.json or {}).get("code"))
    if answer.status != 201:
        if word == UNENCODABLE and is_float(wav) and expected.sound is not None:
            return None
        if word not in REFUSALS:
            return f"{word} is not an answer"
        return None if expected.sound is None or expected.is_doubtful else f"{word} for {expected.sound.expected}"
    if expected.sound is None:
        return f"201 for no sound: {answer.json}"
    # A mutated float may be a sample of 1e25: LAME's MP3 then has the right length, but decoders complain about it.
    heard = await played(service, answer, may_warn=is_float(wav))
    seconds = expected.sound.sample_count / expected.sound.sample_rate
    if heard == expected.sound.expected and answer.json["duration"] == pytest.approx(seconds):
        return None
    return f"{heard} and {answer.json['duration']} s for {expected.sound.expected} and {seconds} s"


def test_seeds_are_read_as_what_they_are() -> None:
    sounds = [reading(wav).sound for wav in SEEDS]
    assert [sound and sound.sample_count for sound in sounds] == [300] * len(SEEDS)
    sounds = [reading(wav).sound for wav in BLOCK_SEEDS]
    assert [sound and sound.sample_count for sound in sounds] == [900] * len(BLOCK_SEEDS)


@batches
@pytest.mark.timeout(180)
async def test_mutant_is_taken_to_its_last_sample_or_refused(
    service: Service, account: Account, batch: int, caplog: pytest.LogCaptureFixture
) -> None:
    first = batch * MUTANTS_IN_A_BATCH
    mutants = {f"mutant {number}": mutant(number) for number in range(first, first + MUTANTS_IN_A_BATCH)}

    async def throw(wav: bytes) -> tuple[int, str | None]:
        answer = await service.upload(account, wav, transport=TRANSPORTS[sum(wav) % 3])
        return answer.status, await wrong_about(service, wav, answer)

    async with invariants_hold(service, caplog):
        found = await outcomes(mutants, throw)
    assert {name: wrong for name, (_, wrong) in found.items() if wrong} == {}
    taken = sum(status == 201 for status, _ in found.values())
    assert 0.2 < taken / MUTANTS_IN_A_BATCH < 0.8, "mutants all alike test nothing"


FORM = MULTIPART_HEAD + SEEDS[0] + MULTIPART_TAIL
SPLINTERS = (
    b"\r\n",
    b"\n",
    b"\r",
    b"--b",
    b"--b--",
    b"\r\n--b\r\n",
    b";",
    b'"',
    b"\0",
    b"\xff",
    b":",
    b"=",
    b"\r\n\r\n",
)


def damaged_form(number: int) -> bytes:
    """Return the form of that number, which is damaged around its file."""
    rng = random.Random(f"form {number}")
    body = FORM
    for _ in range(rng.randrange(1, 4)):
        place = rng.choice([rng.randrange(len(MULTIPART_HEAD)), len(body) - rng.randrange(len(MULTIPART_TAIL) + 1)])
        body = body[:place] + rng.choice([*SPLINTERS, rng.randbytes(2)]) + body[place + rng.randrange(4) :]
    return body


@batches
@pytest.mark.filterwarnings("ignore::aiohttp.multipart.BadContentDispositionHeader")
@pytest.mark.filterwarnings("ignore::aiohttp.multipart.BadContentDispositionParam")
async def test_damaged_form_is_taken_or_refused(
    service: Service, account: Account, batch: int, caplog: pytest.LogCaptureFixture
) -> None:
    first = batch * MUTANTS_IN_A_BATCH
    forms = {f"form {number}": damaged_form(number) for number in range(first, first + MUTANTS_IN_A_BATCH)}
    head = (
        f"POST /records HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {account.token}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {}\r\n\r\n"
    )

    async def throw(body: bytes) -> int:
        async with connect(service) as client:
            await client.send(head.format(len(body)).encode() + body[:100])
            await asyncio.sleep(0)
            await client.send(body[100:])
            return (await client.answer()).status

    async with invariants_hold(service, caplog):
        found = await outcomes(forms, throw)
    assert {name: status for name, status in found.items() if status not in {201, 400, 415, 422}} == {}
