"""ffmpeg is missing, dies, hangs, gives up, floods or runs out of memory: the refusal is clear, and nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from tests.support import procfs, wavs
from tests.support.client import EVERY_TRANSPORT, Account, Service, StartService, Transport
from tests.support.ffmpegs import ENCODE_FLOATS, least_kibibytes, lend_ffmpeg, limited
from tests.support.invariants import invariants_hold
from tests.support.procfs import executable_of
from tests.support.raw import RawAnswer, RawClient, connect, framed, request_head
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


FAKE = Path(__file__).parents[1] / "support" / "fakes" / "ffmpeg"
TALK = wavs.wav(wavs.chirp(44_100 * 5, 44_100, 2), sample_rate=44_100, channels=2)
# All of it fits into the pipe to ffmpeg, so the service notices only at the end that ffmpeg is gone.
TINY = wavs.wav(wavs.chirp(4_410, 44_100, 1), sample_rate=44_100, channels=1)
FLOAT = wavs.wav(wavs.chirp(44_100, 44_100, 1), sample_rate=44_100, channels=1, sample_format=wavs.F32)
STALL_SECONDS = 2.0

every_transport = pytest.mark.parametrize("transport", EVERY_TRANSPORT)


class SwappedFfmpeg:
    """The ffmpeg of a running service: a path at which a test can put different programs."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "ffmpeg"
        lend_ffmpeg(directory / "real")
        self._directory = directory
        self.is_well()

    def is_well(self) -> None:
        self.runs(f'exec "{self._directory}/real" "$@"')

    def misbehaves(self, behaviour: str) -> None:
        """Run tests/support/fakes/ffmpeg under that name, which chooses its behaviour."""
        shutil.copy2(FAKE, self._directory / behaviour)
        self.runs(f'exec "{self._directory}/{behaviour}" "$@"')

    def runs(self, script: str) -> None:
        """Run a shell script; `"$real"` is the real ffmpeg."""
        draft = self.path.with_suffix(".draft")
        draft.write_text(f"#!/bin/sh\nreal='{self._directory}/real'\n{script}\n")
        draft.chmod(0o755)
        draft.rename(self.path)

    def is_missing(self) -> None:
        self.path.unlink()

    def is_not_executable(self) -> None:
        self.path.chmod(0o644)

    def is_no_program(self) -> None:
        self.path.write_bytes(b"\x7fELF, or so it says")


