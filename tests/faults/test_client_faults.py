"""Clients that leave, stall or trickle: each is told so if it can be, and nothing of the upload stays."""

import asyncio

import pytest

from service.web.app_keys import ADMISSION
from tests.support import wavs
from tests.support.client import TRANSPORTS, Account, Service, StartService, Transport
from tests.support.invariants import invariants_hold, logged_requests
from tests.support.procfs import children
from tests.support.raw import MULTIPART_TAIL, RawAnswer, RawClient, connect, framed, request_head
from tests.support.waiting import until

WAV = wavs.wav(wavs.chirp(44100 * 5, 44100, 2), sample_rate=44100, channels=2)
SHORT_WAV = wavs.wav(wavs.chirp(25_000, 44100, 1), sample_rate=44100, channels=1)
POINTS = ("nothing", "one byte", "in the header", "half", "all but one byte")
ENDINGS = ("FIN", "RST", "half-close")
STALL_SECONDS = 4.0
# A loaded machine may notice a limit so much later; the default limit is 30 seconds.
LATE_SECONDS = 10.0


def cut(transport: Transport, point: str) -> bytes:
    """Return the beginning of an upload's body, up to that point of its WAV."""
    body = framed(WAV, transport)
    start = body.index(b"RIFF")
    ends = {"nothing": 0, "one byte": start + 1, "in the header": start + 20, "half": len(body) // 2}
    return body[: ends.get(point, len(body) - 1)]


async def send_part(client: RawClient, service: Service, head: bytes, body: bytes) -> None:
    """Send the beginning of an upload and wait until the service has done everything that it can do with it."""
    client.writer.transport.set_write_buffer_limits(0)
    before = children()
    await client.send(head + body)
    await until(lambda: service.app[ADMISSION].running)
    if len(body) > 100_000:
        await until(lambda: children() > before)
    await asyncio.sleep(0.05)


async def leave(client: RawClient, ending: str) -> None:
    if ending == "FIN":
        await client.close()
    elif ending == "RST":
        client.reset()
    else:
        client.writer.write_eof()
        async with asyncio.timeout(10):
            assert await client.is_closed_by_service()


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("ending", ENDINGS)
async def test_client_that_leaves_before_the_end_leaves_nothing_behind(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture, ending: str, transport: Transport
) -> None:
    seconds = []
    for point in POINTS:
        async with invariants_hold(service, caplog):
            seconds.append(await leave_early(service, account, transport, point, ending))
            await until(logged_requests)
            (line,) = logged_requests()
            assert (line["status"], line["log_level"]) == (499, "info"), point
    # The best of the last two, which have an encoder, because other programs of this machine may slow down one of them.
    assert min(seconds[-2:]) < 1


async def leave_early(service: Service, account: Account, transport: Transport, point: str, ending: str) -> float:
    """Leave in the middle of an upload, which keeps no file; return the seconds until its encoder has ended."""
    before, files, clock = children(), service.files(), asyncio.get_running_loop().time
    async with connect(service) as client:
        await send_part(client, service, request_head(account, transport, len(WAV)), cut(transport, point))
        left_at = clock()
        await leave(client, ending)
        await until(lambda: children() == before)
        seconds = clock() - left_at
    assert service.files() == files, point
    return seconds


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("ending", ENDINGS)
async def test_client_that_leaves_after_its_last_byte_has_a_whole_record_or_none(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture, ending: str, transport: Transport
) -> None:
    async with invariants_hold(service, caplog):
        for milliseconds in (0, 5, 15, 30, 60, 120):
            async with connect(service) as client:
                await client.send(request_head(account, transport, len(SHORT_WAV)) + framed(SHORT_WAV, transport))
                await asyncio.sleep(milliseconds / 1000)
                await leave_at_once(client, ending)
        await until(lambda: len(logged_requests()) == 6)
        assert {line["status"] for line in logged_requests()} <= {201, 499}
        kept = [line for line in logged_requests() if line["status"] == 201]
        assert len(service.files()) == len(kept)


async def leave_at_once(client: RawClient, ending: str) -> None:
    if ending == "half-close":
        client.writer.write_eof()
        return
    await leave(client, ending)


@pytest.fixture
async def impatient(start_service: StartService) -> Service:
    """A service whose stall limit is short enough for a test, but 10 % of it exceeds a busy machine's delays."""
    return await start_service(stall_seconds=STALL_SECONDS)


def stalls() -> dict[str, dict[Transport, bytes]]:
    """Return what a client sends before it stalls, by phase and transport; the last byte must be one that counts."""
    phases: dict[str, dict[Transport, bytes]] = {
        phase: {transport: cut(transport, point) for transport in TRANSPORTS}
        for phase, point in (
            ("before the first byte", "nothing"),
            ("in the header", "in the header"),
            ("in the samples", "half"),
        )
    }
    whole = framed(WAV, "multipart").removesuffix(MULTIPART_TAIL)
    phases["after the file"] = {
        "multipart": whole + b"\r\n--b\r\n",
        "chunked": framed(WAV, "chunked").removesuffix(b"\r\n0\r\n\r\n"),
    }
    return phases


async def stalled(service: Service, account: Account, transport: Transport, body: bytes) -> tuple[RawAnswer, float]:
    """Send that much and then stall; return the answer and the seconds from the last byte to it."""
    content = request_head(account, transport, len(WAV) + 1000) + body
    async with connect(service) as client:
        await client.send(content[:-1])
        await asyncio.sleep(0.5)  # because the encoder's start is not the client's stall
        await client.send(content[-1:])
        started = asyncio.get_running_loop().time()
        return await client.answer(), asyncio.get_running_loop().time() - started


@pytest.mark.parametrize("phase", stalls())
async def test_client_that_stalls_is_told_so_at_the_limit(
    impatient: Service, caplog: pytest.LogCaptureFixture, phase: str
) -> None:
    account = await impatient.create_user()
    bodies = stalls()[phase]
    async with invariants_hold(impatient, caplog):
        results = await asyncio.gather(*(stalled(impatient, account, *item) for item in bodies.items()))
        for transport, (answer, seconds) in zip(bodies, results, strict=True):
            assert (answer.status, answer.json["code"]) == (408, "stalled_body"), transport
            assert answer.headers["connection"] == "close", transport
            assert 0.9 * STALL_SECONDS < seconds < STALL_SECONDS + LATE_SECONDS, transport
        assert not impatient.files()


async def trickled(service: Service, account: Account, transport: Transport, point: str) -> tuple[RawAnswer, float]:
    """Send everything up to that point and then a byte a second; return the answer and the seconds until it came."""
    sent, whole = cut(transport, point), framed(WAV, transport)
    async with connect(service) as client:
        await client.send(request_head(account, transport, len(WAV)) + sent)
        started = asyncio.get_running_loop().time()
        answer = asyncio.create_task(client.answer())
        for byte in whole[len(sent) :]:
            if (await asyncio.wait({answer}, timeout=1))[0]:
                break
            await client.send(bytes([byte]))
        return await answer, asyncio.get_running_loop().time() - started


@pytest.mark.parametrize("point", ["in the header", "half"])
async def test_client_that_sends_a_byte_a_second_is_too_slow(
    impatient: Service, caplog: pytest.LogCaptureFixture, point: str
) -> None:
    account = await impatient.create_user()
    async with invariants_hold(impatient, caplog):
        results = await asyncio.gather(*(trickled(impatient, account, each, point) for each in TRANSPORTS))
        for transport, (answer, seconds) in zip(TRANSPORTS, results, strict=True):
            assert (answer.status, answer.json["code"]) == (408, "slow_body"), transport
            # The service judges it at the first byte after each stretch of the limit; fast bytes excuse one stretch.
            assert STALL_SECONDS < seconds < 2 * STALL_SECONDS + LATE_SECONDS, transport
        assert not impatient.files()


async def steadily_sent(service: Service, account: Account, transport: Transport, seconds: float) -> RawAnswer:
    """Send a WAV evenly over so many seconds."""
    body, steps = framed(SHORT_WAV, transport), 100
    step = -(-len(body) // steps)
    async with connect(service) as client:
        await client.send(request_head(account, transport, len(SHORT_WAV)))
        for start in range(0, len(body), step):
            await asyncio.sleep(seconds / steps)
            await client.send(body[start : start + step])
        return await client.answer()


async def test_slow_and_steady_upload_may_take_ten_times_the_stall_limit(
    start_service: StartService, caplog: pytest.LogCaptureFixture
) -> None:
    service = await start_service(stall_seconds=1)
    account = await service.create_user()
    async with invariants_hold(service, caplog):
        uploads = (steadily_sent(service, account, transport, seconds=10) for transport in TRANSPORTS)
        for transport, answer in zip(TRANSPORTS, await asyncio.gather(*uploads), strict=True):
            assert answer.status == 201, transport
            assert answer.json["duration"] == pytest.approx(25_000 / 44100), transport
