"""How far an upload has come."""

from dataclasses import dataclass, field

from service.audio.mp3 import Mp3Format
from service.audio.mp3_outline import Mp3Outline
from service.audio.peaks import Peaks
from service.audio.wav import WavReader
from service.audio.wav_header import WavHeader


@dataclass(slots=True)
class Progress:
    """How far an upload has come. The ingest keeps it true.

    `reader` knows what has arrived. `target` is None until the WAV's header has been read. `peaks` draws the
    waveform, and is None until then, too. `is_cut` says that no more could come, although more was to be expected.
    """

    reader: WavReader = field(default_factory=WavReader)
    target: Mp3Format | None = None
    peaks: Peaks | None = None
    is_finishing: bool = False
    is_cut: bool = False

    def begin(self, header: WavHeader, outline: Mp3Outline) -> None:
        """Note what the WAV's header says: the MP3's format, and what the waveform is drawn from."""
        self.target = outline.mp3_format
        self.peaks = Peaks(header, outline.sample_count)

    def waveform(self) -> bytes | None:
        """Return the waveform so far as an audiowaveform data file, if there is one."""
        return self.peaks.dat() if self.peaks is not None else None

    def draw(self, samples: bytes) -> None:
        """Add samples to the waveform: those that have been encoded, or those that ffmpeg has decoded."""
        if self.peaks is not None:
            self.peaks.feed(samples)

    def end_drawing(self) -> None:
        """Cut the waveform where the sound ends: ffmpeg has got silence behind it, and decodes whole blocks."""
        if self.peaks is not None:
            self.peaks.end(self.reader.sample_count)

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