class Fault:
    """A service whose ffmpeg a test can swap, and a user of that service."""

    def __init__(self, service: Service, account: Account, ffmpeg: SwappedFfmpeg) -> None:
        self.service, self.account, self.ffmpeg = service, account, ffmpeg

    @classmethod
    async def prepare(cls, start_service: StartService, directory: Path) -> Self:
        ffmpeg = SwappedFfmpeg(directory)
        service = await start_service(ffmpeg=ffmpeg.path, stall_seconds=STALL_SECONDS)
        return cls(service, await service.create_user(), ffmpeg)

    @contextlib.asynccontextmanager
    async def over(self, caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
        """Check that the block keeps no file, and that the invariants hold after it, with a working ffmpeg."""
        async with invariants_hold(self.service, caplog, errors_logged=True):
            yield
            assert not self.service.files()
            self.ffmpeg.is_well()


@pytest.fixture
async def fault(start_service: StartService, tmp_path: Path) -> Fault:
    (tmp_path / "bin").mkdir()
    return await Fault.prepare(start_service, tmp_path / "bin")


def encoders() -> list[int]:
    """Return this process's ffmpegs, without those that are still prlimit or a shell."""
    return [pid for pid in procfs.encoders(os.getpid()) if executable_of(pid).endswith("/real")]


async def the_encoder() -> int:
    """Wait for the one encoder that runs."""
    await until(lambda: len(encoders()) == 1)
    return encoders()[0]


@contextlib.asynccontextmanager
async def part_of_upload(
    fault: Fault, transport: Transport, wav: bytes, share: float
) -> AsyncIterator[tuple[RawClient, bytes]]:
    """Send that share of an upload; yield the client and the rest."""
    body = framed(wav, transport)
    end = int(len(body) * share)
    async with connect(fault.service) as client:
        await client.send(request_head(fault.account, transport, len(wav)) + body[:end])
        yield client, body[end:]


async def answer_to(client: RawClient, rest: bytes) -> RawAnswer:
    """Send the rest as a client does that reads the answer only afterwards, or once it cannot send any more."""
    with contextlib.suppress(ConnectionError):
        for start in range(0, len(rest), 20_000):
            await client.send(rest[start : start + 20_000])
    return await client.answer()


def assert_refused(answer: RawAnswer, code: str) -> None:
    assert (answer.status, answer.json["code"]) == (503, code)
    assert int(answer.headers["retry-after"]) > 0


async def refused(fault: Fault, wav: bytes, transport: Transport = "raw") -> str:
    """Upload and return the code of the 503, which must come in time."""
    async with asyncio.timeout(10):
        answer = await fault.service.upload(fault.account, wav, transport=transport)
    assert answer.status == 503, answer
    assert int(answer.headers["Retry-After"]) > 0
    return str(answer.json["code"])


@pytest.mark.parametrize(("transport", "wav"), [("raw", TINY), *((each, TALK) for each in EVERY_TRANSPORT)])
@pytest.mark.parametrize("state", ["missing", "not_executable", "no_program"])
async def test_ffmpeg_that_cannot_be_started_is_encoder_unavailable(
    fault: Fault, caplog: pytest.LogCaptureFixture, state: str, transport: Transport, wav: bytes
) -> None:
    async with fault.over(caplog):
        getattr(fault.ffmpeg, f"is_{state}")()
        assert await refused(fault, wav, transport) == "encoder_unavailable"


@every_transport
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
async def test_killed_ffmpeg_is_encoder_failed(
    fault: Fault, caplog: pytest.LogCaptureFixture, share: float, transport: Transport
) -> None:
    async with fault.over(caplog), part_of_upload(fault, transport, TALK, share) as (client, rest):
        os.kill(await the_encoder(), signal.SIGKILL)
        async with asyncio.timeout(10):
            assert_refused(await answer_to(client, rest), "encoder_failed")


@every_transport
@pytest.mark.parametrize("share", [0.1, 0.999])
async def test_stopped_ffmpeg_is_ended_by_the_watchdog(
    fault: Fault, caplog: pytest.LogCaptureFixture, share: float, transport: Transport
) -> None:
    clock = asyncio.get_running_loop().time
    async with fault.over(caplog), part_of_upload(fault, transport, TALK, share) as (client, rest):
        pid = await the_encoder()
        os.kill(pid, signal.SIGSTOP)
        stopped = clock()
        async with asyncio.timeout(10):
            assert_refused(await answer_to(client, rest), "encoder_failed")
        assert STALL_SECONDS * 0.9 <= clock() - stopped <= STALL_SECONDS * 2 + 1
        assert not procfs.read(pid, "cmdline")


async def test_stopped_ffmpeg_harms_no_other_upload(fault: Fault, caplog: pytest.LogCaptureFixture) -> None:
    async with invariants_hold(fault.service, caplog, errors_logged=True):
        async with part_of_upload(fault, "raw", TALK, 0.1) as (client, rest):
            os.kill(await the_encoder(), signal.SIGSTOP)
            others = [fault.service.upload(fault.account, TALK, transport=transport) for transport in EVERY_TRANSPORT]
            hanging = asyncio.create_task(answer_to(client, rest))
            assert [answer.status for answer in await asyncio.gather(*others)] == [201] * 4
            assert_refused(await hanging, "encoder_failed")
        assert len(fault.service.files()) == 4


@every_transport
@pytest.mark.parametrize(
    ("behaviour", "wav"),
    [(each, TALK) for each in ("exits-0", "exits-1", "dies", "silent", "short", "floods")]
    + [(each, TINY) for each in ("exits-0", "exits-1", "silent", "floods")],
)
async def test_ffmpeg_that_ends_by_itself_is_encoder_failed(
    fault: Fault, caplog: pytest.LogCaptureFixture, behaviour: str, transport: Transport, wav: bytes
) -> None:
    async with fault.over(caplog):
        fault.ffmpeg.misbehaves(behaviour)
        assert await refused(fault, wav, transport) == "encoder_failed"


@pytest.mark.parametrize("behaviour", ["exits-0", "exits-1"])
async def test_early_end_is_answered_while_the_client_still_sends(
    fault: Fault, caplog: pytest.LogCaptureFixture, behaviour: str
) -> None:
    """The client reads the answer although a tenth of its body has not been sent."""
    async with fault.over(caplog):
        fault.ffmpeg.misbehaves(behaviour)
        async with part_of_upload(fault, "raw", TALK, 0.9) as (client, _), asyncio.timeout(STALL_SECONDS / 2):
            answer = await client.answer()
        assert_refused(answer, "encoder_failed")
        assert answer.headers["connection"] == "close"


async def test_ten_megabytes_of_complaints_do_not_stop_an_upload_that_goes_well(
    fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    async with invariants_hold(fault.service, caplog):
        fault.ffmpeg.runs('head -c 10000000 /dev/zero >&2; exec "$real" "$@"')
        assert (await fault.service.upload(fault.account, TALK)).status == 201
        fault.ffmpeg.is_well()


# ffmpegs differ in what they need: 6 MB or 300.
@pytest.mark.parametrize("share", [-0.5, 0.2, 0.6], ids=["cannot_begin", "cannot_open", "cannot_go_on"])
@pytest.mark.parametrize("wav", [TINY, TALK, FLOAT], ids=["tiny", "talk", "float"])
async def test_ffmpeg_out_of_memory_is_not_the_uploads_fault(
    fault: Fault, caplog: pytest.LogCaptureFixture, share: float, wav: bytes
) -> None:
    to_start = await asyncio.to_thread(least_kibibytes, "-version")
    to_encode = await asyncio.to_thread(least_kibibytes, *ENCODE_FLOATS)
    kibibytes = int(to_start + share * (to_encode - to_start if share > 0 else to_start))
    async with fault.over(caplog):
        fault.ffmpeg.runs(f'{limited(kibibytes)}; exec "$real" "$@"')
        assert await refused(fault, wav) in {"encoder_failed", "encoder_unavailable"}


async def test_out_of_memory_in_the_codec_is_distinguished_from_samples_that_are_not_numbers(
    fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    """ffmpeg exits with the same status for both; only its message differs."""
    async with fault.over(caplog):
        fault.ffmpeg.runs("cat >/dev/null; echo 'Error opening output: Cannot allocate memory' >&2; exit 244")
        assert await refused(fault, FLOAT) == "encoder_failed"


async def test_clients_that_hang_up_on_a_stopped_ffmpeg_leave_nothing(
    fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    async with fault.over(caplog), part_of_upload(fault, "raw", TALK, 0.1) as (client, _):
        os.kill(await the_encoder(), signal.SIGSTOP)
        client.reset()
