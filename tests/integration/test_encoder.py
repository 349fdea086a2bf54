"""The encoder with real ffmpeg, and with a fake one that misbehaves in every way that we know."""

from __future__ import annotations

import asyncio
import errno
import functools
import gc
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import tracemalloc
from contextlib import AbstractContextManager, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from service.audio import mp3, native, sealing, starting
from service.audio.confinement import Confinement
from service.audio.encoder import Encoder, mp3_tag
from service.audio.ffmpeg_command import readable_by
from service.audio.id3 import id3_tag
from service.audio.info_frame import expected_size
from service.audio.mp3 import Mp3Format
from service.audio.mp3_length import Mp3Length
from service.audio.spawner import Spawner
from service.audio.wav import WavReader
from service.audio.wav_tags import WavTags
from service.errors import ServiceError, StorageFull, Unavailable, Unprocessable
from tests.support.ffmpegs import FFMPEG, every_ffmpeg, lend_ffmpeg, native_library
from tests.support.mp3s import assert_sounds_like, decode, info_header
from tests.support.procfs import children, descriptors, executable_of, read, running, stat
from tests.support.programs import python
from tests.support.waiting import until
from tests.support.wavs import CHANNEL_MASKS, F32, F64, S16, SampleFormat, bext_chunk, chirp, info_chunk, wav

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from service.audio.wav_header import WavHeader

FAKE = Path(__file__).parents[1] / "support" / "fakes" / "ffmpeg"

PIECE_BYTES = 10_007
# Far longer than anything here takes unless it hangs, and far shorter than the time limit of a test.
SOON_SECONDS = 30.0

SECOND = wav(chirp(44_100, 44_100, 2), sample_rate=44_100, channels=2)
MINUTE = wav(bytes(60 * 44_100 * 4), sample_rate=44_100, channels=2)


