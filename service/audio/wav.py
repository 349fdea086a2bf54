"""Splits a WAV that arrives in pieces into its header and its samples."""

from service.audio.other_formats import START_BYTES, may_become_wav, not_wav
from service.audio.wav_header import WavHeader, parse_header
from service.audio.wav_sizes import Arrived
from service.audio.wav_surplus import WavSurplus
from service.errors import ServiceError, Unprocessable
from service.models import RecordWarning
from service.record_warnings import PARTIAL_SAMPLE, WRONG_FACT
from service.refusals import EMPTY, SECOND_SOUND, SIZE_WRAPPED, TRUNCATED, UNCLEAR_END

# A RIFF file's 32-bit sizes cannot describe more than this, so a longer body means that they wrapped.
MAX_RIFF_BYTES = 2**32 + 8
_MAGIC_BYTES = 4


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
        # After `finish`: why sound may be missing, or None if all of it is there.
        self.missing: ServiceError | None = None
        self._parser = parse_header()
        self._wanted = next(self._parser)
        self._pending = bytearray()
        self._partial = b""
        self._surplus: WavSurplus | None = None
        self._is_sniffed = False

    @property
    def sample_count(self) -> int:
        """The number of whole samples per channel so far."""
        return self.header.sample_count(self.data_byte_count) if self.header is not None else 0

    @property
    def source_size(self) -> int:
        """How many bytes of the WAV the samples stand for: all so far, but for a second recording."""
        second = self._surplus.second if self._surplus is not None else None
        return second.offset if second is not None else self.byte_count

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
        if self.header.data_size is not None and self.header.is_riff and self.byte_count > MAX_RIFF_BYTES:
            raise SIZE_WRAPPED(offset=self.byte_count)
        return self._take(self._sound(self.header, piece), self.header)

    def finish(self) -> bytes:
        """Take the end of the body and return the samples that were held back, and the block that it breaks off in.

        `missing` then says whether the WAV is whole; its caller decides what to do if it is not. Raises
        UnsupportedMedia for a body that is not a WAV, and Unprocessable if there is not one sample.
        """
        if self.header is None:
            raise self._refusal_in_header()
        samples = self._take(self._surplus.finish(), self.header) if self._surplus is not None else b""
        self.missing = self._find_missing(self._arrived(self.header))
        if self.sample_count == 0:
            raise self.missing or self._empty()
        return samples + self._last_block(self.header)

    def warnings(self) -> tuple[RecordWarning, ...]:
        """Return what was odd about a finished WAV but does not refuse it."""
        if self.header is None:
            return ()
        found = [*self.header.warnings, *self._arrived(self.header).warnings()]
        if self._surplus is not None:
            found += self._surplus.warnings()
        if rest := self.header.leftover(self.data_byte_count):
            found.append(PARTIAL_SAMPLE(byte_count=rest))
        if self.header.is_fact_wrong(self.data_byte_count):
            found.append(WRONG_FACT(declared=self.header.fact, held=self.sample_count))
        return tuple(found)

    def _find_missing(self, arrived: Arrived) -> ServiceError | None:
        if (declared := arrived.shortage) is not None:
            advice = (
                "If it was cut in transfer, send the whole file. If its header is wrong, send it with ?incomplete=keep "
                "to keep what arrived."
            )
            return self._truncated(f"{declared} bytes of samples", advice)
        if self._surplus is None:
            return None
        if (second := self._surplus.second) is not None:
            return SECOND_SOUND(what=second.what, offset=second.offset)
        if (offset := self._surplus.unclear_offset) is not None:
            return UNCLEAR_END(offset=offset)
        return None

    def _arrived(self, header: WavHeader) -> Arrived:
        surplus = self._surplus.sound_byte_count if self._surplus is not None else 0
        return Arrived(header, self.byte_count, self.data_byte_count, surplus)

    def _sound(self, header: WavHeader, piece: bytes) -> bytes:
        """Return the bytes of a piece behind the header that are sound."""
        if header.data_size is None and not header.is_zero:
            return piece
        room = max((header.data_size or 0) - self.data_byte_count, 0)
        if self._surplus is None:
            if len(piece) <= room:
                return piece
            self._surplus = WavSurplus(header)
            return piece[:room] + self._surplus.feed(piece[room:])
        return self._surplus.feed(piece)

    def _empty(self) -> Unprocessable:
        advice = "Send a WAV with sound."
        if self.byte_count == 0:
            advice += " curl sends nothing if -T names a folder, or if the program in front of its pipe failed."
        return EMPTY(byte_count=self.byte_count, advice=advice, offset=self.byte_count)

    def _truncated(self, part: str, advice: str) -> Unprocessable:
        return TRUNCATED(byte_count=self.byte_count, part=part, advice=advice, offset=self.byte_count)

    def _refusal_in_header(self) -> ServiceError:
        """Return why a body that ends before its first sample is refused."""
        if self.byte_count == 0:
            return self._empty()
        if not self._is_sniffed and not may_become_wav(bytes(self._pending)):
            return not_wav(bytes(self._pending))
        try:
            self._parser.throw(EOFError())
        except ServiceError as error:
            return error
        except EOFError:
            pass
        return self._truncated("header", "Send the whole file.")

    def _feed_header(self, piece: bytes) -> bytes:
        self._pending += piece
        if not self._is_sniffed and not self._sniff():
            return b""
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

    def _sniff(self) -> bool:
        """Return whether the first bytes may be those of a WAV; what is not is named when enough of it has come."""
        start = bytes(self._pending[:START_BYTES])
        if not may_become_wav(start):
            if len(start) == START_BYTES:
                raise not_wav(start)
            return False
        self._is_sniffed = len(start) >= _MAGIC_BYTES
        return self._is_sniffed

    def _take(self, sound: bytes, header: WavHeader) -> bytes:
        """Count bytes of sound, and return the whole samples in them and in those that were left before them."""
        self.data_byte_count += len(sound)
        return self._whole_samples(sound, header)

    def _last_block(self, header: WavHeader) -> bytes:
        """Return the block that the WAV breaks off in, filled up to a whole one. Empty if it holds no sample."""
        codec = header.block_codec
        if codec is None or codec.sample_count(len(self._partial), header.channels) == 0:
            return b""
        return self._whole_samples(bytes(header.block_align - len(self._partial)), header)

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
