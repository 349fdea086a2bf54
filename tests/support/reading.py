"""Reads a whole WAV in the simplest way, to know what the service must make of it. Shares no code with the service."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.support import wavs
from tests.support.blocks import KINDS, read_blocks
from tests.support.hostile import Taken

BYTES_A_SAMPLE = {(1, 1), (1, 2), (1, 3), (1, 4), (3, 4), (3, 8), (6, 1), (7, 1)}
# The names of chunks that tests write.
KNOWN = {b"LIST", b"JUNK", b"fmt ", b"ds64", b"bext", b"id3 ", b"fact"}
SECOND = {b"data", b"RIFF", b"RF64", b"BW64"}
PLACEHOLDERS = {0x1FFFFFFE, 0x3FFFFFFF, 10**9, 2 * 10**9, 3 * 10**9, 4 * 10**9, 0x7FFF0000}


@dataclass(frozen=True)
class Reading:
    """What a file holds: each sound that would be right, and whether a refusal would be right."""

    sounds: Sequence[Taken] = ()
    may_be_refused: bool = True


NOTHING = Reading()


@dataclass(frozen=True)
class Sizes:
    """Where the samples begin, how many bytes are declared, and where RIFF says that the file ends; None: unknown."""

    place: int
    declared: int | None
    riff_end: int | None


def reading(wav: bytes) -> Reading:
    """Return what the service may make of a file."""
    start = tags_end(wav)
    body = wav[start:]
    if body[:4] not in {b"RIFF", b"RF64", b"BW64"} or body[8:12] != b"WAVE":
        return NOTHING
    found = chunks_before_samples(body)
    if found is None:
        return NOTHING
    chunks, place, is_doubtful = found
    fmt = chunks.get(b"fmt ", b"")
    block_form = form_of_blocks(fmt)
    form = block_form or form_of(fmt)
    sizes = sizes_of(body, chunks.get(b"ds64", b""), place)
    if form is None or sizes is None:
        return NOTHING
    sample_rate, channels, block_align = form
    lengths, may_be_refused = lengths_of(body, sizes)
    if block_form is None:
        counts = sorted({length // block_align for length in lengths} - {0})
    else:
        fact = chunks.get(b"fact", b"")
        counts = sorted({read_blocks(fmt, fact, body[place : place + length]) or 0 for length in lengths} - {0})
    sounds = [Taken(wav, count, sample_rate, channels) for count in counts]
    return Reading(sounds, may_be_refused or is_doubtful or len(counts) < len(set(lengths)) or not sounds)


def tags_end(wav: bytes) -> int:
    """Return where the ID3 tags in front of a file end."""
    place = 0
    while wav[place : place + 3] == b"ID3" and len(wav) >= place + 10 and wav[3] in {2, 3, 4}:
        flags, sizes = wav[place + 5], wav[place + 6 : place + 10]
        place += 10 + sum(byte << shift for byte, shift in zip(sizes, (21, 14, 7, 0), strict=True))
        place += 10 if flags & 0x10 else 0
    return place


def chunks_before_samples(wav: bytes) -> tuple[dict[bytes, bytes], int, bool] | None:
    """Return the chunks in front of the samples, where the samples start, and whether a pad byte is odd."""
    chunks: dict[bytes, bytes] = {}
    place, is_doubtful = 12, False
    while len(wav) >= place + 8:
        name, size = struct.unpack_from("<4sI", wav, place)
        place += 8
        if name == b"data":
            return chunks, place, is_doubtful
        if size and name in {b"fmt ", b"ds64", b"fact"}:  # an empty chunk says nothing
            if name in chunks and name != b"fact":
                return None
            chunks[name] = wav[place : place + size]
        place += size + size % 2
        is_doubtful |= bool(size % 2 and wav[place - 1 : place] != b"\0")
    return None


def form_of(fmt: bytes) -> tuple[int, int, int] | None:
    """Return the sample rate, the channels and the bytes per frame; None if the service does not take them."""
    if len(fmt) < 16:
        return None
    tag, channels, sample_rate, _, declared_align, bits = struct.unpack_from("<HHIIHH", fmt)
    if tag == wavs.EXTENSIBLE_TAG:
        if len(fmt) < 40:
            return None
        tag, tail = struct.unpack_from("<H14s", fmt, 24)
        tag = tag if tail == b"\0\0\0\0\x10\0" + wavs.GUID_TAIL else 0
    byte_count = 1 if tag in {6, 7} else -(-bits // 8)
    is_right = (tag, byte_count) in BYTES_A_SAMPLE and (byte_count != 3 or declared_align != 4 * channels)
    return (sample_rate, channels, channels * byte_count) if is_right and _is_sensible(sample_rate, channels) else None


def form_of_blocks(fmt: bytes) -> tuple[int, int, int] | None:
    """Return the sample rate, the channels and 1; None if these are not blocks."""
    if len(fmt) < 16:
        return None
    tag, channels, sample_rate = struct.unpack_from("<HHI", fmt)
    is_right = tag in {kind.tag for kind in KINDS} and _is_sensible(sample_rate, channels)
    return (sample_rate, channels, 1) if is_right else None


def _is_sensible(sample_rate: int, channels: int) -> bool:
    return 1000 <= sample_rate <= 768_000 and 1 <= channels <= 32


def is_unknown(size: int) -> bool:
    """Return whether a size is one of those that mean "I do not know"."""
    return size in PLACEHOLDERS or 0x7FFF_EFC0 <= size <= 2**31 or 0xFFFF_FF00 <= size < 2**32


def sizes_of(wav: bytes, ds64: bytes, place: int) -> Sizes | None:
    """Return what a file says about its sizes; None if it has no ds64 and needs one."""
    (declared,) = struct.unpack_from("<I", wav, place - 4)
    (riff_size,) = struct.unpack_from("<I", wav, 4)
    is_long = False
    if wav[:4] != b"RIFF":
        if len(ds64) < 16:
            return None
        riff_size, long_size = struct.unpack_from("<QQ", ds64)
        is_long = declared in {0, wavs.UNKNOWN_SIZE}
        declared = long_size if is_long else declared
    if is_long:
        end = riff_size + 8 if riff_size + 8 < 2**63 else None
        return Sizes(place, declared if declared < 2**63 else None, end if end and end > place else None)
    riff_end = riff_size + 8
    is_known = riff_end > place and not is_unknown(riff_size) and not is_unknown(riff_end - place)
    return Sizes(place, None if is_unknown(declared) else declared, riff_end if is_known else None)


def lengths_of(wav: bytes, sizes: Sizes) -> tuple[list[int], bool]:
    """Return how many bytes of samples may be right, and whether a refusal would be right."""
    there = len(wav) - sizes.place
    if sizes.declared is None:
        return [there], False
    too_much = sizes.riff_end - len(wav) if sizes.riff_end is not None else None
    if sizes.declared > there:
        return ([there], False) if riff_disproves(sizes, too_much) else ([], True)
    ends = list(ends_of(wav, sizes))
    is_short = too_much is not None and too_much > 1 and too_much != 8
    declared_end = sizes.place + sizes.declared
    right = [end for end in ends if end == declared_end or not is_short]
    return [end - sizes.place for end in right], len(ends) != 1 or len(right) != 1


def riff_disproves(sizes: Sizes, too_much: int | None) -> bool:
    """Return whether the RIFF size shows that the data chunk declares too much."""
    if too_much is None or sizes.riff_end is None or sizes.declared is None:
        return False
    if sizes.riff_end >= sizes.place + sizes.declared:
        return False
    return too_much in {-1, 0, 1, 8} or (-64 <= too_much < -1 and sizes.riff_end - 8 != sizes.declared)


def ends_of(wav: bytes, sizes: Sizes) -> Iterator[int]:
    """Yield where the samples may end: none if they must be refused, several if nobody can tell."""
    assert sizes.declared is not None
    end = sizes.place + sizes.declared
    rest = wav[end:]
    pads = (1, 0) if sizes.declared % 2 else (0,)
    if len(rest) <= pads[0]:
        yield end
        return
    first = next((pad for pad in pads if rest[pad : pad + 4] in KNOWN | SECOND and len(rest) >= pads[0] + 8), None)
    if first is not None:
        if not any(name in SECOND for name in names_behind(rest[first:])) and sizes.declared:
            yield end
        return
    looks_like_one = any(is_printable(rest[pad : pad + 4]) for pad in pads) and len(rest) >= pads[0] + 8
    if sizes.declared == 0 and sizes.riff_end is None:
        looks_like_one = False
    yield len(wav)
    if looks_like_one:
        yield end


def names_behind(rest: bytes) -> Iterator[bytes]:
    """Yield the names of the chunks at the start of these bytes, up to the first that is none."""
    while len(rest) >= 8 and is_printable(rest[:4]):
        yield rest[:4]
        (size,) = struct.unpack_from("<I", rest, 4)
        rest = rest[8 + size :]
        if size % 2 and rest[:4] not in KNOWN | SECOND:  # it may lack its pad byte
            rest = rest[1:]


def is_printable(name: bytes) -> bool:
    return len(name) == 4 and all(0x20 <= byte < 0x7F for byte in name)
