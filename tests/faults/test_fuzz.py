"""Seeded mutants of WAV headers: whatever they say, the answer is right and in time, and nothing is left behind.

The right answer comes from `tests.support.reading`, which shares no code with the service's parser. A mutant depends
only on its number, so the number in a failure message makes it again.
"""

import asyncio
import random
import struct

import pytest

from tests.support import wavs
from tests.support.blocks import FORMS, of_chirp
from tests.support.client import TRANSPORTS, Account, Answer, Service
from tests.support.hostile import ID3, outcomes, played
from tests.support.invariants import invariants_hold
from tests.support.raw import MULTIPART_HEAD, MULTIPART_TAIL, connect
from tests.support.reading import reading

MUTANTS_IN_A_BATCH = 125
BATCHES_IN_MAKE_TEST = 4  # 500 mutants
BATCHES_IN_MAKE_FUZZ = 80  # 10,000 more

REFUSALS = {
    *((415, "not_wav"), (413, "too_large"), (413, "too_long")),
    *((422, code) for code in ("empty", "truncated", "malformed_header", "malformed_block", "header_too_large")),
    *((422, code) for code in ("second_sound", "unclear_end")),
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
    ID3 + seed(),
    seed(data_size=644),
    seed(data_size=300),
    seed(data_size=64, riff_size=100),
    seed(data_size=0),
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


def _both_sizes(rng: random.Random, wav: bytes, _place: int) -> bytes:
    place = wav.find(b"data") + 4
    size = len(wav) - place - 4 + rng.choice([-100, -44, -1, 0, 1, 8, 36, 44, 300])
    wrong = rng.choice([-36, -8, 0, 8, 36])
    wav = wav[:place] + struct.pack("<I", max(size, 0)) + wav[place + 4 :]
    return wav[:4] + struct.pack("<I", max(size + place + 4 - 8 + wrong, 0)) + wav[8:]


def _behind(rng: random.Random, wav: bytes, _place: int) -> bytes:
    own = wavs.chunk(b"Ours", rng.randbytes(9))
    data = wavs.chunk(b"data", bytes(40))
    return wav + rng.choice([bytes(700), own, own + bytes(40), LIST + bytes(40), data, LIST + data, SEEDS[0]])


def _tag(_rng: random.Random, wav: bytes, _place: int) -> bytes:
    return ID3 + wav


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
KNOWING = (
    *(_riff_size, _data_size, _both_sizes, _behind, _tag, _sample_rate, _sample_rate, _chunk, _ending),
    _start_of_blocks,
)


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


def is_float(wav: bytes) -> bool:
    fmt = wav.find(b"fmt ")
    return 3 in {*wav[fmt + 8 : fmt + 9], *wav[fmt + 32 : fmt + 33]}


async def wrong_about(service: Service, wav: bytes, answer: Answer) -> str | None:
    """Return what is wrong with the answer to a mutant; None if it is right."""
    expected, word = reading(wav), (answer.status, (answer.json or {}).get("code"))
    if answer.status != 201:
        if word == UNENCODABLE and is_float(wav):  # also in a WAV that is refused for its end, which comes later
            return None
        if word not in REFUSALS:
            return f"{word} is not an answer"
        return None if expected.may_be_refused else f"{word} for {expected.sounds[0].expected}"
    # A mutated float may be a sample of 1e25: LAME's MP3 then has the right length, but decoders complain about it.
    heard = await played(service, answer, may_warn=is_float(wav))
    for sound in expected.sounds:
        seconds = sound.sample_count / sound.sample_rate
        if heard == sound.expected and answer.json["duration"] == pytest.approx(seconds):
            return None if answer.json["complete"] else "it is said to be incomplete"
    return f"{heard} and {answer.json['duration']} s for {[sound.expected for sound in expected.sounds]}"


def test_seeds_are_read_as_what_they_are() -> None:
    counts = [[sound.sample_count for sound in reading(wav).sounds] for wav in SEEDS + BLOCK_SEEDS]
    assert counts == [[300]] * len(SEEDS) + [[900]] * len(BLOCK_SEEDS)


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