@pytest.fixture(autouse=True)
async def nothing_left() -> AsyncIterator[None]:
    """Check that each test leaves no process, zombie, descriptor or task, and no complaint of asyncio."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    gc.collect()  # what other tests of this process have left must not count here
    complaints.clear()
    descriptors_before, children_before = descriptors(), children()
    yield
    gc.collect(1)  # this test's objects are young, and a full collection takes longer than the test
    assert asyncio.all_tasks() == {asyncio.current_task()}
    # Fewer than before are allowed: an idle connection of another test may end at any time.
    assert descriptors() - descriptors_before == set()
    assert children() - children_before == set()
    assert complaints == []


@pytest.fixture
def draft(tmp_path: Path) -> Iterator[int]:
    with nameless_file(tmp_path) as descriptor:
        yield descriptor


@contextmanager
def nameless_file(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def named_file(directory: Path) -> Iterator[int]:
    with tempfile.TemporaryFile(dir=directory) as file:
        yield file.fileno()


@contextmanager
def full_device(_directory: Path) -> Iterator[int]:
    with Path("/dev/full").open("r+b", buffering=0) as device:
        yield device.fileno()


def disk_of(size: str) -> Callable[[Path], AbstractContextManager[int]]:
    """Return a function that opens a file on a disk with so much room."""

    @contextmanager
    def file_on_disk(directory: Path) -> Iterator[int]:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(directory)]
        if subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("only root may mount a small disk")
        try:
            with nameless_file(directory) as descriptor:
                yield descriptor
        finally:
            unmount = ["umount", str(directory)]
            subprocess.run(unmount, check=True)

    return file_on_disk


def encoder(ffmpeg: str = FFMPEG, *, stall_seconds: float = SOON_SECONDS) -> Encoder:
    return Encoder(ffmpeg, max_duration_seconds=3600, stall_seconds=stall_seconds, spawner=spawner(ffmpeg))


@functools.cache
def spawner(ffmpeg: str) -> Spawner:
    """Return one that lets its ffmpegs write below the directory of all temporary files, where drafts are here."""
    return Spawner(Confinement(readable_by(ffmpeg), (Path(tempfile.gettempdir()), Path("/dev/full"))))


def fake(directory: Path, behaviour: str) -> str:
    (directory / "bin").mkdir()
    shutil.copy2(FAKE, directory / "bin" / behaviour)
    lend_ffmpeg(directory / "bin" / "real")
    return str(directory / "bin" / behaviour)


def split(wav: bytes) -> tuple[WavHeader, bytes]:
    """Return the header and the samples of a WAV."""
    reader = WavReader()
    samples = reader.feed(wav)
    assert reader.header is not None
    return reader.header, samples


def target_of(source: WavHeader) -> Mp3Format:
    rate = mp3.output_rate(source.sample_rate)
    return Mp3Format(rate, channels=min(source.channels, 2), bit_rate=min(128_000, mp3.bit_rates(rate)[-1]))


async def encode(encoder: Encoder, wav: bytes, draft: int, *, sample_count: int | None = None) -> bytes:
    """Encode a WAV piece by piece into the draft and return the MP3."""
    source, samples = split(wav)
    if sample_count is None:
        sample_count = len(samples) // source.block_align
    async with encoder.open(source, target_of(source), draft, mp3_tag(source, "talk.wav")) as encoding:
        size = PIECE_BYTES // source.block_align * source.block_align
        for start in range(0, len(samples), size):
            await encoding.write(samples[start : start + size])
        await encoding.finish(sample_count)
    return os.pread(draft, os.fstat(draft).st_size, 0)


async def refusal_of(encoder: Encoder, wav: bytes, draft: int, *, sample_count: int | None = None) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        async with asyncio.timeout(SOON_SECONDS):
            await encode(encoder, wav, draft, sample_count=sample_count)
    return caught.value


async def started(executable: str, *, by: int | None = None) -> int:
    """Wait for the child that runs that executable, and return its pid."""

    def found() -> list[int]:
        return [pid for pid in children(by) if executable_of(pid) == str(Path(executable).resolve())]

    await until(found)
    return found()[0]


def is_reaped(pid: int) -> bool:
    return not stat(pid)


@every_ffmpeg
@pytest.mark.parametrize("file", [nameless_file, named_file])
async def test_pieces_become_the_mp3_of_all_samples(
    tmp_path: Path, ffmpeg: str, file: Callable[[Path], AbstractContextManager[int]]
) -> None:
    samples = chirp(100_001, 44_100, 2)
    with file(tmp_path) as draft:
        found = await encode(encoder(ffmpeg), wav(samples, sample_rate=44_100, channels=2), draft)
    assert_sounds_like(found, samples, 44_100)
    info = info_header(found)
    assert info.sample_count == 100_001
    assert info.has_valid_crc
    assert info.audio_offset + mp3.audio_byte_count(info.frame_count, Mp3Format(44_100, 2, 128_000)) == len(found)


@every_ffmpeg
@pytest.mark.parametrize(
    "rate",
    [1_000, 1_001, 5_512, 6_000, 8_000, 8_001, 11_025, 22_050, 37_800, 48_000, 96_000, 192_000, 384_000, 768_000],
)
async def test_info_header_is_right_at_every_kind_of_rate(draft: int, ffmpeg: str, rate: int) -> None:
    samples = chirp(rate + 1, rate, 1)
    found = await encode(encoder(ffmpeg), wav(samples, sample_rate=rate, channels=1), draft)
    assert_sounds_like(found, samples, rate)
    assert info_header(found).sample_count == mp3.resampled_count(rate + 1, rate, mp3.output_rate(rate))
    assert info_header(found).has_valid_crc


@every_ffmpeg
@pytest.mark.parametrize("beyond_frames", [-80, -40, -1, 0, 1])
async def test_resampled_sound_is_whole_about_the_end_of_a_frame(draft: int, ffmpeg: str, beyond_frames: int) -> None:
    samples = chirp(2 * (20 * 1152 + beyond_frames), 96_000, 2)
    found = await encode(encoder(ffmpeg), wav(samples, sample_rate=96_000, channels=2), draft)
    assert_sounds_like(found, samples, 96_000)
    assert info_header(found).sample_count == 20 * 1152 + beyond_frames


@every_ffmpeg
@pytest.mark.parametrize("rate", [1_000, 3_000, 7_999, 250_000, 256_000, 500_000, 705_600, 768_000])
async def test_short_sound_of_the_strangest_rates_is_whole(tmp_path: Path, ffmpeg: str, rate: int) -> None:
    for sample_count in (1, 20, 99, rate // 10 + 1):
        with nameless_file(tmp_path) as draft:
            samples = chirp(sample_count, rate, 1)
            found = await encode(encoder(ffmpeg), wav(samples, sample_rate=rate, channels=1), draft)
        heard = mp3.resampled_count(sample_count, rate, mp3.output_rate(rate))
        assert info_header(found).sample_count == (heard if rate > 32_000 else max(heard, 47))


@every_ffmpeg
@pytest.mark.parametrize("sample_format", [S16, F32], ids=str)
@pytest.mark.parametrize("channels", [9, 10, 17, 32])
async def test_more_than_eight_channels_go_left_and_right_in_turn(
    draft: int, ffmpeg: str, channels: int, sample_format: SampleFormat
) -> None:
    samples = chirp(30_000, 48_000, channels)
    source = wav(samples, sample_rate=48_000, channels=channels, sample_format=sample_format)
    found = await encode(encoder(ffmpeg), source, draft)
    sides = np.stack([samples[:, side::2].mean(axis=1) for side in (0, 1)], axis=1)
    assert_sounds_like(found, sides, 48_000)


@every_ffmpeg
async def test_each_of_many_channels_is_heard_on_its_side(tmp_path: Path, ffmpeg: str) -> None:
    for channel in range(9):
        samples = np.zeros((9_000, 9))
        samples[:, channel] = chirp(9_000, 48_000, 1)[:, 0]
        with nameless_file(tmp_path) as draft:
            found = await encode(encoder(ffmpeg), wav(samples, sample_rate=48_000, channels=9), draft)
        loud = np.abs(decode(found)).max(axis=0) > 0.05
        assert list(loud) == [channel % 2 == 0, channel % 2 == 1]


@pytest.fixture(params=["tools", "library"])
def library(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Have ffmpegs started by util-linux' tools, or by the native library; return where that is, or is not."""
    with native_library(tmp_path, is_there=request.param == "library"):
        yield native.library_path()


