"""Compares what a WAV's sizes say with what arrived."""

from dataclasses import dataclass

from service.audio.chunks import CHUNK_HEADER_BYTES
from service.audio.wav_header import WavHeader
from service.models import RecordWarning
from service.record_warnings import KEPT_TRUNCATED, SURPLUS_SOUND, WRONG_DATA_SIZE

# A RIFF size that is too small by some fields of the header still shows that nothing is missing.
_HEADER_SLACK = 64


@dataclass(frozen=True, slots=True)
class Arrived:
    """What arrived of a WAV: all of its bytes, those of samples, and how many of these the header does not declare."""

    header: WavHeader
    byte_count: int
    data_byte_count: int
    surplus: int

    @property
    def shortage(self) -> int | None:
        """How many bytes of samples there should be, if there are fewer and nothing shows that this is wrong."""
        declared = self.header.data_size
        if declared is None:
            return None
        if self.data_byte_count < declared:
            return None if self._is_data_size_wrong else declared
        if self.surplus and self.header.riff_end is not None and not self._ends_with_riff:
            # The data size is wrong, so the RIFF size is the only one that may be right.
            whole = self.header.riff_end - self.header.data_offset
            return whole if self.header.riff_end > self.byte_count else None
        return None

    def warnings(self) -> list[RecordWarning]:
        """Return a warning if the sizes do not fit what arrived."""
        declared, byte_count = self.header.data_size, self.data_byte_count
        if self.shortage is not None:
            return [KEPT_TRUNCATED(declared=self.shortage, byte_count=byte_count)]
        if declared is not None and (byte_count < declared or (self.surplus and declared == 0)):
            return [WRONG_DATA_SIZE(declared=declared, byte_count=byte_count)]
        return [SURPLUS_SOUND(declared=declared, surplus=self.surplus)] if declared and self.surplus else []

    @property
    def _ends_with_riff(self) -> bool:
        """Whether the body ends where the RIFF size says, but for a pad byte, or for RIFF's own header counted in."""
        return (self.header.riff_end or 0) - self.byte_count in {-1, 0, 1, CHUNK_HEADER_BYTES}

    @property
    def _is_data_size_wrong(self) -> bool:
        """Whether the data chunk declares too much, because the RIFF size shows that nothing is missing.

        A chunk that reaches past the end of its RIFF has a wrong size. Many programs count the header in.
        """
        header, end = self.header, self.header.riff_end
        if end is None or header.data_size is None or end >= header.data_offset + header.data_size:
            return False
        # If both sizes are the same, it is the RIFF size that does not count the header.
        is_short_riff_size = end - header.riff_offset - CHUNK_HEADER_BYTES == header.data_size
        is_near = -_HEADER_SLACK <= end - self.byte_count < 0 and not is_short_riff_size
        return self._ends_with_riff or is_near
