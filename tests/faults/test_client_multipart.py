"""Broken and hostile forms: each is refused with its code, in bounded memory."""

import asyncio
import contextlib
import gc
import itertools
import os
from collections.abc import AsyncIterator, Iterable

import pytest

from tests.support import wavs
from tests.support.client import Account, Service, StartService
from tests.support.invariants import GOOD_WAV, invariants_hold
from tests.support.procfs import resident_bytes
from tests.support.raw import MULTIPART_HEAD, RawAnswer, connect, framed

PIECE = 64 * 1024
FRAMINGS = ("Content-Length", "chunked")
FIELD = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n'
TAIL = b"\r\n--b--\r\n"
WHOLE = framed(GOOD_WAV, "multipart")
UNFINISHED = MULTIPART_HEAD + GOOD_WAV


def file_part(*headers: str) -> bytes:
    lines = ['Content-Disposition: form-data; name="f"; filename="a.wav"', *headers]
    return b"--b\r\n" + "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + GOOD_WAV


BROKEN = {
    "nothing": (b"", "malformed_multipart"),
    "no boundary in it": (b"garbage\r\n" * 10, "malformed_multipart"),
    "no final boundary": (UNFINISHED, "malformed_multipart"),
    "half a final boundary": (UNFINISHED + b"\r\n--", "malformed_multipart"),
    "another final boundary": (UNFINISHED + b"\r\n--c--\r\n", "malformed_multipart"),
    "a boundary that ends no form": (UNFINISHED + b"\r\n--b\r\n", "malformed_multipart"),
    "two files": (UNFINISHED + b"\r\n" + WHOLE, "second_file"),
    "a second file that is empty": (UNFINISHED + b"\r\n" + MULTIPART_HEAD + TAIL, "second_file"),
    "10,000 tiny parts": ((FIELD + b"1\r\n") * 10_000 + WHOLE, "too_many_fields"),
    "10,000 tiny parts after the file": (UNFINISHED + b"\r\n" + (FIELD + b"1\r\n") * 10_000, "too_many_fields"),
    "a field of 20 kB": (FIELD + bytes(20_000) + b"\r\n" + WHOLE, "field_too_long"),
    "129 headers": (file_part(*(f"X{number}: y" for number in range(128))) + TAIL, "malformed_multipart"),
    "a header of 10 kB": (file_part("X: " + "y" * 10_000) + TAIL, "malformed_multipart"),
    "a header without a colon": (file_part("no colon") + TAIL, "malformed_multipart"),
    "base64": (file_part("Content-Transfer-Encoding: base64") + TAIL, "transfer_encoded"),
    "quoted-printable": (file_part("Content-Transfer-Encoding: quoted-printable") + TAIL, "transfer_encoded"),
    "a form in the form": (
        b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\n" + GOOD_WAV + b"\r\n--c--\r\n--b--\r\n",
        "nested_multipart",
    ),
}