@pytest.mark.usefixtures("library")
async def test_ffmpeg_runs_inside_its_limits(draft: int) -> None:
    source, _ = split(SECOND)
    async with encoder().open(source, target_of(source), draft, mp3_tag(source, "talk.wav")):
        pid = await started(FFMPEG)
        limits = read(pid, "limits")
        assert limit(limits, "Max cpu time") == ["3600", "3600"]
        assert limit(limits, "Max file size") == [str(3600 * 16_000 + 2**20)] * 2
        assert limit(limits, "Max open files") == ["64", "64"]
        assert limit(limits, "Max core file size") == ["0", "0"]
        assert limit(limits, "Max address space") == [str(2 * 2**30)] * 2
        assert "NoNewPrivs:\t1\n" in read(pid, "status")
        assert read(pid, "environ") == ""
        assert (os.getsid(pid), os.getpgid(pid)) == (os.getsid(0), pid)


async def test_every_thread_of_ffmpeg_yields_to_the_service_and_to_its_own_siblings(draft: int) -> None:
    source, samples = split(SECOND)
    async with encoder().open(source, target_of(source), draft, mp3_tag(source, "talk.wav")) as encoding:
        pid = await started(FFMPEG)
        await encoding.write(samples)
        await until(lambda: encoded_something(draft))  # by now it has started all of its threads, if it has any
        assert {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads(pid)} == {10}
        assert {os.sched_getscheduler(thread) for thread in threads(pid)} == {os.SCHED_BATCH}


