"""Splits a WAV that arrives in pieces into its header and its samples."""

from service.audio.wav_header import WavHeader, parse_header
from service.errors import Unprocessable
from service.models import RecordWarning
from service.refusals import EMPTY, SIZE_WRAPPED, TRUNCATED

# A RIFF file's 32-bit sizes cannot describe more than this, so a longer body means that they wrapped.
MAX_RIFF_BYTES = 2**32 + 8
# The next chunk's name follows the samples directly or, with some writers, after a pad byte.
_TAIL_BYTES = 5


class WavReader:
    """A WAV that arrives in pieces.

    Only its samples go on to the encoder, so that ffmpeg never parses a chunk that a client wrote. Unknown chunks are
    skipped, so that memory does not depend on the sizes of the pieces and chunks.
    """

    def __init__(self) -> None:
        self.header: WavHeader | None = None
        self.byte_count = 0
        self.data_byte_count = 0
        self._passed_byte_count = 0
        self._parser = parse_header()
        self._wanted = next(self._parser)
        self._pending = bytearray()
        self._partial = b""
        self._tail = b""

    def feed(self, piece: bytes) -> bytes:
        """Take the body's next piece and return the samples that it completes.

        Raises UnsupportedMedia for a body that is not a WAV and Unprocessable for a WAV that we refuse, as soon as the
        bytes that show it have arrived.
        """
        self.byte_count += len(piece)
        if self.header is None:
            piece = self._feed_header(piece)
        if self.header is None:
            return b""
        if self.header.data_size is not None:
            piece = self._cut(piece, self.header.data_size)
            if self.header.is_riff and self.byte_count > MAX_RIFF_BYTES:
                raise SIZE_WRAPPED(offset=self.byte_count)
        self.data_byte_count += len(piece)
        return self._whole_samples(piece, self.header)

    def finish(self) -> int:
        """Take the end of the body and return the number of samples per channel.

        Raises Unprocessable if samples that the header declares are missing, or if there are none.
        """
        if self.byte_count == 0:
            raise self._empty()
        if self.header is None:
            raise self._truncated("header")
        declared = self.header.data_size
        if declared is not None and self.data_byte_count < declared:
            raise self._truncated(f"{declared} bytes of samples")
        sample_count = self.header.sample_count(self.data_byte_count)
        if sample_count == 0:
            raise self._empty()
        return sample_count

    def last_block(self) -> bytes:
        """Return the block that a finished WAV breaks off in, filled up to a whole one. Empty if it holds no sample."""
        header = self.header
        if header is None or header.block_codec is None:
            return b""
        if header.block_codec.sample_count(len(self._partial), header.channels) == 0:
            return b""
        return self._whole_samples(bytes(header.block_align - len(self._partial)), header)

    def warnings(self) -> tuple[RecordWarning, ...]:
        """Return what was odd about a finished WAV but does not refuse it."""
        found = list(self.header.warnings) if self.header is not None else []
        if self.header is not None and (rest := self.header.leftover(self.data_byte_count)):
            detail = f"The last {rest} bytes are less than one sample and were left out."
            found.append(RecordWarning("partial_sample", detail))
        if self.header is not None and self.header.is_fact_wrong(self.data_byte_count):
            held = self.header.sample_count(self.data_byte_count)
            detail = f"The fact chunk says {self.header.fact} samples, but the blocks hold {held}. All are kept."
            found.append(RecordWarning("wrong_fact", detail))
        if len(self._tail) == _TAIL_BYTES and not _is_chunk_id(self._tail[-4:]) and not _is_chunk_id(self._tail[:4]):
            detail = "The bytes after the declared samples are not a chunk and were ignored."
            found.append(RecordWarning("trailing_bytes", detail))
        return tuple(found)

    def _empty(self) -> Unprocessable:
        return EMPTY(byte_count=self.byte_count, offset=self.byte_count)

    def _truncated(self, part: str) -> Unprocessable:
        return TRUNCATED(byte_count=self.byte_count, part=part, offset=self.byte_count)

    def _feed_header(self, piece: bytes) -> bytes:
        self._pending += piece
        while True:
            if self._wanted < 0:  # a skip: drop what has arrived of it
                skipped = min(-self._wanted, len(self._pending))
                del self._pending[:skipped]
                self._wanted += skipped
            if self._wanted < 0 or len(self._pending) < self._wanted:
                return b""
            taken = bytes(self._pending[: self._wanted])
            del self._pending[: self._wanted]
            try:
                self._wanted = self._parser.send(taken)
            except StopIteration as parsed:
                self.header = parsed.value
                rest, self._pending = bytes(self._pending), bytearray()
                return rest

    def _whole_samples(self, piece: bytes, header: WavHeader) -> bytes:
        if self._partial:
            piece = self._partial + piece
        place = header.data_offset + self._passed_byte_count
        rest = len(piece) % header.block_align
        self._partial = piece[-rest:] if rest else b""
        whole = piece[:-rest] if rest else piece
        self._passed_byte_count += len(whole)
        codec = header.block_codec
        return whole if codec is None else codec.cleaned(whole, header.block_align, header.channels, place)

    def _cut(self, piece: bytes, data_size: int) -> bytes:
        room = data_size - self.data_byte_count
        if len(piece) <= room:
            return piece
        if len(self._tail) < _TAIL_BYTES:
            self._tail = (self._tail + piece[room : room + _TAIL_BYTES])[:_TAIL_BYTES]
        return piece[:room]


def _is_chunk_id(name: bytes) -> bool:
    return all(0x20 <= byte < 0x7F for byte in name)  # noqa: PLR2004 - printable ASCII
