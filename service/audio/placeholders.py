"""The sizes that programs write in a header if they do not know how much sound follows."""

from dataclasses import dataclass

_BILLION = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Placeholder:
    """One kind of size that means "unknown": which sizes, and who writes them. The last size belongs to it."""

    first: int
    last: int
    writers: str

    @property
    def sizes(self) -> str:
        """The sizes as text."""
        return f"0x{self.first:X}" if self.first == self.last else f"0x{self.first:X} to 0x{self.last:X}"


def _exactly(size: int, writers: str) -> Placeholder:
    return Placeholder(size, size, writers)


# A size of 0 stands apart, because it may also be right. Each of these declares hours of sound, so a real recording is
# very unlikely to have exactly this size.
PLACEHOLDERS = (
    _exactly(0x1FFFFFFE, "speech servers in Python: `wave` with 0xFFFFFFF frames of 16 bits, mono"),
    _exactly(0x3FFFFFFF, "Python's `wave` with 2**30 - 1 frames of 8 bits, mono"),
    *(
        _exactly(_BILLION * width, f"speech servers in Python: `wave` with 10**9 frames of {width} bytes")
        for width in range(1, 5)
    ),
    _exactly(0x7FFF0000, "GStreamer's `wavenc` into a pipe"),
    Placeholder(
        0x7FFFEFC0,
        0x7FFFF000,
        "SoX, espeak-ng and MPlayer into a pipe; SoX leaves room for its header and a whole sample",
    ),
    Placeholder(0x7FFFF001, 0x7FFFFFFF, "`lame --decode`, Oboe's recorder and others: 2**31 - 1, or a little less"),
    _exactly(0x80000000, "`arecord`"),
    Placeholder(
        0xFFFFFF00,
        0xFFFFFFFF,
        "FFmpeg into a pipe, OpenAI's speech, Jamulus, Node's `wav` and others: 2**32 - 1, or that without a header",
    ),
)


def is_placeholder(size: int) -> bool:
    """Return whether a 32-bit size of a data chunk means that its writer did not know it."""
    return any(kind.first <= size <= kind.last for kind in PLACEHOLDERS)