def encoded_something(draft: int) -> bool:
    return os.fstat(draft).st_size > 2_000  # the header alone has less


def threads(pid: int) -> list[int]:
    return [int(thread.name) for thread in Path(f"/proc/{pid}/task").iterdir()]


def limit(limits: str, name: str) -> list[str]:
    """Return the soft and the hard limit of that name, from the text of /proc/PID/limits."""
    (line,) = [line for line in limits.splitlines() if line.startswith(name)]
    return line.removeprefix(name).split()[:2]


@every_ffmpeg
@pytest.mark.parametrize("letters", [0, 1, 100, 1_000, 20_000])
async def test_tag_is_ours_in_the_room_that_ffmpeg_reserved(draft: int, ffmpeg: str, letters: int) -> None:
    samples = chirp(10_000, 44_100, 1)
    before = [info_chunk(ICMT=b"c" * letters, IART=b"a" * letters)]
    found = await encode(encoder(ffmpeg), wav(samples, sample_rate=44_100, channels=1, before=before), draft)
    tags = WavTags(title="talk", artist="" if letters > 2**14 else "a" * letters, comment="c" * letters)
    assert found.startswith(id3_tag(tags))
    assert_sounds_like(found, samples, 44_100)
    length = Mp3Length.of(10_000, 44_100, 44_100)
    assert len(found) == expected_size(Mp3Format(44_100, 1, 128_000), length, len(id3_tag(tags)))


async def test_no_word_of_a_client_is_in_ffmpegs_command(draft: int) -> None:
    words = info_chunk(INAM=b"SECRET", IART=b"SECRET", ICMT=b"SECRET")
    source, _ = split(wav(bytes(400), sample_rate=44_100, channels=1, before=[words, bext_chunk(b"SECRET")]))
    assert source.tags.title == "SECRET"
    async with encoder().open(source, target_of(source), draft, mp3_tag(source, "SECRET.wav")):
        assert "SECRET" not in read(await started(FFMPEG), "cmdline")


@pytest.mark.parametrize("limit_of_seconds", [1, 3600])
async def test_ffmpeg_is_told_what_it_may_open(draft: int, limit_of_seconds: int) -> None:
    source, _ = split(SECOND)
    async with Encoder(FFMPEG, limit_of_seconds, SOON_SECONDS, spawner(FFMPEG)).open(
        source, target_of(source), draft, mp3_tag(source, "talk.wav")
    ):
        pid = await started(FFMPEG)
        command = read(pid, "cmdline").split("\0")
    options = dict(pairwise(command))
    assert command[0] == FFMPEG
    assert options["-i"] == "pipe:0"
    assert options["-protocol_whitelist"] == "pipe"
    assert options["-format_whitelist"] == "s16le"
    assert options["-codec_whitelist"] == "pcm_s16le"
    assert options["-map_metadata"] == "-1"
    assert options["-t"] == str(limit_of_seconds + 1)
    assert "file:/proc/self/fd/1" in command


async def test_exception_in_the_block_kills_and_reaps_ffmpeg(draft: int) -> None:
    source, samples = split(SECOND)
    pids = []

    async def fail() -> None:
        async with encoder().open(source, target_of(source), draft, mp3_tag(source, "talk.wav")) as encoding:
            pids.append(await started(FFMPEG))
            await encoding.write(samples)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert [is_reaped(pid) for pid in pids] == [True]


async def test_block_left_without_finish_kills_and_reaps_ffmpeg(draft: int) -> None:
    source, samples = split(SECOND)
    async with encoder().open(source, target_of(source), draft, mp3_tag(source, "talk.wav")) as encoding:
        pid = await started(FFMPEG)
        await encoding.write(samples)
    assert is_reaped(pid)


@pytest.mark.parametrize("behaviour", ["stalls", "lingers"], ids=["while_writing", "while_finishing"])
async def test_cancellation_kills_and_reaps_ffmpeg(draft: int, tmp_path: Path, behaviour: str) -> None:
    upload = asyncio.create_task(encode(encoder(fake(tmp_path, behaviour)), MINUTE, draft))
    pid = await started(shutil.which("sleep") or "")
    await asyncio.sleep(0.05)
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert is_reaped(pid)