def head(account: Account, length: int | None, boundary: str = "b") -> bytes:
    """Return the head of a form; if it has no length, its body is chunked."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return (
        f"POST /records HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {account.token}\r\n{framing}\r\n"
        f"Content-Type: multipart/form-data; boundary={boundary}\r\n\r\n"
    ).encode()


def chunked(pieces: Iterable[bytes]) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece) + b"0\r\n\r\n"


async def send_form(
    service: Service, account: Account, body: bytes, framing: str = "Content-Length", boundary: str = "b"
) -> RawAnswer:
    async with connect(service) as client:
        if framing == "chunked":
            pieces = (body[start : start + 5000] for start in range(0, len(body), 5000))
            await client.send(head(account, None, boundary) + chunked(pieces))
        else:
            await client.send(head(account, len(body), boundary) + body)
        return await client.answer()


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("kind", BROKEN)
async def test_broken_form_is_400_with_its_code(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture, kind: str, framing: str
) -> None:
    body, code = BROKEN[kind]
    async with invariants_hold(service, caplog):
        answer = await send_form(service, account, body, framing)
        assert (answer.status, answer.json["code"]) == (400, code)
        assert not service.files()


@pytest.mark.parametrize(("boundary", "status"), [("b" * 70, 201), ("b" * 71, 400), ("b" * 5000, 400), ('"b b"', 201)])
async def test_boundary_has_1_to_70_characters(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture, boundary: str, status: int
) -> None:
    body = WHOLE.replace(b"--b", b"--" + boundary.strip('"').encode())
    async with invariants_hold(service, caplog):
        assert (await send_form(service, account, body, boundary=boundary)).status == status


async def test_fields_may_stand_before_and_after_the_file(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    field = FIELD + b"1\r\n"
    async with invariants_hold(service, caplog):
        for framing in FRAMINGS:
            body = field * 20 + UNFINISHED + b"\r\n" + field * 20 + b"--b--\r\n"
            assert (await send_form(service, account, body, framing)).status == 201, framing
            with_preamble = b"This is a form.\r\n" + WHOLE + b"Here it ends.\r\n"
            assert (await send_form(service, account, with_preamble, framing)).status == 201, framing


async def test_file_part_may_have_many_headers(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    async with invariants_hold(service, caplog):
        body = file_part(*(f"X{number}: y" for number in range(100))) + TAIL
        assert (await send_form(service, account, body)).status == 201


BOUNDARIES = [*range(1, 8), *range(len(WHOLE) - len(TAIL) - 2, len(WHOLE))]
ENVELOPE = [*range(1, len(MULTIPART_HEAD) + 8), *range(len(WHOLE) - len(TAIL) - 8, len(WHOLE))]


@pytest.mark.parametrize("offsets", [BOUNDARIES, pytest.param(ENVELOPE, marks=pytest.mark.long)], ids=len)
async def test_boundary_may_be_split_over_chunks_at_every_offset(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture, offsets: list[int]
) -> None:
    async with invariants_hold(service, caplog):
        answers = []
        async with connect(service) as client:
            for offset in offsets:
                await client.send(head(account, None) + b"%x\r\n%s\r\n" % (offset, WHOLE[:offset]))
                await asyncio.sleep(0.002)  # so that the service reads it separately from what follows
                await client.send(chunked([WHOLE[offset:]]))
                answers.append(await client.answer())
        assert {answer.status for answer in answers} == {201}
        assert len({answer.json["sha256"] for answer in answers}) == 1


async def test_form_may_come_byte_by_byte(service: Service, account: Account, caplog: pytest.LogCaptureFixture) -> None:
    wav = wavs.wav(wavs.chirp(100, 8000, 1), sample_rate=8000, channels=1)
    form = framed(wav, "multipart")
    async with invariants_hold(service, caplog), connect(service) as client:
        await client.send(head(account, None) + chunked(bytes([byte]) for byte in form))
        assert (await client.answer()).status == 201


async def test_boundary_look_alikes_are_sound(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    samples = b"\r\n--a\r\n--\r\n-b--\n--b--\r--b\r\r\n-" * 2000
    wav = wavs.wav(samples[: len(samples) // 2 * 2], sample_rate=44100, channels=1)
    async with invariants_hold(service, caplog):
        raw = await service.upload(account, wav)
        for framing in FRAMINGS:
            answer = await send_form(service, account, framed(wav, "multipart"), framing)
            assert (answer.status, answer.json["sha256"]) == (201, raw.json["sha256"]), framing


ENDLESS = {
    "preamble of short lines": (b"", b"x\r\n" * 20_000),
    "preamble of one line": (b"", bytes(PIECE)),
    "header lines": (b"--b\r\n", b"X: y\r\n" * 10_000),
    "header line": (b"--b\r\nX: ", b"y" * PIECE),
    "field": (FIELD, bytes(PIECE)),
    "field of lines": (FIELD, b"\r\n" * 30_000),
    "fields": (b"", (FIELD + b"1\r\n") * 1000),
    "fields after the file": (UNFINISHED + b"\r\n", (FIELD + b"1\r\n") * 1000),
    "header line after the file": (UNFINISHED + b"\r\n--b\r\nX: ", b"y" * PIECE),
    "epilogue": (WHOLE, b"x\r\n" * 20_000),
}


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("kind", ENDLESS)
async def test_endless_envelope_is_refused_in_bounded_memory(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture, kind: str, framing: str
) -> None:
    start, piece = ENDLESS[kind]
    async with invariants_hold(service, caplog), memory_bounded():
        async with connect(service) as client:
            length = 50_000_000 if framing == "Content-Length" else None
            sending = asyncio.create_task(
                send_pieces(client.writer, head(account, length), start, piece, is_chunked=length is None)
            )
            answer = await client.answer()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        assert answer.status == 400
        assert answer.json["code"] in {"malformed_multipart", "too_many_fields", "field_too_long"}
        assert not service.files()


async def send_pieces(
    writer: asyncio.StreamWriter, head: bytes, start: bytes, piece: bytes, *, is_chunked: bool
) -> None:
    """Send at most 50 MB, until the service closes the connection."""
    writer.write(head)
    with contextlib.suppress(ConnectionError):
        for content in itertools.chain([start] if start else [], itertools.repeat(piece, 50_000_000 // len(piece) - 1)):
            writer.write(b"%x\r\n%s\r\n" % (len(content), content) if is_chunked else content)
            await writer.drain()


@contextlib.asynccontextmanager
async def memory_bounded(limit_bytes: int = 10 * 2**20) -> AsyncIterator[None]:
    """Check that this process, which includes the clients, never grows by more than that during the block."""
    gc.collect()
    before = peak = resident_bytes(os.getpid())

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, resident_bytes(os.getpid()))
            await asyncio.sleep(0.005)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
    assert peak - before < limit_bytes


async def test_endless_trailers_and_chunk_extensions_end_in_bounded_memory(
    start_service: StartService, caplog: pytest.LogCaptureFixture
) -> None:
    service = await start_service(stall_seconds=1)
    account = await service.create_user()
    chunks = b"%x\r\n%s\r\n" % (len(WHOLE), WHOLE)
    async with invariants_hold(service, caplog), memory_bounded():
        for start, piece in ((chunks + b"0\r\n", b"X: y\r\n" * 10_000), (b"5;x=", b"y" * PIECE)):
            async with connect(service) as client:
                sending = asyncio.create_task(
                    send_pieces(client.writer, head(account, None), start, piece, is_chunked=False)
                )
                with contextlib.suppress(ConnectionError):
                    assert (await client.answer()).status in {400, 408}
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
        assert not service.files()
