"""Bad input: every hostile WAV gets its own code over every transport, and leaves nothing behind."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import pytest

from tests.support import wavs
from tests.support.client import TRANSPORTS, Account, Answer, Service, Transport
from tests.support.hostile import RATE, REFUSED, SOUND, TAKEN, Refused, Taken, floats, mono, outcomes, played
from tests.support.invariants import invariants_hold
from tests.support.raw import MULTIPART_HEAD, MULTIPART_TAIL, RawAnswer, connect, framed

T = TypeVar("T")

by_every_transport = pytest.mark.parametrize("transport", TRANSPORTS)


def verdict(answer: Answer) -> tuple[int, str | None]:
    return answer.status, answer.json.get("code")


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len({case.wav for case in REFUSED.values()}) >= 100
    assert len({case.wav for case in TAKEN.values()}) >= 60


@by_every_transport
async def test_hostile_wav_gets_its_code_and_leaves_nothing_behind(
    service: Service, account: Account, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    async def throw(case: Refused) -> tuple[int, str | None]:
        return verdict(await service.upload(account, case.wav, transport=transport))

    async with invariants_hold(service, caplog):
        found = await outcomes(REFUSED, throw)
        assert found == {name: case.verdict for name, case in REFUSED.items()}
        assert not service.files()


@by_every_transport
async def test_odd_wav_is_taken_to_its_last_sample(
    service: Service, account: Account, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    async def throw(case: Taken) -> tuple[tuple[int, int], float]:
        answer = await service.upload(account, case.wav, transport=transport)
        return await played(service, answer), round(answer.json["duration"] * case.sample_rate, 6)

    async with invariants_hold(service, caplog):
        found = await outcomes(TAKEN, throw)
        assert found == {name: (case.expected, case.sample_count) for name, case in TAKEN.items()}


WHOLE = {
    "plain": mono(),
    "extensible": mono(extensible=True),
    "RF64": mono(container="RF64"),
    "unknown size": mono(data_size=wavs.UNKNOWN_SIZE, riff_size=wavs.UNKNOWN_SIZE),
}


def verdict_of_cut(length: int, header_length: int, *, is_size_known: bool) -> tuple[int, str | None]:
    if length == 0:
        return 422, "empty"
    if length < header_length or is_size_known:
        return 422, "truncated"
    return (422, "empty") if length < header_length + 2 else (201, None)


@by_every_transport
@pytest.mark.parametrize("kind", WHOLE)
async def test_wav_cut_at_any_byte_of_its_header_is_never_taken_for_a_whole_one(
    service: Service, account: Account, kind: str, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    wav = WHOLE[kind]
    header_length = len(wav) - len(SOUND)
    cuts = {f"{kind} cut at {length}": length for length in range(max(60, header_length + 4) + 1)}

    async def throw(length: int) -> tuple[int, str | None]:
        return verdict(await service.upload(account, wav[:length], transport=transport))

    async with invariants_hold(service, caplog):
        found = await outcomes(cuts, throw)
        assert found == {
            name: verdict_of_cut(length, header_length, is_size_known=kind != "unknown size")
            for name, length in cuts.items()
        }


FAR_OUT = [sign * 10.0**exponent for exponent in (2, 4, 6, 8, 10, 15, 20, 25, 30, 35) for sign in (1, -1)]


@pytest.mark.parametrize("sample_format", [wavs.F32, wavs.F64], ids=str)
@pytest.mark.parametrize("rate", [RATE, 44100, 96000])
async def test_sample_far_out_of_range_is_not_our_fault(
    service: Service,
    account: Account,
    sample_format: wavs.SampleFormat,
    rate: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """LAME encodes some of these and gives up on others; either is right."""
    bodies = {f"{value:g}": floats(value, sample_format, sample_rate=rate) for value in FAR_OUT}

    async def throw(wav: bytes) -> tuple[int, str | None]:
        return verdict(await service.upload(account, wav))

    async with invariants_hold(service, caplog):
        found = await outcomes(bodies, throw)
        right = {(201, None), (422, "unencodable_audio")}
        assert {name: word for name, word in found.items() if word not in right} == {}


def broken_framing() -> dict[str, tuple[bytes, bytes]]:
    """Return request lines and bodies whose framing is hostile; the WAV in them is good."""
    wav, chunked = mono(), b"Transfer-Encoding: chunked"
    sizes = {"too large": b"F" * 17, "negative": b"-5", "with a prefix": b"0x5", "empty": b"", "no number": b"xyz"}
    first = b"%x\r\n%s\r\n" % (len(wav) - 10, wav[:-10])
    return (
        {f"chunk size {name}": (chunked, size + b"\r\n" + wav) for name, size in sizes.items()}
        | {f"second chunk size {name}": (chunked, first + size + b"\r\n" + wav) for name, size in sizes.items()}
        | {
            "chunk longer than its size": (chunked, b"5\r\n" + wav),
            "length not a number": (b"Content-Length: 1e3", wav),
            "length negative": (b"Content-Length: -1", wav),
            "length with a sign": (b"Content-Length: +844", wav),
            "two lengths": (b"Content-Length: 844\r\nContent-Length: 5", wav),
            "length and chunks": (b"Content-Length: 5\r\n" + chunked, framed(wav, "chunked")),
            "an unknown coding": (b"Transfer-Encoding: gzip", wav),
            "chunked twice": (b"Transfer-Encoding: chunked, chunked", framed(wav, "chunked")),
        }
    )


async def test_broken_framing_is_400_and_smuggles_nothing(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    async def throw(case: tuple[bytes, bytes]) -> tuple[int, bool]:
        return await with_framing(service, account, case, lambda answer: answer.status)

    async with invariants_hold(service, caplog):
        bodies = broken_framing()
        assert await outcomes(bodies, throw) == dict.fromkeys(bodies, (400, True))
        assert not service.files()


async def test_broken_framing_gets_a_problem_that_echoes_nothing(service: Service, account: Account) -> None:
    async def throw(case: tuple[bytes, bytes]) -> tuple[tuple[str, bool], bool]:
        return await with_framing(
            service, account, case, lambda answer: (answer.headers["content-type"], "server" in answer.headers)
        )

    bodies = broken_framing()
    right = (("application/problem+json", False), True)
    assert await outcomes(bodies, throw) == dict.fromkeys(bodies, right)


async def with_framing(
    service: Service, account: Account, case: tuple[bytes, bytes], look: Callable[[RawAnswer], T]
) -> tuple[T, bool]:
    """Send an upload with that framing; return what `look` finds in the answer, and whether the service then closes."""
    headers, body = case
    head = b"PUT /records/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n" % account.token.encode()
    async with connect(service) as client:
        await client.send(head + headers + b"\r\n\r\n" + body)
        return look(await client.answer()), await client.is_closed_by_service()


async def test_boundary_on_any_edge_between_two_packets_is_seen(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    body = framed(mono(), "multipart")
    edges = [*range(1, len(MULTIPART_HEAD) + 4), *range(len(body) - len(MULTIPART_TAIL) - 4, len(body))]
    head = (
        f"POST /records HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {account.token}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()

    async def throw(edge: int) -> tuple[int, float]:
        async with connect(service) as client:
            await client.send(head + body[:edge])
            await asyncio.sleep(0.02)
            await client.send(body[edge:])
            answer = await client.answer()
            return answer.status, answer.json.get("duration", 0) * RATE

    async with invariants_hold(service, caplog):
        cases = {f"edge at {edge}": edge for edge in edges}
        assert await outcomes(cases, throw) == dict.fromkeys(cases, (201, 400))
