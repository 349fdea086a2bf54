"""How far an upload has come."""

from dataclasses import dataclass, field

from service.audio.mp3 import Mp3Format
from service.audio.wav import WavReader


@dataclass(slots=True)
class Progress:
    """How far an upload has come. The ingest keeps it true.

    `reader` knows what has arrived. `target` is None until the WAV's header has been read. `is_cut` says that no more
    could come, although more was to be expected.
    """

    reader: WavReader = field(default_factory=WavReader)
    target: Mp3Format | None = None
    is_finishing: bool = False
    is_cut: bool = False

    @property
    def duration(self) -> float:
        """Seconds of sound that have arrived."""
        header = self.reader.header
        return 0.0 if header is None else self.reader.data_byte_count / header.playing_rate

    @property
    def expected_duration(self) -> float | None:
        """Seconds of sound that the WAV declares, or None if nobody knows."""
        header = self.reader.header
        return None if header is None or header.data_size is None else header.data_size / header.playing_rate
