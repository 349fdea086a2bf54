"""Measures that memory does not grow with a WAV's size, and what one live upload takes."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import bare
from benchmarks.bench import Bench, run_at_once
from benchmarks.client import Connection, upload
from benchmarks.running import require_sight
from benchmarks.sounds import BYTES_PER_SECOND, stream_wav, wav_byte_count
from benchmarks.table import Row, at_most
from service.audio.ffmpegs import default_ffmpeg
from service.memory import PAUSE_SECONDS
from tests.support import procfs

_SMALL_SECONDS = 28  # 5 MB
_LARGE_SECONDS = 3000  # 529 MB
_STREAMED_SECONDS = 5669  # 1 GB
_LOOK_SECONDS = 0.02
_QUIET_SECONDS = 0.3
_LIVE_UPLOADS = 50
_MB = 1e6
_MIB = 2**20


@dataclass(slots=True)
class _Peaks:
    """The most memory that a process and the ffmpegs below it were seen to have, in bytes."""

    own_rss: int = 0
    own_pss: int = 0
    ffmpeg_rss: int = 0
    ffmpeg_pss: int = 0


def measure_sizes(bench: Bench) -> list[Row]:
    """Measure the peak of memory at a small WAV, at a large one, and at a larger one that is generated."""
    require_sight(bench.service)
    upload(bench.service.address, bench.wav(_SMALL_SECONDS))
    return [
        _file_row(bench, bench.wav(_SMALL_SECONDS)),
        _file_row(bench, bench.wav(bench.shortened(_LARGE_SECONDS))),
        _stream_row(bench, bench.shortened(_STREAMED_SECONDS) * BYTES_PER_SECOND),
    ]


def measure_live_uploads(bench: Bench) -> list[Row]:
    """Measure how much memory uploads add to the service's own process, while they pause and while they flow."""
    pid, wav = bench.service.pid, bench.wav(_SMALL_SECONDS)
    count = bench.shortened(_LIVE_UPLOADS)
    require_sight(bench.service)
    upload(bench.service.address, wav)
    time.sleep(PAUSE_SECONDS + 1)
    without = procfs.resident_bytes(pid)
    with _paused_uploads(bench, wav, count) as encoders:
        time.sleep(PAUSE_SECONDS + 1)  # what glibc has kept is given back every few seconds
        paused = (procfs.resident_bytes(pid) - without) / count
        ffmpeg = sum(procfs.proportional_bytes(encoder) for encoder in encoders) / count
    procfs.forget_peak(pid)
    run_at_once(lambda _: upload(bench.service.address, wav), count, at_a_time=count)
    flowing = (procfs.peak_resident_bytes(pid) - without) / count
    return [
        _row_of_one(f"{count} live uploads, paused at half: memory of one", paused, 0.4),
        Row(f"{count} live uploads, paused at half: PSS of one ffmpeg", f"{ffmpeg / _MIB:.1f} MiB"),
        _row_of_one(f"{count} live uploads, flowing: peak memory of one", flowing, 1),
    ]


@contextmanager
def _paused_uploads(bench: Bench, wav: Path, count: int) -> Iterator[set[int]]:
    """Send half of each upload, wait until that is encoded, and yield the ffmpegs that wait for more."""
    byte_count = wav.stat().st_size
    with ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(Connection(bench.service.address))
            connection.send_head("PUT", "/records/half.wav", byte_count)
            connection.send_file(wav, byte_count // 2)
        _wait_until_quiet(bench.service.pid)
        encoders = procfs.encoders(bench.service.pid)
        if len(encoders) != count:
            raise RuntimeError(f"{len(encoders)} of {count} uploads are live")
        yield encoders


def _row_of_one(what: str, byte_count: float, most_mebibytes: float) -> Row:
    mebibytes = byte_count / _MIB
    return Row(what, f"{mebibytes:.2f} MiB", figure=mebibytes, unit="MiB", aim=at_most(most_mebibytes, "MiB"))


def _file_row(bench: Bench, wav: Path) -> Row:
    with _watch(bench.service.pid) as ours:
        upload(bench.service.address, wav)
    with _watch(os.getpid()) as bare_peaks:
        bare.encode(default_ffmpeg().path, wav, bench.directory / "bare.mp3")
    theirs = f"RSS {bare_peaks.ffmpeg_rss / _MB:.0f} MB, PSS {bare_peaks.ffmpeg_pss / _MB:.0f} MB"
    return _row(f"{wav.stat().st_size / _MB:.0f} MB WAV", ours, theirs)


def _stream_row(bench: Bench, sample_byte_count: int) -> Row:
    with _watch(bench.service.pid) as ours:
        _upload_streamed(bench, sample_byte_count)
    return _row(f"{sample_byte_count / _MB:.0f} MB WAV from a generator", ours, "")


def _row(what: str, ours: _Peaks, theirs: str) -> Row:
    return Row(
        f"{what}: peak memory, service + its ffmpeg",
        f"RSS {ours.own_rss / _MB:.0f} + {ours.ffmpeg_rss / _MB:.0f} MB, "
        f"PSS {ours.own_pss / _MB:.0f} + {ours.ffmpeg_pss / _MB:.0f} MB",
        theirs,
        (ours.own_rss + ours.ffmpeg_rss) / _MB,
        "MB",
        at_most(80, "MB"),
    )


def _upload_streamed(bench: Bench, sample_byte_count: int) -> None:
    with Connection(bench.service.address) as connection:
        connection.send_head("PUT", "/records/streamed.wav", wav_byte_count(sample_byte_count))
        connection.send(stream_wav(sample_byte_count))
        connection.receive()


@contextmanager
def _watch(pid: int) -> Iterator[_Peaks]:
    """Look at the memory again and again for the length of the block."""
    peaks, ended = _Peaks(), threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_SECONDS):
            peaks.own_pss = max(peaks.own_pss, procfs.proportional_bytes(pid))
            for encoder in procfs.encoders(pid):
                peaks.ffmpeg_rss = max(peaks.ffmpeg_rss, procfs.peak_resident_bytes(encoder))
                peaks.ffmpeg_pss = max(peaks.ffmpeg_pss, procfs.proportional_bytes(encoder))

    procfs.forget_peak(pid)
    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield peaks
    finally:
        ended.set()
        watcher.join()
        peaks.own_rss = procfs.peak_resident_bytes(pid)


def _wait_until_quiet(pid: int) -> None:
    """Wait until a process and its descendants have used up all that they were sent."""
    before = -1.0
    while (now := procfs.cpu_seconds(pid)) - before > _QUIET_SECONDS / 20:
        before = now
        time.sleep(_QUIET_SECONDS)
