"""Checks a finished MP3, and writes its ID3 tag and its Info frame."""

import os

from service.audio.info_frame import expected_size, info_frame
from service.audio.mp3 import Mp3Format
from service.audio.mp3_length import ENCODER_DELAY, Mp3Length

# What stands where, counted from the tag "Info".
_FRAMES, _SIZE, _CONTENTS, _ENCODER = slice(8, 12), slice(12, 16), slice(16, 116), slice(120, 129)
_DELAYS, _SIZE_AGAIN, _CHECKSUMS = slice(141, 144), slice(148, 152), slice(152, 156)
# ffmpeg states a padding of no more than a frame and its decoder's delay.
_DECODER_DELAY = 529
# From these sizes on, ffmpeg's table of contents is all zeros, and its sizes begin again at zero.
_FIRST_SIZE_WITHOUT_CONTENTS, _FIRST_SIZE_THAT_WRAPS = 2**31, 2**32


class IncompleteMp3Error(Exception):
    """The MP3 is not what ffmpeg makes of so many samples."""


def seal(
    descriptor: int, tag: bytes, mp3_format: Mp3Format, length: Mp3Length, encoded: Mp3Length | None = None
) -> None:
    """Check the MP3 that ffmpeg has finished, and write `tag` and our own Info frame over ffmpeg's.

    ffmpeg must have reserved exactly as much room for the tag. Its Info frame must agree with ours, which follows from
    the count of samples alone, and the file must be as long as they say. ffmpeg's own padding is wrong by 1 to 46
    samples for one length in 25, and by the resampler's rounding; ours is exact.

    If ffmpeg got more sound than the MP3 must have, `encoded` is the length of all that, and the frames behind the
    MP3's own are cut off. Raises IncompleteMp3Error and OSError.
    """
    encoded = encoded or length
    if encoded.frame_count < length.frame_count:
        raise IncompleteMp3Error(f"{encoded.frame_count} frames are fewer than {length.frame_count}")
    try:
        frame, sealed_frame = info_frame(mp3_format, encoded), info_frame(mp3_format, length)
    except ValueError as error:
        raise IncompleteMp3Error(str(error)) from error
    found = os.pread(descriptor, len(tag) + len(frame), 0)
    if found[:10] != tag[:10]:
        raise IncompleteMp3Error(f"no ID3 tag of {len(tag)} bytes at the start")
    expected, actual = expected_size(mp3_format, encoded, len(tag)), os.fstat(descriptor).st_size
    _require_agreement(found[len(tag) :], frame, encoded, _unstated_by_ffmpeg(expected - len(tag)))
    _require_possible_padding(found[len(tag) + frame.index(b"Info") :], mp3_format, encoded)
    if actual != expected:
        raise IncompleteMp3Error(f"{actual} bytes instead of {expected} for {encoded.sample_count} samples")
    if length.frame_count < encoded.frame_count:
        os.ftruncate(descriptor, expected_size(mp3_format, length, len(tag)))
    _write(descriptor, tag + sealed_frame)


def _unstated_by_ffmpeg(size: int) -> tuple[slice, ...]:
    """Return the parts of the Info header that ffmpeg gets wrong for an MP3 of `size` bytes without its tag."""
    contents = (_CONTENTS,) if size >= _FIRST_SIZE_WITHOUT_CONTENTS else ()
    sizes = (_SIZE, _SIZE_AGAIN) if size >= _FIRST_SIZE_THAT_WRAPS else ()
    return contents + sizes


def _require_agreement(found: bytes, ours: bytes, length: Mp3Length, unstated: tuple[slice, ...]) -> None:
    """Raise IncompleteMp3Error unless ffmpeg's Info frame is ours, but for what ffmpeg alone knows or gets wrong."""
    start = ours.index(b"Info")
    if len(found) < len(ours) or found[start : start + 4] != b"Info":
        raise IncompleteMp3Error("no Info header")
    header, expected = found[start:], bytearray(ours)
    frames = int.from_bytes(header[_FRAMES], "big")
    if frames != length.frame_count:
        raise IncompleteMp3Error(f"{frames} frames instead of {length.frame_count} for {length.sample_count} samples")
    for part in (_ENCODER, _DELAYS, _CHECKSUMS, *unstated):
        expected[start + part.start : start + part.stop] = header[part]
    if found != expected:
        raise IncompleteMp3Error("another Info header than these samples give")


def _require_possible_padding(header: bytes, mp3_format: Mp3Format, length: Mp3Length) -> None:
    """Raise IncompleteMp3Error if ffmpeg's Info header states another number of samples than it can have got."""
    delay, padding = divmod(int.from_bytes(header[_DELAYS], "big"), 2**12)
    samples_per_frame = mp3_format.version.samples_per_frame
    encoded = length.frame_count * samples_per_frame - delay - padding
    fewest = (length.frame_count - 1) * samples_per_frame - delay - _DECODER_DELAY
    possible = {*length.encoded_counts, *(max(count, fewest) for count in length.encoded_counts)}
    if delay != ENCODER_DELAY or encoded not in possible:
        raise IncompleteMp3Error(f"{encoded} samples after a delay of {delay} for {length.sample_count} samples")


def _write(descriptor: int, content: bytes) -> None:
    written = os.pwrite(descriptor, content, 0)
    if written != len(content):
        raise OSError(f"wrote {written} of {len(content)} bytes")
