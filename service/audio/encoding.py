"""One run of ffmpeg, from its first sample to a complete and checked MP3."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from service.audio import encode_failures, sealing
from service.audio.block_codecs import wav_header
from service.audio.decoded_sound import DecodedSound
from service.audio.ffmpeg_process import FfmpegProcess
from service.audio.mp3 import Mp3Format
from service.audio.mp3_length import Mp3Length
from service.audio.sample_range import is_in_range
from service.audio.sealing import IncompleteMp3Error
from service.audio.wav_header import WavHeader
from service.errors import ServiceError
from service.threads import in_thread

_SILENCE = {"u8": b"\x80", "alaw": b"\xd5", "mulaw": b"\xff"}


@dataclass(frozen=True, slots=True)
class Mp3Draft:
    """What ffmpeg is to write to the descriptor `stdout`: an MP3 of this format, with room for this ID3 tag.

    `sound` is what it has decoded, if anybody wants it.
    """

    target: Mp3Format
    tag: bytes
    stdout: int
    sound: DecodedSound | None


class Encoding:
    """One ffmpeg run."""

    def __init__(self, process: FfmpegProcess, source: WavHeader, draft: Mp3Draft, stall_seconds: float) -> None:
        self._process = process
        self.source = source
        self._draft = draft
        self._stall_seconds = stall_seconds
        self._byte_count = 0

    async def begin(self) -> None:
        """Pass ffmpeg the header that it needs for a block codec."""
        source, codec = self.source, self.source.block_codec
        if codec is not None:
            await self._pass(wav_header(codec, source.sample_rate, source.channels, source.block_align))

    async def write(self, samples: bytes) -> None:
        """Pass samples to ffmpeg and wait until it has taken them, so that clients send no faster than it encodes.

        The samples are whole, and a block codec's are whole blocks. Raises Unprocessable if one of them cannot be
        encoded, and otherwise as `finish` does if ffmpeg has ended or is stuck.
        """
        if not is_in_range(self.source.codec, samples):
            raise encode_failures.unencodable()
        self._byte_count += len(samples)
        await self._pass(samples)

    async def _pass(self, content: bytes) -> None:
        try:
            rest = self._process.write_at_once(content)
            if rest:
                async with asyncio.timeout(self._stall_seconds):
                    await self._process.write(rest)
        except ConnectionError as error:
            raise self._failure(await self._exit_status()) from error
        except TimeoutError as error:
            raise self._stuck() from error

    async def finish(self, sample_count: int) -> None:
        """End the encode and seal the MP3, as `end` says."""
        await in_thread(await self.end(sample_count))

    async def end(self, sample_count: int) -> Callable[[], None]:
        """End the input and wait for ffmpeg. Returns what checks and seals the MP3; it blocks, as a disk does.

        The MP3 then has exactly `sample_count` of the WAV's samples: what the last blocks hold beyond these is cut off.

        Both raise Unprocessable if the samples cannot be encoded, StorageFull if the disk is full, and Unavailable if
        ffmpeg fails, is killed, is stuck, or writes an MP3 of the wrong length.
        """
        length, encoded = self._lengths(sample_count)
        if encoded.flush:
            blocks = encoded.flush // self.source.samples_per_block
            await self.write(_SILENCE.get(self.source.codec, b"\0") * (self.source.block_align * blocks))
        self._process.end_input()
        status = await self._exit_status()
        if status != 0:
            raise self._failure(status)
        await self._sound_ended()
        return partial(self._seal, sample_count, length, encoded)

    def _seal(self, sample_count: int, length: Mp3Length, encoded: Mp3Length) -> None:
        draft = self._draft
        try:
            self._require_no_surplus(sample_count, encoded.flush)
            sealing.seal(draft.stdout, draft.tag, draft.target, length, encoded)
        except (IncompleteMp3Error, OSError) as error:
            raise self._failure(0, str(error)) from error

    async def _sound_ended(self) -> None:
        if self._draft.sound is None:
            return
        try:
            async with asyncio.timeout(self._stall_seconds):
                await asyncio.shield(self._draft.sound.ended)
        except TimeoutError as error:  # a child of ffmpeg holds the pipe open
            raise self._stuck() from error

    def _lengths(self, sample_count: int) -> tuple[Mp3Length, Mp3Length]:
        """Return the length that the MP3 must have, and the one that ffmpeg makes of what it has been passed."""
        rates = self.source.sample_rate, self._draft.target.sample_rate
        length = Mp3Length.of(sample_count, *rates)
        if self.source.block_codec is None:
            return length, length
        return length, Mp3Length.of_blocks(self._passed_count, self.source.samples_per_block, *rates)

    @property
    def _passed_count(self) -> int:
        """How many samples ffmpeg has been passed."""
        return self._byte_count // self.source.block_align * self.source.samples_per_block

    def _require_no_surplus(self, sample_count: int, flush: int) -> None:
        """Raise IncompleteMp3Error if ffmpeg was passed more than the samples, the rest of their block and a flush."""
        surplus = self._passed_count - flush - sample_count
        if surplus not in range(2 * self.source.samples_per_block - 1):
            raise IncompleteMp3Error(f"{surplus} samples too many in {self.source.codec}")

    async def _exit_status(self) -> int:
        try:
            async with asyncio.timeout(self._stall_seconds):
                return await self._process.wait()
        except TimeoutError as error:
            raise self._stuck() from error

    def _failure(self, status: int, reason: str = "") -> ServiceError:
        return encode_failures.failed(self.source.codec, status, self._process.last_words, reason)

    def _stuck(self) -> ServiceError:
        return encode_failures.stuck(self._process.pid, self._stall_seconds)
