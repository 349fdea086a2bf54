"""Builds an MP3's first frame, which has no sound and tells players how long the MP3 is."""

# The Info header is Xing's; LAME's extension of it says how many of the decoded samples are sound, so that players can
# play it sample-exact (gabriel.mp3-tech.org/mp3infotag.html).

import struct
from functools import lru_cache

from service.audio.mp3 import Mp3Format, audio_byte_count
from service.audio.mp3_length import ENCODER_DELAY, Mp3Length

# The sync word, layer III, and no CRC behind the frame's header.
_SYNC = 0xFFE0_0000 | 1 << 17 | 1 << 16
_MONO = 3
# The header: "Info", flags, frames, bytes, a table of contents, a quality, LAME's extension. Zeros fill the frame up.
_HEADER_BYTES = 156
_FRAMES, _BYTES, _CONTENTS, _QUALITY = 1, 2, 4, 8  # what the flags say is there
_CONTENTS_ENTRIES = 100
# ffmpeg chooses the table's entries from at most so many places, which are a power of two of frames apart.
_MOST_PLACES = 400
# Firefox cuts off the delay and the padding only if "LAME" or "Lavc" made the MP3. ffmpeg says "Lavf lame" if it may
# not say its version, and it may not, so that the frame is the same whichever ffmpeg encodes.
_ENCODER = b"Lavc lame"
# ffmpeg computes the checksum from so many bytes of the frame, or of the zeros behind it.
_CRC_SPAN = 190
_LARGEST_PADDING = 0xFFF
# The header has 32 bits for the size. Players that find another one in it take the duration from the count of frames.
_LARGEST_STATED_SIZE = 2**32 - 1


@lru_cache(maxsize=256)  # it is needed before an upload's first sample, and again at its end
def info_frame(mp3_format: Mp3Format, length: Mp3Length) -> bytes:
    """Return the Info frame of an MP3 of this format and length: ffmpeg's, but for encoder, padding and checksums.

    The checksum of the sound is zero, because no player reads it and nobody knows it before the sound is encoded. The
    frame's own checksum is right. Raises ValueError for a padding that cannot be stated.
    """
    padding = length.frame_count * mp3_format.version.samples_per_frame - ENCODER_DELAY - length.sample_count
    if not 0 <= padding <= _LARGEST_PADDING:
        raise ValueError(f"a padding of {padding} samples")
    size = min(expected_size(mp3_format, length, tag_byte_count=0), _LARGEST_STATED_SIZE)
    counts = struct.pack(">3I", _FRAMES | _BYTES | _CONTENTS | _QUALITY, length.frame_count, size)
    return _frame(mp3_format, counts + _table_of_contents(mp3_format, length.frame_count), padding, size)


def endless_info_frame(mp3_format: Mp3Format) -> bytes:
    """Return the Info frame, of the same size, of an MP3 whose length is not known: it only states the delay."""
    return _frame(mp3_format, struct.pack(">I", _QUALITY), 0, 0)


def expected_size(mp3_format: Mp3Format, length: Mp3Length, tag_byte_count: int) -> int:
    """Return the exact size in bytes of an MP3 with an ID3 tag of so many bytes, before its first sample is encoded."""
    return tag_byte_count + _byte_count(mp3_format) + audio_byte_count(length.frame_count, mp3_format)


def _frame(mp3_format: Mp3Format, counts: bytes, padding: int, size: int) -> bytes:
    extension = struct.pack(
        ">4x9s12x3s4xI4x", _ENCODER, (ENCODER_DELAY << 12 | padding).to_bytes(3, "big"), size
    )  # before it a quality of 0, in it no gain; at its end no checksums
    frame = (_frame_header(mp3_format) + b"Info" + counts + extension).ljust(_byte_count(mp3_format), b"\0")
    checksum_offset = frame.index(b"Info") + 4 + len(counts) + len(extension) - 2
    checksum = _crc16(frame[:_CRC_SPAN].ljust(_CRC_SPAN, b"\0")).to_bytes(2, "big")
    return frame[:checksum_offset] + checksum + frame[checksum_offset + 2 :]


def _frame_header(mp3_format: Mp3Format) -> bytes:
    """Return the frame's header and the side information, which is empty."""
    version = mp3_format.version
    bit_rate_index = version.kilobits.index(_kilobits(mp3_format)) + 1
    sample_rate_index = version.sample_rates.index(mp3_format.sample_rate)
    word = _SYNC | version.number << 19 | bit_rate_index << 12 | sample_rate_index << 10
    if mp3_format.channels == 1:
        word |= _MONO << 6
    return word.to_bytes(4, "big") + bytes(_side_info_byte_count(mp3_format))


def _side_info_byte_count(mp3_format: Mp3Format) -> int:
    return mp3_format.version.side_info_byte_counts[mp3_format.channels - 1]


def _byte_count(mp3_format: Mp3Format) -> int:
    return mp3_format.version.frame_byte_count(mp3_format.sample_rate, _kilobits(mp3_format))


def _kilobits(mp3_format: Mp3Format) -> int:
    """Return the frame's own bit rate: the MP3's, or the next higher one at which the header fits into the frame."""
    version, least = mp3_format.version, 4 + _side_info_byte_count(mp3_format) + _HEADER_BYTES
    return next(
        kilobits
        for kilobits in version.kilobits
        if kilobits * 1000 >= mp3_format.bit_rate
        and version.frame_byte_count(mp3_format.sample_rate, kilobits) >= least
    )


def _table_of_contents(mp3_format: Mp3Format, frames: int) -> bytes:
    """Return, for each hundredth of the time, in which 256th of the bytes it begins."""
    apart = 1
    while frames // apart >= _MOST_PLACES:
        apart *= 2
    info_byte_count = _byte_count(mp3_format)
    size = info_byte_count + audio_byte_count(frames, mp3_format)
    entries = bytearray(1)
    for entry in range(1, _CONTENTS_ENTRIES):
        place = entry * (frames // apart) // _CONTENTS_ENTRIES
        begin = info_byte_count + audio_byte_count((place + 1) * apart, mp3_format)
        entries.append(min(256 * begin // size, 255))
    return bytes(entries)


def _crc_of_byte(crc: int) -> int:
    for _ in range(8):
        crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc


_CRC_OF_BYTES = tuple(map(_crc_of_byte, range(256)))


def _crc16(content: bytes) -> int:
    """Return the CRC-16/ARC, which LAME's extension and ffmpeg's muxer use."""
    crc = 0
    for byte in content:
        crc = crc >> 8 ^ _CRC_OF_BYTES[(crc ^ byte) & 0xFF]
    return crc
