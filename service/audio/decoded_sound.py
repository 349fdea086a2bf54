"""Reads the samples that ffmpeg has decoded, from a pipe of its own."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator

from service.audio.encode_failures import not_started

_PIECE_BYTES = 64 * 1024


@contextlib.contextmanager
def decoded_sound(channels: int, take: Callable[[bytes], None] | None) -> Iterator["DecodedSound | None"]:
    """Have a pipe for the length of the block, if there is somebody to `take` what comes. Raises Unavailable."""
    if take is None:
        yield None
        return
    try:
        sound = DecodedSound(channels, take)
    except OSError as error:
        raise not_started(str(error)) from error
    try:
        yield sound
    finally:
        sound.close()


class DecodedSound:
    """A pipe into which one ffmpeg writes what it decodes, as 16-bit samples of all channels in turn.

    `take` gets whole samples as they come. `descriptor` is ffmpeg's end, to be closed here once ffmpeg has it.
    """

    def __init__(self, channels: int, take: Callable[[bytes], None]) -> None:
        """Make the pipe. Raises OSError."""
        self._reading, self.descriptor = os.pipe()
        os.set_blocking(self._reading, False)
        self._align = 2 * channels
        self._take = take
        self._rest = b""
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(self._reading, self._read)

    def hand_over(self) -> None:
        """Close ffmpeg's end here, so that its end can be seen."""
        os.close(self.descriptor)
        self.descriptor = -1

    def close(self) -> None:
        """Stop reading."""
        if self.descriptor >= 0:
            self.hand_over()
        if not self.ended.done():
            self._end()

    def _read(self) -> None:
        piece = os.read(self._reading, _PIECE_BYTES)
        if not piece:
            self._end()
            return
        piece = self._rest + piece
        whole = len(piece) // self._align * self._align
        self._rest = piece[whole:]
        self._take(piece[:whole])

    def _end(self) -> None:
        self._loop.remove_reader(self._reading)
        os.close(self._reading)
        self.ended.set_result(None)
