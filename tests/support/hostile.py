"""The corpus: WAVs that are wrong, by accident or on purpose, each with the code that it must get.

`REFUSED` has bodies that are not a WAV, or not one that the service takes; `TAKEN` has odd but valid WAVs, with the
number of samples that must come out of each. `outcomes` sends any number of bodies to a service.
"""

import asyncio
import io
import struct
import zipfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from math import inf, nan
from typing import Any, TypeVar

import numpy as np

from tests.support import hostile_blocks, mp3s, wavs
from tests.support.client import Answer, Service
from tests.support.wavs import F32, F64, GUID_TAIL, UNKNOWN_SIZE, chunk

T = TypeVar("T")
Outcome = TypeVar("Outcome")

RATE = 8000
COUNT = 400
SOUND = wavs.S16.encode(wavs.chirp(COUNT, RATE, 1))
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Refused:
    """A body that must be refused."""

    wav: bytes
    status: int
    code: str

    @property
    def verdict(self) -> tuple[int, str]:
        return self.status, self.code


@dataclass(frozen=True)
class Taken:
    """A body that must be taken to its last sample."""

    wav: bytes
    sample_count: int = COUNT
    sample_rate: int = RATE
    channels: int = 1

    @property
    def expected(self) -> tuple[int, int]:
        """The samples and channels that a player plays; below 32 kHz a frame cannot hold fewer than 47 samples."""
        count = mp3s.expected_sample_count(self.sample_count, self.sample_rate)
        fewest = 47 if mp3s.output_rate(self.sample_rate) < 32000 else 1
        return max(count, fewest), min(self.channels, 2)


async def outcomes(bodies: Mapping[str, T], throw: Callable[[T], Awaitable[Outcome]]) -> dict[str, Outcome]:
    """Send all bodies, a few at a time, and return the outcome of each by its name; a missing answer fails the test."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def outcome(name: str, body: T) -> tuple[str, Outcome]:
        async with slots:
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    return name, await throw(body)
            except Exception as error:
                error.add_note(f"with {name!r}")
                raise

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(outcome(name, body)) for name, body in bodies.items()]
    return dict(task.result() for task in tasks)


async def played(service: Service, answer: Answer, *, may_warn: bool = False) -> tuple[int, int]:
    """Return the samples and channels that a player plays of an upload's MP3."""
    assert answer.status == 201, answer.body
    mp3 = (await service.get(answer.json["url"])).body
    samples, channels = (await asyncio.to_thread(mp3s.decode, mp3, may_warn=may_warn)).shape
    return samples, channels


_AT_ONCE = 4
_PATIENCE_SECONDS = 45


def mono(sound: bytes = SOUND, **lies: Any) -> bytes:
    """Return a short WAV of 8 kHz, mono and 16 bits, except for what `lies` says."""
    return wavs.wav(sound, **{"sample_rate": RATE, "channels": 1} | lies)


