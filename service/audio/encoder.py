"""Encodes samples with ffmpeg into a complete and checked MP3."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

from service.audio import encode_failures
from service.audio.decoded_sound import decoded_sound
from service.audio.encoding import Encoding, Mp3Draft
from service.audio.ffmpeg_command import Output, encode_command
from service.audio.ffmpeg_process import FfmpegProcess
from service.audio.id3 import id3_tag
from service.audio.mp3 import Mp3Format
from service.audio.spawner import Spawner, Starter
from service.audio.wav_header import WavHeader
from service.audio.wav_tags import WavTags, clean
from service.names import stem


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

    @contextlib.contextmanager
    def prepared(self) -> Iterator["PreparedEncoder"]:
        """Get ready for one ffmpeg, before anybody knows what it is to encode. Raises Unavailable."""
        try:
            starter = self.spawner.starter()
        except OSError as error:
            raise encode_failures.not_started(str(error)) from error
        with starter:
            yield PreparedEncoder(self, starter)

    @contextlib.asynccontextmanager
    async def open(self, source: WavHeader, target: Mp3Format, stdout: int, tag: bytes) -> AsyncIterator[Encoding]:
        """Start an ffmpeg at once, as `PreparedEncoder.open` does."""
        with self.prepared() as prepared:
            async with prepared.open(source, target, stdout, tag) as encoding:
                yield encoding


@dataclass(frozen=True, slots=True)
class PreparedEncoder:
    """An encoder with a thread that is ready to start one ffmpeg."""

    encoder: Encoder
    starter: Starter

    @contextlib.asynccontextmanager
    async def open(
        self,
        source: WavHeader,
        target: Mp3Format,
        stdout: int,
        tag: bytes,
        take_sound: Callable[[bytes], None] | None = None,
    ) -> AsyncIterator[Encoding]:
        """Start an ffmpeg that writes to the descriptor `stdout`. The end of the block kills and reaps it.

        The MP3 begins with the ID3 tag. `take_sound` gets what ffmpeg decodes, as 16-bit samples, until `finish`
        returns. All of this also holds if the block raises or is cancelled. Raises Unavailable if ffmpeg cannot be
        started.
        """
        with decoded_sound(source.channels, take_sound) as sound:
            output = Output(target, len(tag), None if sound is None else sound.descriptor)
            try:
                command = encode_command(self.encoder.ffmpeg, source, output, self.encoder.max_duration_seconds)
                process = await FfmpegProcess.start(self.starter, command, stdout, sound)
            except OSError as error:
                raise encode_failures.not_started(str(error)) from error
            try:
                draft = Mp3Draft(target, tag, stdout, sound)
                encoding = Encoding(process, source, draft, self.encoder.stall_seconds)
                await encoding.begin()
                yield encoding
            finally:
                await process.kill()