@pytest.mark.parametrize("milliseconds", [0, 0.1, 0.2, 0.5, 1, 2, 3, 5, 8, 13, 21, 34])
async def test_cancellation_at_any_moment_of_the_start_leaves_no_process(draft: int, milliseconds: float) -> None:
    upload = asyncio.create_task(encode(encoder(), MINUTE, draft))
    await asyncio.sleep(milliseconds / 1000)
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload


async def test_second_cancellation_does_not_save_ffmpeg(draft: int, tmp_path: Path) -> None:
    upload = asyncio.create_task(encode(encoder(fake(tmp_path, "stalls")), MINUTE, draft))
    pid = await started(shutil.which("sleep") or "")
    upload.cancel()
    await asyncio.sleep(0)
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    await until(lambda: is_reaped(pid) and len(asyncio.all_tasks()) == 1)


async def test_whole_process_group_is_killed(draft: int, tmp_path: Path) -> None:
    source, _ = split(SECOND)
    async with encoder(fake(tmp_path, "forks")).open(source, target_of(source), draft, mp3_tag(source, "talk.wav")):
        parent = await started(shutil.which("sh") or "")
        child = await started(shutil.which("sleep") or "", by=parent)
    assert is_reaped(parent)
    await until(lambda: not running({child}))


async def test_ffmpeg_that_leaves_its_group_is_killed(draft: int, tmp_path: Path) -> None:
    source, _ = split(SECOND)
    async with encoder(fake(tmp_path, "leaves")).open(source, target_of(source), draft, mp3_tag(source, "talk.wav")):
        pid = await started(shutil.which("perl") or "")
        await until(lambda: os.getpgid(pid) == os.getpgid(0))
    assert is_reaped(pid)


async def test_what_ffmpeg_has_started_ends_with_it(draft: int, tmp_path: Path) -> None:
    def orphans() -> list[int]:
        pids = (int(place.name) for place in Path("/proc").glob("[0-9]*"))
        return [pid for pid in pids if read(pid, "cmdline") == "sleep\0003607\0"]

    await refusal_of(encoder(fake(tmp_path, "orphans")), SECOND, draft)
    await until(lambda: not running(set(orphans())))


