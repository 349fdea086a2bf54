"""Encodes samples with ffmpeg into a complete and checked MP3."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass

import structlog

from service import metrics
from service.audio import mp3
from service.audio.ffmpeg_command import encode_command
from service.audio.ffmpeg_process import FfmpegProcess
from service.audio.mp3 import IncompleteMp3Error, Mp3Format
from service.audio.sample_range import is_in_range
from service.audio.spawner import Spawner
from service.audio.wav_header import WavHeader
from service.errors import ServiceError, Unavailable
from service.refusals import ENCODER_FAILED, ENCODER_UNAVAILABLE, STORAGE_FULL, UNENCODABLE_AUDIO
from service.threads import in_thread

log = structlog.stdlib.get_logger()

# The resampler keeps its last samples until more follow, so this much silence follows: so many samples of the MP3, and
# of the WAV. The Info header cuts it off.
_FLUSH_SAMPLES, _FLUSH_SOURCE_SAMPLES = 64, 32
_SILENCE = {"u8": b"\x80", "alaw": b"\xd5", "mulaw": b"\xff"}
# ffmpeg's exit statuses if samples are too large for this bit rate. Depending on its version, LAME fails an assertion,
# or ffmpeg reports AVERROR_BUG. What no bit rate takes is not even passed to it.
_UNENCODABLE = {-signal.SIGABRT, 190}
# If stderr has one of these words, the samples were the reason.
_ABOUT_SAMPLES = ("libmp3lame", "Assertion")
# prlimit and setpriv exit with these if the program that they should run cannot be run or does not exist.
_NOT_STARTED = {126, 127}


@dataclass(frozen=True, slots=True)
class Encoder:
    """How to encode: the ffmpeg to run, and its limits.

    `spawner` starts and confines it. `max_duration_seconds` limits the sound, the CPU time and the MP3's size. An
    encode fails if ffmpeg takes no input, or does not end after its input, for `stall_seconds`.
    """

    ffmpeg: str
    max_duration_seconds: int
    stall_seconds: float
    spawner: Spawner

    @contextlib.asynccontextmanager
    async def open(self, source: WavHeader, target: Mp3Format, stdout: int) -> AsyncIterator["Encoding"]:
        """Start an ffmpeg that writes to the descriptor `stdout`. The end of the block kills and reaps it.

        This also holds if the block raises or is cancelled. Raises Unavailable if ffmpeg cannot be started.
        """
        try:
            process = await FfmpegProcess.start(
                self.spawner, encode_command(self.ffmpeg, source, target, self.max_duration_seconds), stdout
            )
        except OSError as error:
            raise _not_started(str(error)) from error
        try:
            yield Encoding(process, source, target, stdout, self.stall_seconds)
        finally:
            await process.kill()


class Encoding:
    """One ffmpeg run."""

    def __init__(
        self,
        process: FfmpegProcess,
        source: WavHeader,
        target: Mp3Format,
        stdout: int,
        stall_seconds: float,
    ) -> None:
        self._process = process
        self._source = source
        self._target = target
        self._stdout = stdout
        self._stall_seconds = stall_seconds

    async def write(self, samples: bytes) -> None:
        """Pass samples to ffmpeg and wait until it has taken them, so that clients send no faster than it encodes.

        The samples are whole. Raises Unprocessable if one of them cannot be encoded, and otherwise as `finish` does if
        ffmpeg has ended or is stuck.
        """
        if not is_in_range(self._source.codec, samples):
            metrics.ENCODER_FAILURES.labels("unencodable_audio").inc()
            raise UNENCODABLE_AUDIO()
        try:
            async with asyncio.timeout(self._stall_seconds):
                await self._process.write(samples)
        except ConnectionError as error:
            raise self._failure(await self._exit_status()) from error
        except TimeoutError as error:
            raise self._stuck() from error

    async def finish(self, sample_count: int) -> None:
        """End the input, wait for ffmpeg, and check that the MP3 has exactly `sample_count` of the WAV's samples.

        Raises Unprocessable if the samples cannot be encoded, StorageFull if the disk is full, and Unavailable if
        ffmpeg fails, is killed, is stuck, or writes an MP3 of the wrong length.
        """
        if self._is_resampled:
            await self.write(_SILENCE.get(self._source.codec, b"\0") * (self._source.block_align * self._flush))
        self._process.end_input()
        status = await self._exit_status()
        if status != 0:
            raise self._failure(status)
        try:
            await in_thread(mp3.seal, self._stdout, self._target, *self._expected(sample_count))
        except (IncompleteMp3Error, OSError) as error:
            raise self._failure(status, str(error)) from error

    @property
    def _is_resampled(self) -> bool:
        return self._source.sample_rate != self._target.sample_rate

    @property
    def _flush(self) -> int:
        """How many samples of silence follow the WAV's samples."""
        samples = -(-_FLUSH_SAMPLES * self._source.sample_rate // self._target.sample_rate)
        return max(samples, _FLUSH_SOURCE_SAMPLES)

    def _expected(self, sample_count: int) -> tuple[int, list[int]]:
        """Return how many samples the MP3 must play, and the frame counts that are right for them."""
        rate = self._target.sample_rate
        if not self._is_resampled:
            return sample_count, [mp3.frame_count(sample_count, rate)]
        heard = mp3.resampled_count(sample_count, self._source.sample_rate)
        # ffmpeg's resampler may round up or down.
        middle = mp3.resampled_count(sample_count + self._flush, self._source.sample_rate)
        encoded = range(middle - 2, middle + 3)
        return heard, sorted({mp3.frame_count(count, rate) for count in encoded})

    async def _exit_status(self) -> int:
        try:
            async with asyncio.timeout(self._stall_seconds):
                return await self._process.wait()
        except TimeoutError as error:
            raise self._stuck() from error

    def _failure(self, status: int, reason: str = "") -> ServiceError:
        words = self._process.last_words
        if "No space left on device" in words or "Disk quota exceeded" in words:
            metrics.ENCODER_FAILURES.labels("storage_full").inc()
            return STORAGE_FULL()
        is_about_samples = any(name in words for name in _ABOUT_SAMPLES)
        if status in _UNENCODABLE and is_about_samples and self._source.codec.startswith("f"):
            metrics.ENCODER_FAILURES.labels("unencodable_audio").inc()
            return UNENCODABLE_AUDIO()
        if status in _NOT_STARTED:
            return _not_started(words.strip())
        metrics.ENCODER_FAILURES.labels("failed").inc()
        log.error("encoder_failed", status=status, reason=reason, last_words=words)
        return ENCODER_FAILED()

    def _stuck(self) -> ServiceError:
        metrics.ENCODER_FAILURES.labels("stuck").inc()
        log.error("encoder_stuck", pid=self._process.pid, seconds=self._stall_seconds)
        return ENCODER_FAILED()


def _not_started(reason: str) -> Unavailable:
    metrics.ENCODER_FAILURES.labels("not_started").inc()
    log.error("encoder_not_started", reason=reason)
    return ENCODER_UNAVAILABLE()