def floats(value: float, sample_format: wavs.SampleFormat = F32, *, at: int | slice = COUNT // 2, **lies: Any) -> bytes:
    """Return a WAV of floats that has that value at a place or a slice."""
    samples = wavs.chirp(COUNT, RATE, 1)
    samples[at] = value
    return mono(sample_format.encode(samples), sample_format=sample_format, **lies)


def fmt(length: int = 16, **lies: Any) -> bytes:
    """Return the first `length` bytes of a correct fmt chunk."""
    whole = wavs.fmt_chunk(**{"sample_rate": RATE, "channels": 1} | lies)[8:]
    return chunk(b"fmt ", whole[:length])


def riff(*chunks: bytes, container: bytes = b"RIFF", form: bytes = b"WAVE") -> bytes:
    """Return a RIFF container of exactly these chunks."""
    content = form + b"".join(chunks)
    return container + struct.pack("<I", len(content)) + content


def data(sound: bytes = SOUND) -> bytes:
    return chunk(b"data", sound)


def ds64(data_size: int, length: int = 28) -> bytes:
    """Return the first `length` bytes of a ds64 chunk that declares that size."""
    return chunk(b"ds64", wavs.ds64_chunk(data_size + 72, data_size, data_size // 2)[8:][:length])


def rf64(*chunks: bytes) -> bytes:
    """Return an RF64 of these chunks, followed by the sound in a data chunk that leaves its size to ds64."""
    return riff(*chunks, chunk(b"data", SOUND, declared=UNKNOWN_SIZE), container=b"RF64")


def zipped(content: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr(zipfile.ZipInfo("talk.wav"), content)
    return archive.getvalue()


# A tag of 20 bytes.
ID3 = b"ID3\x03\0\0\0\0\0\x0a" + bytes(10)
_HTML = b"<!doctype html><script>alert(1)</script>"
_M3U8 = b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"
_FFCONCAT = b"ffconcat version 1.0\nfile 'http://127.0.0.1/'\n"
_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_W64_GUID = bytes.fromhex("726966662e91cf11a5d628db04c10000")

_NO_WAV = {
    "RIFX": mono(container="RIFX"),
    "Wave64": _W64_GUID + struct.pack("<Q", 1000) + b"wave" + bytes(500),
    "AIFF": b"FORM" + struct.pack(">I", 500) + b"AIFF" + bytes(500),
    "AIFC": b"FORM" + struct.pack(">I", 500) + b"AIFC" + bytes(500),
    "FLAC": b"fLaC\0\0\0\x22" + bytes(500),
    "Ogg": b"OggS\0\x02" + bytes(500),
    "MP3": b"\xff\xfb\x90\x64" + bytes(500),
    "ID3v2.2": b"ID3\x02\0\0\0\0\0\0" + bytes(500),
    "ID3v2.4": b"ID3\x04\0\0\0\0\0\0" + bytes(500),
    "ID3 of 200 MB in front of a WAV": b"ID3\x03\0\0\x7f\0\0\0" + mono(),
    "ID3 in front of an MP3": ID3 + b"\xff\xfb\x90\x64" + bytes(500),
    "WebM": bytes.fromhex("1a45dfa39f4286810142f7810142f2810442f38108428284") + b"webm" + bytes(500),
    "AMR": b"#!AMR\n" + bytes(500),
    "AAC": b"\xff\xf1\x50\x80" + bytes(500),
    "JPEG": b"\xff\xd8\xff\xe0" + bytes(500),
    "JSON": b'{"detail": "Not found"}',
    "text": b"Good morning!",
    "a name": b"talk.wav",
    "data: URL": b"data:audio/wav;base64,UklGRkQDAABXQVZFZm10IBAAAAABAAEA",
    "Core Audio": b"caff\0\x01\0\0" + bytes(500),
    "AU": b".snd" + struct.pack(">5I", 24, 500, 3, RATE, 1) + bytes(500),
    "MP4": b"\0\0\0\x20ftypM4A " + bytes(500),
    "HTML": _HTML,
    "m3u8": _M3U8,
    "ffconcat": _FFCONCAT,
    "zip of a WAV": zipped(mono()),
    "PNG in front of a WAV": _PNG + mono(),
    "gzip": b"\x1f\x8b\x08\0" + bytes(500),
    "PDF": b"%PDF-1.7\n" + bytes(500),
    "program": b"\x7fELF" + bytes(500),
    "WAV in base64": b"UklGRkQDAABXQVZFZm10IBAAAAABAAEA",
    "WAV behind a byte order mark": b"\xef\xbb\xbf" + mono(),
    "WAV behind an empty line": b"\r\n" + mono(),
    "magic in lower case": b"riff" + mono()[4:],
    "magic backwards": b"FFIR" + mono()[4:],
    "zeros": bytes(1000),
    "ones": b"\xff" * 1000,
    "AVI": riff(fmt(), data(), form=b"AVI "),
    "WebP": riff(chunk(b"VP8 ", bytes(500)), form=b"WEBP"),
    "MIDI in RIFF": riff(fmt(), data(), form=b"RMID"),
    "form in lower case": riff(fmt(), data(), form=b"wave"),
    "AVI in RF64": riff(ds64(800), fmt(), data(), container=b"RF64", form=b"AVI "),
}

_TAGS = {
    "no": 0,
    "MPEG layer 2": 0x50,
    "MP3": 0x55,
    "Windows Media": 0x161,
    "AC-3": 0x2000,
    "Vorbis": 0x674F,
    "development": 0xFFFF,
}
_CODECS = {f"{name} format tag": mono(format_tag=tag) for name, tag in _TAGS.items()} | {
    "extensible MP3": mono(extensible=True, sub_format_tag=0x55),
    "extensible in extensible": mono(extensible=True, sub_format_tag=0xFFFE),
    "GUID of a vendor's own": mono(extensible=True).replace(GUID_TAIL, b"\x80\0\0\xaa\0\x38\x9b\x72"),
    "ambisonic GUID": mono(extensible=True).replace(b"\0\0\x10\0" + GUID_TAIL, b"\x21\x07\xd3\x11\x86\x44\xc8\xc1\xca"),
    "0 bits": mono(bits=0),
    "40 bits": mono(bits=40, block_align=5),
    "64 bits of integer": mono(bits=64, block_align=8),
    "65535 bits": mono(bits=65535, block_align=8192),
    "16 bits of float": mono(format_tag=3),
    "24 bits of float": mono(format_tag=3, bits=24, block_align=3),
}

_MALFORMED = {
    "24 bits in 4 bytes": mono(bits=24, block_align=4),
    "24 bits in 4 bytes, stereo": mono(channels=2, bits=24, block_align=8),
    "20 bits in 4 bytes": mono(bits=20, block_align=4),
    "no fmt": riff(data()),
    "fmt behind the data": riff(data(), fmt()),
    "fmt of 0 bytes": riff(fmt(0), data()),
    "fmt of 1 byte": riff(fmt(1), data()),
    "fmt of 14 bytes": riff(fmt(14), data()),
    "fmt of 15 bytes": riff(fmt(15), data()),
    "extensible fmt of 16 bytes": riff(fmt(16, extensible=True), data()),
    "extensible fmt of 39 bytes": riff(fmt(39, extensible=True), data()),
    "fmt twice": riff(fmt(), fmt(), data()),
    "fmt twice, and not the same": riff(fmt(), fmt(sample_rate=48000, channels=2), data()),
    "RF64 without ds64": rf64(fmt()),
    "RF64 with ds64 behind the data": rf64(fmt()) + ds64(800),
    "RF64 with an empty ds64": rf64(ds64(800, 0), fmt()),
    "RF64 with a ds64 of 8 bytes": rf64(ds64(800, 8), fmt()),
    "RF64 with a ds64 of 15 bytes": rf64(ds64(800, 15), fmt()),
    "RF64 with ds64 twice": rf64(ds64(800), ds64(800), fmt()),
    "odd LIST without a pad byte": riff(fmt(), chunk(b"LIST", b"INFOISFT\5\0\0\0Foo1\0", pad=False), data()),
    "odd JUNK without a pad byte": riff(fmt(), chunk(b"JUNK", b"abc", pad=False), data()),
    "LIST of four bytes too few": riff(fmt(), chunk(b"LIST", b"INFOISFT\xf4\0\0\0Foo1", declared=12), data()),
    "LIST of four bytes too many": riff(fmt(), chunk(b"LIST", b"INFOISFT\4\0\0\0Foo1", declared=20), data()),
}

# In 32 bits, the sum of an offset and one of these wraps around to the start, or to the chunk itself.
_WRAPPING_SIZES = (0x80000000, 2**32 - 20, 2**32 - 8, 2**32 - 2, 2**32 - 1)
_HUGE_HEADERS = {
    f"{name} that declares {size:#x} bytes": riff(chunk(name.encode(), bytes(60), declared=size), data())
    for name in ("LIST", "fmt ", "ds64")
    for size in _WRAPPING_SIZES
} | {
    "LIST of 4 GiB behind fmt": riff(fmt(), chunk(b"LIST", bytes(60), declared=2**32 - 2), data()),
    "17 MiB of JUNK": riff(fmt(), chunk(b"JUNK", bytes(17 * MEBIBYTE)), data()),
    "seventeen times 1 MiB of JUNK": riff(fmt(), *[chunk(b"JUNK", bytes(MEBIBYTE))] * 17, data()),
    "17 MiB of empty chunks": riff(fmt(), b"JUNK\0\0\0\0" * (17 * MEBIBYTE // 8), data()),
}


def lying(data_size: int, **lies: Any) -> bytes:
    """Return a WAV whose two sizes agree, right or wrong."""
    sizes = {"data_size": data_size, "riff_size": (data_size + 36) % 2**32}
    return mono(lies.pop("sound", SOUND), **sizes | lies)


_TRUNCATED = {
    "one byte fewer than declared": lying(len(SOUND) + 1),
    "half of what is declared": lying(2 * len(SOUND)),
    "half, and an odd byte": lying(len(SOUND), sound=SOUND[:401]),
    "half, and an unknown RIFF size": lying(2 * len(SOUND), riff_size=0),
    "half, and the RIFF size of another file": lying(4 * len(SOUND), riff_size=36 + 2 * len(SOUND)),
    "the header counted in, and cut": lying(len(SOUND) + 44, riff_size=36 + len(SOUND), sound=SOUND[:-4]),
    "only the RIFF size, and cut": lying(0, riff_size=36 + len(SOUND), sound=SOUND[:-4]),
    "half declared, the RIFF size right, and cut": lying(400, riff_size=36 + len(SOUND), sound=SOUND[:-4]),
    "behind an ID3 tag, and cut": ID3 + mono()[:-4],
    "2 GB declared": lying(2_000_000_002, sample_rate=48000),
    "just less than a placeholder declared": lying(0x7FFFEFBF, sample_rate=192000),
    "just more than a placeholder declared": lying(0x80000001, sample_rate=192000),
    "just less than unknown declared": lying(
        0xFFFFFEFF, riff_size=UNKNOWN_SIZE, sample_rate=192000, channels=8, sample_format=wavs.S32
    ),
    "RF64 that declares a byte too many": rf64(ds64(len(SOUND) + 1), fmt()),
    "no data": riff(fmt()),
    "no data but LIST": riff(fmt(), chunk(b"LIST", b"INFO")),
    "nothing behind an ID3 tag": ID3,
    "nothing behind WAVE": riff(),
    "a WAV inside a chunk": riff(chunk(b"RIFF", mono()[8:])),
    "samples inside a wave list": riff(fmt(), chunk(b"LIST", b"wavl" + data())),
    "data in upper case": riff(fmt(), chunk(b"DATA", SOUND)),
    "silence that is not to be read": riff(fmt(), chunk(b"slnt", struct.pack("<I", 400))),
    "LIST past the end": riff(fmt(), chunk(b"LIST", b"INFO", declared=5000), data()),
}

_SECOND_SOUND = {
    "data twice": riff(fmt(), data(), data()),
    "data twice, and LIST between": riff(fmt(), data(), chunk(b"LIST", b"INFO"), data(SOUND[:8])),
    "a second WAV behind": mono() + mono(sample_rate=48000),
    "a second WAV behind LIST": mono(after=[chunk(b"LIST", b"INFO")]) + mono(),
    "a second header behind an empty one": mono(b"") + mono(),
    "an RF64 behind": mono() + mono(container="RF64"),
}

_UNCLEAR_END = {
    "a chunk that nobody knows, and zeros": mono() + chunk(b"Ours", b"1234") + bytes(100),
    "a chunk that nobody knows, cut": mono() + chunk(b"Ours", bytes(100), declared=200),
}

_EMPTY = {
    "nothing": b"",
    "only a header": mono(b""),
    "only a header of an unknown size": mono(b"", data_size=UNKNOWN_SIZE, riff_size=UNKNOWN_SIZE),
    "no samples but LIST behind": mono(b"", after=[chunk(b"LIST", bytes(100))]),
    "less than one sample": mono(b"\1"),
    "less than one sample of eight channels": mono(bytes(15), channels=8),
    "only a header of an RF64 of an unknown size": riff(
        ds64(0), fmt(), chunk(b"data", b"", declared=UNKNOWN_SIZE), container=b"RF64"
    ),
}

_TOO_LARGE = {
    "RF64 of 4 GiB": rf64(ds64(2**32), fmt()),
    "RF64 of 2**63 - 1 bytes": rf64(ds64(2**63 - 1), fmt()),
    "4 GiB with the header": lying(
        0xFFFFFEFF, riff_size=UNKNOWN_SIZE, sample_rate=192000, channels=8, before=[chunk(b"JUNK", bytes(400))]
    ),
}

_UNENCODABLE = {
    "one sample is not a number": floats(nan),
    "one sample is not a number, of 64 bits": floats(nan, F64),
    "one sample is a negative nan": floats(-nan),
    "the first sample is not a number": floats(nan, at=0),
    "the last sample is not a number": floats(nan, at=-1),
    "no sample is a number": floats(nan, at=slice(None)),
    "not a number, resampled": floats(nan, sample_rate=96000),
    "not a number, mixed down": floats(nan, channels=5),
    "a signalling nan": mono(F32.encode(wavs.chirp(COUNT, RATE, 1)) + b"\1\0\x80\x7f", sample_format=F32),
    "one sample is infinite": floats(inf),
    "one sample is infinite downwards": floats(-inf, F64),
    "one sample is 3e38": floats(3e38),
    "one sample is 1e300": floats(1e300, F64),
}


def _refusals(bodies: dict[str, bytes], status: int, code: str) -> dict[str, Refused]:
    return {name: Refused(body, status, code) for name, body in bodies.items()}


REFUSED = {
    **_refusals(_NO_WAV, 415, "not_wav"),
    **_refusals(_CODECS, 422, "unsupported_codec"),
    **_refusals(_MALFORMED, 422, "malformed_header"),
    **_refusals(hostile_blocks.CODECS, 422, "unsupported_codec"),
    **_refusals(hostile_blocks.CHANNELS, 422, "unsupported_channels"),
    **_refusals(hostile_blocks.MALFORMED_HEADERS, 422, "malformed_header"),
    **_refusals(hostile_blocks.MALFORMED_BLOCKS, 422, "malformed_block"),
    **_refusals(hostile_blocks.TRUNCATED, 422, "truncated"),
    **_refusals(hostile_blocks.EMPTY, 422, "empty"),
    **_refusals(_HUGE_HEADERS, 422, "header_too_large"),
    **_refusals(_TRUNCATED, 422, "truncated"),
    **_refusals(_SECOND_SOUND, 422, "second_sound"),
    **_refusals(_UNCLEAR_END, 422, "unclear_end"),
    **_refusals(_EMPTY, 422, "empty"),
    **_refusals(_TOO_LARGE, 413, "too_large"),
    **_refusals({"37 hours declared": lying(0x7FFFEFBF)}, 413, "too_long"),
    **_refusals(_UNENCODABLE, 422, "unencodable_audio"),
    **_refusals({f"{n} channels": mono(channels=n) for n in (0, 33, 255, 65535)}, 422, "unsupported_channels"),
    **_refusals(
        {f"{rate} Hz": mono(sample_rate=rate) for rate in (0, 1, 999, 768_001, 2**31, 2**32 - 1)},
        422,
        "unsupported_sample_rate",
    ),
}

# What programs that write to a pipe leave in the header: zeros, or the placeholders of sox, ffmpeg and arecord.
_PLACEHOLDERS = {
    f"sizes {riff_size:#x} and {data_size:#x}": Taken(mono(riff_size=riff_size, data_size=data_size))
    for riff_size, data_size in [
        *((0, 0), (UNKNOWN_SIZE, UNKNOWN_SIZE), (0x7FFFFFFF, 0x7FFFFFFF), (0x7FFFF024, 0x7FFFF000)),
        *((0x80000024, 0x80000000), (UNKNOWN_SIZE, 0xFFFFFFDB), (0, UNKNOWN_SIZE), (36, 0)),
        *((0x7FFF0024, 0x7FFF0000), (2_000_000_036, 2_000_000_000), (0x80000023, 0x7FFFFFFF), (0x20000022, 0x1FFFFFFE)),
    ]
}

_ODD_SIZES = {
    "RIFF size of 0": Taken(mono(riff_size=0)),
    "RIFF size of 1": Taken(mono(riff_size=1)),
    "RIFF size of 4 GiB": Taken(mono(riff_size=UNKNOWN_SIZE)),
    "byte rate of 0": Taken(mono(byte_rate=0)),
    "byte rate of 4 GiB": Taken(mono(byte_rate=UNKNOWN_SIZE)),
    "one byte more than declared": Taken(mono(SOUND + b"\1", data_size=len(SOUND))[:-1]),
    "half of it declared": Taken(mono(data_size=400)),
    "only the first buffer declared": Taken(lying(64)),
    "more by the header": Taken(mono(data_size=len(SOUND) + 44)),
    "twice as much declared": Taken(mono(data_size=2 * len(SOUND))),
    "both sizes are the file's": Taken(lying(len(SOUND) + 44, riff_size=len(SOUND) + 44)),
    "nothing declared but by RIFF": Taken(mono(data_size=0)),
    "behind an ID3 tag": Taken(ID3 + mono()),
    "behind two ID3 tags": Taken(ID3 + ID3 + mono(container="RF64")),
    "an odd byte": Taken(mono(SOUND + b"\1"), COUNT),
    "an odd byte declared away": Taken(mono(data_size=len(SOUND) - 1), COUNT - 1),
    "an odd byte of an unknown size": Taken(mono(SOUND + b"\1", data_size=UNKNOWN_SIZE)[:-1], COUNT),
    "a missing pad byte": Taken(mono(SOUND[:799], sample_format=wavs.U8)[:-1], 799),
    "RF64": Taken(mono(container="RF64")),
    "BW64": Taken(mono(container="BW64")),
    "RF64 with a size in its data chunk": Taken(mono(container="RF64", data_size=len(SOUND))),
    "RF64 with a ds64 of zeros": Taken(rf64(ds64(0), fmt())),
    "RF64 of 2**63 bytes": Taken(rf64(ds64(2**63), fmt())),
    "RF64 of 2**64 - 1 bytes": Taken(rf64(chunk(b"ds64", b"\xff" * 28), fmt())),
    "RF64 that declares a byte too few": Taken(rf64(ds64(len(SOUND) - 1), fmt()), COUNT - 1),
    "less than one sample declared": Taken(mono(data_size=1)),
    "RF64 with a ds64 of 16 bytes": Taken(rf64(ds64(len(SOUND), 16), fmt())),
    "RF64 with a long ds64": Taken(rf64(chunk(b"ds64", ds64(len(SOUND))[8:] + bytes(999)), fmt())),
    "RIFF with a lying ds64": Taken(riff(ds64(4), fmt(), data())),
    "samples that look like a chunk, of an unknown size": Taken(lying(0, riff_size=0, sound=b"Abcd" + SOUND[4:])),
}

_ODD_CHUNKS = {
    "fmt again behind the data": Taken(riff(fmt(), data(), fmt(sample_rate=48000))),
    "fmt of 17 bytes": Taken(riff(fmt(17, fmt_extra=b"\1"), data())),
    "fmt of 18 bytes": Taken(riff(fmt(18, fmt_extra=b"\0\0"), data())),
    "fmt of 1 MiB": Taken(riff(fmt(MEBIBYTE, fmt_extra=bytes(MEBIBYTE)), data())),
    "fmt with a lying extra size": Taken(riff(fmt(18, fmt_extra=b"\xff\xff"), data())),
    "3 MiB of JUNK": Taken(mono(before=[chunk(b"JUNK", bytes(3 * MEBIBYTE))])),
    "10,000 empty chunks": Taken(mono(before=[chunk(b"JUNK", b"")] * 10_000)),
    "10,000 chunks of one byte": Taken(mono(before=[chunk(b"JUNK", b"\0")] * 10_000)),
    "chunks without a name": Taken(mono(before=[chunk(b"\0\0\0\0", b"abc"), chunk(b"\xff\xfe%s", bytes(9))])),
    "RIFF inside a LIST": Taken(mono(before=[chunk(b"LIST", riff(fmt(sample_rate=1), data(bytes(80))))])),
    "data inside a LIST": Taken(mono(before=[chunk(b"LIST", b"INFO" + data(bytes(80)))])),
    "chunks that nobody knows": Taken(mono(after=[chunk(b"Ours", b"12345"), chunk(b"~!? ", b"")])),
    "LIST that is cut": Taken(mono(after=[chunk(b"LIST", bytes(100))])[:-9]),
    "LIST and zeros": Taken(mono(after=[chunk(b"LIST", bytes(100))]) + bytes(1000)),
    "zeros": Taken(mono() + bytes(1000), COUNT + 500),
    "a tag for MP3s": Taken(mono() + b"TAG" + bytes(125)),
    "a zip behind": Taken(mono() + zipped(mono())),
    "HTML in a chunk": Taken(mono(before=[chunk(b"bext", _HTML)])),
    "m3u8 in a chunk": Taken(mono(before=[chunk(b"LIST", _M3U8)])),
    "ffconcat for samples": Taken(mono(_FFCONCAT), len(_FFCONCAT) // 2),
    "m3u8 for samples": Taken(mono(_M3U8), len(_M3U8) // 2),
    "an MP3 for samples": Taken(mono(b"\xff\xfb\x90\x64" * 200)),
    "a WAV for samples": Taken(mono(mono()), COUNT + 22),
}


_WRONG_FIELDS = {
    "zero block align": Taken(mono(block_align=0)),
    "block align of one byte too few": Taken(mono(block_align=1)),
    "block align of another channel": Taken(mono(block_align=4)),
    "block align of another channel, right byte rate": Taken(mono(block_align=4, byte_rate=2 * RATE)),
    "largest block align": Taken(mono(block_align=65535)),
    "stereo with the block align of mono": Taken(mono(channels=2, block_align=2), COUNT // 2, channels=2),
    "24 bits with the block align of 20": Taken(mono(SOUND[:798], sample_format=wavs.S24, block_align=2), 266),
    "bits that do not match the block align": Taken(mono(bits=8), 2 * COUNT),
    "channels times bits that wrap": Taken(mono(channels=8, bits=32, block_align=0), COUNT // 16, channels=2),
    "16 bits of A-law": Taken(mono(format_tag=6), 2 * COUNT),
    "16 bits of mu-law": Taken(mono(format_tag=7), 2 * COUNT),
    "13 bits of extensible A-law": Taken(mono(sample_format=wavs.ALAW, bits=13, extensible=True), 2 * COUNT),
}


def _odd_sounds() -> dict[str, Taken]:
    single = wavs.S16.encode(np.array([[0.5]]))
    return {
        "one sample": Taken(mono(single), 1),
        "one sample at 44.1 kHz": Taken(mono(single, sample_rate=44100), 1, 44100),
        "one sample at 192 kHz": Taken(mono(single, sample_rate=192_000), 1, 192_000),
        "one sample of eight channels": Taken(mono(single * 8, channels=8), 1, channels=2),
        **{f"{rate} Hz": Taken(mono(sample_rate=rate), sample_rate=rate) for rate in (1000, 1001, 5512, 6000, 7999)},
        **{f"{rate} Hz": Taken(mono(sample_rate=rate), sample_rate=rate) for rate in (250_000, 384_000, 768_000)},
        **{
            f"{channels} channels": Taken(mono(bytes(4 * channels), channels=channels), 2, channels=channels)
            for channels in (9, 16, 31, 32)
        },
        "8001 Hz": Taken(mono(sample_rate=8001), sample_rate=8001),
        "191999 Hz": Taken(mono(sample_rate=191_999), sample_rate=191_999),
        "192 kHz": Taken(mono(sample_rate=192_000), sample_rate=192_000),
        "12 bits": Taken(mono(bits=12)),
        "1 bit": Taken(mono(bits=1, block_align=1), 2 * COUNT),
        "A-law": Taken(mono(sample_format=wavs.ALAW), 2 * COUNT),
        "mu-law": Taken(mono(sample_format=wavs.MULAW), 2 * COUNT),
        "24 bits": Taken(mono(SOUND + b"\0", sample_format=wavs.S24), 267),
        "no valid bits": Taken(mono(extensible=True, valid_bits=0)),
        "no speakers": Taken(mono(extensible=True, channel_mask=0)),
        "all speakers": Taken(mono(extensible=True, channel_mask=0xFFFFFFFF)),
        "all speakers for six channels": Taken(
            mono(SOUND[:792], extensible=True, channels=6, channel_mask=0xFFFFFFFF), 66, channels=2
        ),
        "back speakers for stereo": Taken(mono(extensible=True, channels=2, channel_mask=0x30), 200, channels=2),
        "seven channels": Taken(mono(SOUND[:798], channels=7), 57, channels=2),
        "the least floats": Taken(floats(1e-45, at=slice(None))),
        "the least floats of 64 bits": Taken(floats(5e-324, F64, at=slice(None))),
        "negative zeros": Taken(floats(-0.0, at=slice(None))),
        "floats past full scale": Taken(floats(8.0)),
        "full scale": Taken(mono(b"\0\x80\xff\x7f" * 200)),
    }


_BLOCKS = {
    name: Taken(wav, sample_count, channels=channels)
    for name, (wav, sample_count, channels) in hostile_blocks.TAKEN.items()
}
TAKEN = _BLOCKS | _PLACEHOLDERS | _ODD_SIZES | _ODD_CHUNKS | _WRONG_FIELDS | _odd_sounds()