async def test_decoded_sound_that_never_ends_is_given_up(draft: int, tmp_path: Path) -> None:
    source, samples = split(SECOND)
    with encoder(fake(tmp_path, "holds"), stall_seconds=2).prepared() as prepared:
        opening = prepared.open(source, target_of(source), draft, mp3_tag(source, "talk.wav"), lambda _sound: None)
        async with opening as encoding:
            await encoding.write(samples)
            with pytest.raises(Unavailable), capture_logs() as logs:
                await encoding.finish(len(samples) // source.block_align)
    assert [entry["event"] for entry in logs] == ["encoder_stuck"]


SERVICE = """
import asyncio, os, sys
from pathlib import Path
from service.audio import native
from service.audio.confinement import Confinement
from service.audio.encoder import Encoder, mp3_tag
from service.audio.ffmpeg_command import readable_by
from service.audio.spawner import Spawner
from service.audio.mp3 import Mp3Format
from service.audio.wav_header import WavHeader

async def main():
    native.library_path = lambda: Path(sys.argv[3])
    source = WavHeader("s16le", 44_100, 2, 0, 4, 44, None, True)
    draft = os.open(sys.argv[2], os.O_TMPFILE | os.O_RDWR, 0o600)
    spawner = Spawner(Confinement(readable_by(sys.argv[1]), (Path(sys.argv[2]),)))
    target = Mp3Format(44_100, 2, 128_000)
    async with Encoder(sys.argv[1], 3600, 60.0, spawner).open(source, target, draft, mp3_tag(source, "talk.wav")):
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_ffmpeg_dies_with_a_killed_service(library: Path, tmp_path: Path) -> None:
    # It does not notice that its input ends.
    with python(SERVICE, fake(tmp_path, "stalls"), str(tmp_path), str(library)) as service:
        pid = await started("/usr/bin/sleep", by=service.pid)
        service.kill()
        await until(lambda: not running({pid}))


@every_ffmpeg
@pytest.mark.parametrize(
    ("sample", "sample_format", "channels"),
    [
        (2.0**17, F32, 2),
        (-(2.0**17), F64, 2),
        (1e10, F32, 1),
        (1e20, F64, 1),
        (float("nan"), F32, 1),
        (float("inf"), F32, 2),
        (float("-inf"), F32, 6),
        (3e38, F32, 2),
        (float("nan"), F64, 6),
        (1e300, F64, 1),
    ],
    ids=str,
)
async def test_sample_that_no_lame_takes_is_the_uploads_fault(
    draft: int, ffmpeg: str, sample: float, sample_format: SampleFormat, channels: int
) -> None:
    refusal = await refusal_of(encoder(ffmpeg), with_sample(sample, sample_format, channels), draft)
    assert isinstance(refusal, Unprocessable)
    assert refusal.code == "unencodable_audio"


def with_sample(sample: float, sample_format: SampleFormat, channels: int) -> bytes:
    samples = chirp(20_000, 44_100, channels)
    samples[10_000, -1] = sample
    return wav(samples, sample_rate=44_100, channels=channels, sample_format=sample_format)


@every_ffmpeg
async def test_sound_too_loud_for_its_bit_rate_is_the_uploads_fault(draft: int, ffmpeg: str) -> None:
    samples = 100_000 * np.sign(chirp(20_000, 24_000, 2) + 1e-9)
    source, loud = split(wav(samples, sample_rate=24_000, channels=2, sample_format=F32))

    async def upload() -> None:
        async with encoder(ffmpeg).open(
            source, Mp3Format(24_000, 2, bit_rate=8_000), draft, mp3_tag(source, "talk.wav")
        ) as encoding:
            await encoding.write(loud)
            await encoding.finish(20_000)

    with pytest.raises(Unprocessable) as caught:
        await upload()
    assert caught.value.code == "unencodable_audio"


@every_ffmpeg
@pytest.mark.parametrize("sample_format", [F32, F64], ids=str)
@pytest.mark.parametrize("sample", [2.0, -32_768.0, np.nextafter(np.float32(2**17), np.float32(0))])
async def test_sample_a_little_out_of_range_is_encoded(
    draft: int, ffmpeg: str, sample_format: SampleFormat, sample: float
) -> None:
    found = await encode(encoder(ffmpeg), with_sample(sample, sample_format, 2), draft)
    assert info_header(found).sample_count == 20_000


@pytest.mark.parametrize("sample_count", [1, 44_100 - 1152, 44_100 + 1152, 88_200])
async def test_wrong_sample_count_is_not_a_success(draft: int, sample_count: int) -> None:
    refusal = await refusal_of(encoder(), SECOND, draft, sample_count=sample_count)
    assert isinstance(refusal, Unavailable)
    assert refusal.code == "encoder_failed"


async def test_mp3_is_sealed_outside_the_event_loop(draft: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed_in, seal = list[threading.Thread](), sealing.seal

    def note(*arguments: Any) -> None:
        sealed_in.append(threading.current_thread())
        seal(*arguments)

    monkeypatch.setattr(sealing, "seal", note)
    await encode(encoder(), SECOND, draft)
    assert len(sealed_in) == 1
    assert sealed_in[0] is not threading.main_thread()


@every_ffmpeg
@pytest.mark.parametrize(
    ("disk", "sample_count"),
    [(full_device, 100), (full_device, 44_100), (disk_of("8k"), 44_100), (disk_of("16k"), 44_100)],
    ids=["no_room", "no_room_while_encoding", "room_for_half", "room_for_all_but_the_end"],
)
async def test_full_disk_is_distinguished_from_a_failed_encoder(
    tmp_path: Path, ffmpeg: str, disk: Callable[[Path], AbstractContextManager[int]], sample_count: int
) -> None:
    upload = wav(bytes(sample_count * 2), sample_rate=44_100, channels=1)
    with disk(tmp_path) as draft:
        refusal = await refusal_of(encoder(ffmpeg), upload, draft)
    assert isinstance(refusal, StorageFull)


@every_ffmpeg
async def test_full_disk_is_noticed_while_the_upload_runs(tmp_path: Path, ffmpeg: str) -> None:
    source, samples = split(MINUTE)
    written = [0]

    async def write(draft: int) -> None:
        async with encoder(ffmpeg).open(source, target_of(source), draft, mp3_tag(source, "talk.wav")) as encoding:
            for start in range(0, len(samples), PIECE_BYTES):
                await encoding.write(samples[start : start + PIECE_BYTES])
                written.append(start + PIECE_BYTES)

    with full_device(tmp_path) as draft, pytest.raises(StorageFull):
        await write(draft)
    assert written[-1] < 1_500_000


@pytest.mark.parametrize("upload", [SECOND, MINUTE], ids=["second", "minute"])
@pytest.mark.parametrize("behaviour", ["exits-0", "exits-1", "deserts", "silent", "dies", "floods", "short", "half"])
async def test_ffmpeg_that_fails_is_noticed_at_once(draft: int, tmp_path: Path, behaviour: str, upload: bytes) -> None:
    with capture_logs() as logs:
        refusal = await refusal_of(encoder(fake(tmp_path, behaviour)), upload, draft)
    assert isinstance(refusal, Unavailable)
    assert refusal.code == "encoder_failed"
    assert [entry["event"] for entry in logs] == ["encoder_failed"]


@pytest.mark.parametrize("behaviour", ["stalls", "lingers"])
async def test_ffmpeg_that_stands_still_is_given_up_in_time(draft: int, tmp_path: Path, behaviour: str) -> None:
    impatient = encoder(fake(tmp_path, behaviour), stall_seconds=0.5)
    begin = asyncio.get_running_loop().time()
    with capture_logs() as logs:
        refusal = await refusal_of(impatient, SECOND, draft)
    assert isinstance(refusal, Unavailable)
    assert refusal.code == "encoder_failed"
    assert [entry["event"] for entry in logs] == ["encoder_stuck"]
    assert 0.5 <= asyncio.get_running_loop().time() - begin < 5


async def test_stopped_ffmpeg_is_given_up(draft: int) -> None:
    upload = asyncio.create_task(encode(encoder(stall_seconds=0.5), MINUTE, draft))
    os.kill(await started(FFMPEG), signal.SIGSTOP)
    with pytest.raises(Unavailable, match="encoder failed"):
        await upload


async def test_writing_waits_for_an_ffmpeg_that_takes_nothing(draft: int, tmp_path: Path) -> None:
    source, samples = split(MINUTE)
    written = [0]

    async def write() -> None:
        stalling = encoder(fake(tmp_path, "stalls"), stall_seconds=0.5)
        async with stalling.open(source, target_of(source), draft, mp3_tag(source, "talk.wav")) as encoding:
            for start in range(0, len(samples), PIECE_BYTES):
                await encoding.write(samples[start : start + PIECE_BYTES])
                written.append(start + PIECE_BYTES)

    with pytest.raises(Unavailable):
        await write()
    assert written[-1] < 500_000  # of ten million bytes


async def test_ffmpeg_that_cannot_be_watched_is_ended(draft: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_pid: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("os.pidfd_open", refuse)
    before = children(), descriptors()
    refusal = await refusal_of(encoder(), SECOND, draft)
    assert refusal.code == "encoder_unavailable"
    assert (children(), descriptors()) == before


async def test_flood_of_complaints_is_read_and_not_kept(draft: int, tmp_path: Path) -> None:
    flooding = encoder(fake(tmp_path, "floods"))
    tracemalloc.start()
    try:
        with capture_logs() as logs:
            await refusal_of(flooding, SECOND, draft)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert logs[0]["status"] == 1  # it wrote all of its 10 MB
    assert len(logs[0]["last_words"]) <= 4096
    assert peak < 1_000_000


@pytest.mark.parametrize("upload", [wav(bytes(200), sample_rate=44_100, channels=1), MINUTE], ids=["tiny", "minute"])
@pytest.mark.parametrize("name", ["missing", "not_executable"])
@pytest.mark.usefixtures("library")
async def test_ffmpeg_that_cannot_be_started_is_not_blamed_on_the_upload(
    draft: int, tmp_path: Path, name: str, upload: bytes
) -> None:
    (tmp_path / "not_executable").touch(mode=0o600)
    refusal = await refusal_of(encoder(str(tmp_path / name)), upload, draft)
    assert isinstance(refusal, Unavailable)
    assert refusal.code == "encoder_unavailable"


async def test_ffmpeg_never_runs_without_its_sandbox(
    draft: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    starting._tool.cache_clear()  # noqa: SLF001 - it remembers what it found in other tests
    with native_library(tmp_path, is_there=False):
        refusal = await refusal_of(encoder(), SECOND, draft)
    assert isinstance(refusal, Unavailable)
    assert refusal.code == "encoder_unavailable"


# For each channel count, the masks that are mixed down as they say; any other is mixed down as the first one.
MIXED_MASKS = {
    3: (0x7, 0xB, 0x103),
    4: (0x107, 0x33, 0x603, 0xF),
    5: (0x37, 0x607, 0x10F),
    6: (0x3F, 0x60F, 0x707),
    7: (0x70F, 0x637, 0x13F),
    8: (0x63F, 0xFF),
}
ODD_MASKS = (0x0, 0x1, 0x30, 0x3FFFF, 0xFFFF_FFFF)


async def assert_mask_is_heard_as(heard: int | None, mask: int, channels: int, draft: int, ffmpeg: str) -> None:
    samples = chirp(22_050, 44_100, channels)
    upload = wav(samples, sample_rate=44_100, channels=channels, sample_format=S16, extensible=True, channel_mask=mask)
    assert_sounds_like(await encode(encoder(ffmpeg), upload, draft), samples, 44_100, channel_mask=heard)


@every_ffmpeg
@pytest.mark.parametrize(("channels", "mask"), [(count, mask) for count in MIXED_MASKS for mask in MIXED_MASKS[count]])
async def test_every_layout_is_mixed_down_to_stereo(draft: int, ffmpeg: str, channels: int, mask: int) -> None:
    await assert_mask_is_heard_as(mask, mask, channels, draft, ffmpeg)


@pytest.mark.parametrize("channels", MIXED_MASKS)
async def test_odd_mask_is_heard_as_the_usual_layout(tmp_path: Path, channels: int) -> None:
    for mask in ODD_MASKS:
        with nameless_file(tmp_path) as draft:
            await assert_mask_is_heard_as(MIXED_MASKS[channels][0], mask, channels, draft, FFMPEG)


@every_ffmpeg
@pytest.mark.parametrize("channels", [1, 2])
async def test_mono_and_stereo_keep_their_level_whatever_the_mask(tmp_path: Path, ffmpeg: str, channels: int) -> None:
    for mask in (*ODD_MASKS, 0x4, 0x600):
        with nameless_file(tmp_path) as draft:
            await assert_mask_is_heard_as(None, mask, channels, draft, ffmpeg)


@pytest.mark.parametrize("channels", CHANNEL_MASKS)
async def test_float_is_mixed_as_loud_as_integers(draft: int, channels: int) -> None:
    samples = chirp(22_050, 44_100, channels, amplitude=0.9)
    mask = CHANNEL_MASKS[channels]
    upload = wav(samples, sample_rate=44_100, channels=channels, sample_format=F32, extensible=True, channel_mask=mask)
    assert_sounds_like(await encode(encoder(), upload, draft), samples, 44_100)
