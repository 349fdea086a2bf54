"""Tells what follows the samples that a WAV declares: chunks, more sound, or another recording."""

import struct
from dataclasses import dataclass
from enum import Enum, auto

from service.audio.chunks import CHUNK_HEADER_BYTES, KNOWN_CHUNKS, WAV_MAGIC, is_name, is_trailer
from service.audio.header_chunks import MAX_CHUNKS, MAX_HEADER_BYTES
from service.audio.wav_header import WavHeader
from service.models import RecordWarning
from service.record_warnings import KEPT_SECOND_SOUND, KEPT_UNCLEAR_END, TRAILING_BYTES


class _State(Enum):
    """What the next byte belongs to."""

    UNDECIDED = auto()
    SOUND = auto()
    CHUNK = auto()
    LEFT_OUT = auto()


@dataclass(frozen=True, slots=True)
class SecondSound:
    """A second data chunk, or a second WAV, and where it stands."""

    what: str
    offset: int


class WavSurplus:
    """What follows the samples that a WAV declares, as it arrives.

    What is not a chunk is sound, because many programs do not know the size when they write the header. A few bytes
    are held back until they show which it is. At the end, `sound_byte_count` says how much more sound there was,
    `junk_offset` where the first byte stands that is certainly not sound, `second` whether another recording follows,
    and `unclear_offset` where the bytes begin that may be either. They are None if there is no such thing.
    """

    def __init__(self, header: WavHeader) -> None:
        declared = header.data_size or 0
        self.sound_byte_count = 0
        self.junk_offset: int | None = None
        self.second: SecondSound | None = None
        self.unclear_offset: int | None = None
        self._riff_end = header.riff_end
        self._is_zero = header.is_zero
        self._state = _State.UNDECIDED
        self._held = bytearray()
        self._offset = header.data_offset + declared
        # After an odd number of bytes a pad byte follows, which some programs leave out.
        self._pads = (1, 0) if declared % 2 else (0,)
        self._skip = 0
        self._chunk_count = 0
        # Where the first chunk with an unknown name stands, until a known one or the end of the body proves it.
        self._doubtful: int | None = None

    def feed(self, piece: bytes) -> bytes:
        """Take the next bytes behind the declared samples, and return the sound in them."""
        if self._state is _State.SOUND:
            self.sound_byte_count += len(piece)
            return piece
        if self._state is _State.LEFT_OUT:
            return b""
        self._held += piece
        while self._state in {_State.UNDECIDED, _State.CHUNK}:
            if self._state is _State.CHUNK and not self._skip_chunk():
                return b""
            if self._state is _State.UNDECIDED:
                if len(self._held) < CHUNK_HEADER_BYTES + self._pads[0]:
                    return b""
                self._decide()
        return self._release()

    def finish(self) -> bytes:
        """Take the end of the body, and return the sound in what was held back."""
        if self._state is _State.CHUNK:  # it is cut
            self.junk_offset = self._offset if self._doubtful is None else None
            self.unclear_offset = self._doubtful
        elif self._state is _State.UNDECIDED and len(self._held) > self._pads[0]:
            self._end_with_a_rest()
        return self._release()

    def warnings(self) -> list[RecordWarning]:
        """Return what was odd about the end, and does not refuse the WAV, or was kept although it does."""
        found = []
        if self.second is not None:
            found.append(KEPT_SECOND_SOUND(what=self.second.what, offset=self.second.offset))
        if self.unclear_offset is not None:
            found.append(KEPT_UNCLEAR_END(offset=self.unclear_offset))
        if self.junk_offset is not None:
            found.append(TRAILING_BYTES(offset=self.junk_offset))
        return found

    def _release(self) -> bytes:
        if self._state is not _State.SOUND:
            self._held.clear()
            return b""
        sound = bytes(self._held)
        self._held.clear()
        self.sound_byte_count += len(sound)
        return sound

    def _end_with_a_rest(self) -> None:
        """Judge a rest that is too short for a chunk."""
        if self._chunk_count == 0:
            self._state = _State.SOUND
        else:
            self._leave_out()

    def _skip_chunk(self) -> bool:
        """Drop what has arrived of a chunk, and return whether it was all of it."""
        dropped = min(self._skip, len(self._held))
        del self._held[:dropped]
        self._skip -= dropped
        self._offset += dropped
        if not self._skip:
            self._state = _State.UNDECIDED
        return not self._skip

    def _decide(self) -> None:
        """Decide what begins here, from enough bytes for the header of a chunk."""
        for pad in self._pads:
            chunk_id, size = struct.unpack_from("<4sI", self._held, pad)
            if chunk_id == b"data" or chunk_id in WAV_MAGIC:
                what = "data chunk" if chunk_id == b"data" else "WAV"
                self.second = SecondSound(what, self._offset + pad)
                self._state, self._doubtful = _State.LEFT_OUT, None
                return
            if chunk_id in KNOWN_CHUNKS or self._may_be_chunk(chunk_id, size, pad):
                self._enter_chunk(chunk_id, size, pad)
                return
        if self._chunk_count == 0 and (self._is_zero or not is_trailer(bytes(self._held[:CHUNK_HEADER_BYTES]))):
            self._state = _State.SOUND
        else:
            self._leave_out()

    def _may_be_chunk(self, chunk_id: bytes, size: int, pad: int) -> bool:
        """Return whether this may be a chunk although its name is not a known one."""
        end = self._offset + pad + CHUNK_HEADER_BYTES + size
        if self._riff_end is not None and self._offset < self._riff_end:
            return is_name(chunk_id) and end <= self._riff_end + 1
        # A recorder that knows no size would lose its recording if its first samples looked like a name.
        return is_name(chunk_id) and not self._is_zero and size <= MAX_HEADER_BYTES

    def _enter_chunk(self, chunk_id: bytes, size: int, pad: int) -> None:
        self._chunk_count += 1
        if self._chunk_count > MAX_CHUNKS:
            self._leave_out()
            return
        end = self._offset + pad + CHUNK_HEADER_BYTES + size
        ends_with_riff = self._riff_end is not None and abs(end - self._riff_end) <= 1
        if chunk_id in KNOWN_CHUNKS or ends_with_riff:
            self._doubtful = None
        elif self._chunk_count == 1:
            self._doubtful = self._offset + pad
        del self._held[: pad + CHUNK_HEADER_BYTES]
        self._offset += pad + CHUNK_HEADER_BYTES
        self._skip = size
        self._pads = (1, 0) if size % 2 else (0,)
        self._state = _State.CHUNK if size else _State.UNDECIDED

    def _leave_out(self) -> None:
        """Leave out all that follows: after a chunk it is not sound, unless that chunk was none."""
        self._state = _State.LEFT_OUT
        self.unclear_offset, self._doubtful = self._doubtful, None
        if self.unclear_offset is None:
            self.junk_offset = self._offset
