"""Encodes samples with ffmpeg into a complete and checked MP3."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass

import structlog

from service import metrics
from service.audio import sealing
from service.audio.block_codecs import wav_header
from service.audio.ffmpeg_command import encode_command
from service.audio.ffmpeg_process import FfmpegProcess
from service.audio.id3 import id3_tag
from service.audio.mp3 import Mp3Format
from service.audio.mp3_length import Mp3Length
from service.audio.sample_range import is_in_range
from service.audio.sealing import IncompleteMp3Error
from service.audio.spawner import Spawner
from service.audio.wav_header import WavHeader
from service.audio.wav_tags import WavTags, clean
from service.errors import ServiceError, Unavailable
from service.names import stem
from service.refusals import ENCODER_FAILED, ENCODER_UNAVAILABLE, STORAGE_FULL, UNENCODABLE_AUDIO
from service.threads import in_thread

log = structlog.stdlib.get_logger()

_SILENCE = {"u8": b"\x80", "alaw": b"\xd5", "mulaw": b"\xff"}
# ffmpeg's exit statuses if samples are too large for this bit rate. Depending on its version, LAME fails an assertion,
# or ffmpeg reports AVERROR_BUG. What no bit rate takes is not even passed to it.
_UNENCODABLE = {-signal.SIGABRT, 190}
# If stderr has one of these words, the samples were the reason.
_ABOUT_SAMPLES = ("libmp3lame", "Assertion")
# prlimit and setpriv exit with these if the program that they should run cannot be run or does not exist.
_NOT_STARTED = {126, 127}


def mp3_tag(source: WavHeader, filename: str) -> bytes:
    """Return the ID3 tag of a WAV's MP3. The title is the WAV's, or else `filename` without its suffix."""
    return id3_tag(source.tags.or_else(WavTags(title=clean(stem(filename)))))


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
    async def open(self, source: WavHeader, target: Mp3Format, stdout: int, tag: bytes) -> AsyncIterator["Encoding"]:
        """Start an ffmpeg that writes to the descriptor `stdout`. The end of the block kills and reaps it.

        The MP3 begins with the ID3 tag. All of this also holds if the block raises or is cancelled. Raises Unavailable
        if ffmpeg cannot be started.
        """
        try:
            command = encode_command(self.ffmpeg, source, target, self.max_duration_seconds, len(tag))
            process = await FfmpegProcess.start(self.spawner, command, stdout)
        except OSError as error:
            raise _not_started(str(error)) from error
        try:
            encoding = Encoding(process, source, _Output(target, tag, stdout), self.stall_seconds)
            await encoding.begin()
            yield encoding
        finally:
            await process.kill()


@dataclass(frozen=True, slots=True)
class _Output:
    """What ffmpeg is to write to the descriptor `stdout`: an MP3 of this format, with room for this ID3 tag."""

    target: Mp3Format
    tag: bytes
    stdout: int


class Encoding:
    """One ffmpeg run."""

    def __init__(self, process: FfmpegProcess, source: WavHeader, output: _Output, stall_seconds: float) -> None:
        self._process = process
        self._source = source
        self._output = output
        self._stall_seconds = stall_seconds
        self._byte_count = 0

    async def begin(self) -> None:
        """Pass ffmpeg the header that it needs for a block codec."""
        source, codec = self._source, self._source.block_codec
        if codec is not None:
            await self._pass(wav_header(codec, source.sample_rate, source.channels, source.block_align))

    async def write(self, samples: bytes) -> None:
        """Pass samples to ffmpeg and wait until it has taken them, so that clients send no faster than it encodes.

        The samples are whole, and a block codec's are whole blocks. Raises Unprocessable if one of them cannot be
        encoded, and otherwise as `finish` does if ffmpeg has ended or is stuck.
        """
        if not is_in_range(self._source.codec, samples):
            metrics.ENCODER_FAILURES.labels("unencodable_audio").inc()
            raise UNENCODABLE_AUDIO()
        self._byte_count += len(samples)
        await self._pass(samples)

    async def _pass(self, content: bytes) -> None:
        try:
            async with asyncio.timeout(self._stall_seconds):
                await self._process.write(content)
        except ConnectionError as error:
            raise self._failure(await self._exit_status()) from error
        except TimeoutError as error:
            raise self._stuck() from error

    async def finish(self, sample_count: int) -> None:
        """End the input, wait for ffmpeg, and check that the MP3 has exactly `sample_count` of the WAV's samples.

        What the last blocks hold beyond these is cut off.

        Raises Unprocessable if the samples cannot be encoded, StorageFull if the disk is full, and Unavailable if
        ffmpeg fails, is killed, is stuck, or writes an MP3 of the wrong length.
        """
        length, encoded = self._lengths(sample_count)
        if encoded.flush:
            blocks = encoded.flush // self._source.samples_per_block
            await self.write(_SILENCE.get(self._source.codec, b"\0") * (self._source.block_align * blocks))
        self._process.end_input()
        status = await self._exit_status()
        if status != 0:
            raise self._failure(status)
        try:
            self._require_no_surplus(sample_count, encoded.flush)
            output = self._output
            await in_thread(sealing.seal, output.stdout, output.tag, output.target, length, encoded)
        except (IncompleteMp3Error, OSError) as error:
            raise self._failure(status, str(error)) from error

    def _lengths(self, sample_count: int) -> tuple[Mp3Length, Mp3Length]:
        """Return the length that the MP3 must have, and the one that ffmpeg makes of what it has been passed."""
        rates = self._source.sample_rate, self._output.target.sample_rate
        length = Mp3Length.of(sample_count, *rates)
        if self._source.block_codec is None:
            return length, length
        return length, Mp3Length.of_blocks(self._passed_count, self._source.samples_per_block, *rates)

    @property
    def _passed_count(self) -> int:
        """How many samples ffmpeg has been passed."""
        return self._byte_count // self._source.block_align * self._source.samples_per_block

    def _require_no_surplus(self, sample_count: int, flush: int) -> None:
        """Raise IncompleteMp3Error if ffmpeg was passed more than the samples, the rest of their block and a flush."""
        surplus = self._passed_count - flush - sample_count
        if surplus not in range(2 * self._source.samples_per_block - 1):
            raise IncompleteMp3Error(f"{surplus} samples too many in {self._source.codec}")

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
