"""Names what a body is if it is not a WAV, and says what to do with it."""

import re
from dataclasses import dataclass

from service.audio.chunks import WAV_MAGIC
from service.errors import UnsupportedMedia
from service.refusals import NOT_WAV

# So many bytes are enough for every kind below.
START_BYTES = 64

_SEND_A_WAV = "Send a WAV (RIFF, RF64 or BW64)."


@dataclass(frozen=True, slots=True)
class OtherFormat:
    """A kind of file that is not taken: its name, the bytes that it begins with, and what to do with it.

    `pattern` matches at the start of the file. `suffix` is that of its files, if ffmpeg can convert them.
    """

    name: str
    pattern: re.Pattern[bytes]
    suffix: str = ""
    cure: str = ""

    @property
    def advice(self) -> str:
        """What the client can do."""
        return self.cure or f"Convert it first: ffmpeg -i x.{self.suffix} x.wav"


def _sound(name: str, pattern: bytes, suffix: str) -> OtherFormat:
    return OtherFormat(name, re.compile(pattern, re.DOTALL), suffix)


def _other(name: str, pattern: bytes, cure: str) -> OtherFormat:
    return OtherFormat(name, re.compile(pattern, re.DOTALL | re.IGNORECASE), cure=cure)


_NO_SOUND = "It has no sound. Send the recording itself, as a WAV."
_UNPACK = "Unpack it first, and send the WAV that is in it."
_SERVED = "The address that it came from did not answer with a recording. Send the WAV itself."
_SENT_AS_TEXT = "Send the bytes of the file; with curl, the @ makes the difference: --data-binary @talk.wav"

# The first one that matches counts.
OTHER_FORMATS = (
    _sound("a big-endian WAV (RIFX)", rb"RIFX", "wav"),
    _sound("a Sony Wave64 file", rb"riff\x2e\x91\xcf\x11", "w64"),
    _sound("an AIFF file", rb"FORM....AIF[FC]", "aiff"),
    _sound("a FLAC file", rb"fLaC", "flac"),
    _sound("an Ogg file with Opus", rb"OggS.{24,}OpusHead", "opus"),
    _sound("an Ogg file", rb"OggS", "ogg"),
    _sound("a Core Audio file", rb"caff", "caf"),
    _sound("a WebM file", rb"\x1aE\xdf\xa3.*webm", "webm"),
    _sound("a Matroska file", rb"\x1aE\xdf\xa3", "mkv"),
    _sound("a 3GP file", rb"....ftyp3g", "3gp"),
    _sound("a QuickTime file", rb"....ftypqt|....(moov|mdat|wide|free)", "mov"),
    _other("a HEIC or AVIF picture", rb"....ftyp(hei|mif1|avi[fs])", _NO_SOUND),
    _sound("an M4A file", rb"....ftypM4[AB]", "m4a"),
    _sound("an MP4 file", rb"....ftyp", "mp4"),
    _sound("an AMR file", rb"#!AMR", "amr"),
    _sound("an MP3 file", rb"ID3[\x02-\x04]|\xff[\xfa\xfb\xf2\xf3\xe2\xe3]", "mp3"),
    _sound("an AAC file", rb"\xff[\xf0\xf1\xf8\xf9]|ADIF", "aac"),
    _sound("an AC-3 file", rb"\x0bw", "ac3"),
    _sound("a Windows Media file", rb"0&\xb2u\x8ef\xcf\x11", "wma"),
    _sound("an AU file", rb"\.snd", "au"),
    _sound("a Monkey's Audio file", rb"MAC ", "ape"),
    _sound("a WavPack file", rb"wvpk", "wv"),
    _sound("a True Audio file", rb"TTA[12]", "tta"),
    _sound("a DSD file", rb"DSD |FRM8", "dsf"),
    _sound("a Creative Voice file", rb"Creative Voice File", "voc"),
    _sound("a NIST SPHERE file", rb"NIST_1A", "sph"),
    _sound("an AVI video", rb"RIFF....AVI ", "avi"),
    _sound("a Flash video", rb"FLV\x01", "flv"),
    _other("a MIDI file", rb"MThd|RIFF....RMID", "It has notes and no sound. Render it to a WAV first."),
    _other("a SILK file", rb"\x02?#!SILK", "Decode it first, and send the WAV."),
    _other("a JPEG picture", rb"\xff\xd8\xff", _NO_SOUND),
    _other("a PNG picture", rb"\x89PNG", _NO_SOUND),
    _other("a GIF picture", rb"GIF8", _NO_SOUND),
    _other("a WebP picture", rb"RIFF....WEBP", _NO_SOUND),
    _other("a BMP picture", rb"BM.{4}\x00\x00\x00\x00", _NO_SOUND),
    _other("a TIFF picture", rb"II\*\x00|MM\x00\*", _NO_SOUND),
    _other("a PDF document", rb"%PDF", _NO_SOUND),
    _other("an Office document of the old kind", rb"\xd0\xcf\x11\xe0", _NO_SOUND),
    _other("a ZIP archive", rb"PK\x03\x04|PK\x05\x06", _UNPACK),
    _other("a gzip archive", rb"\x1f\x8b", _UNPACK),
    _other("a bzip2 archive", rb"BZh[1-9]", _UNPACK),
    _other("an XZ archive", rb"\xfd7zXZ", _UNPACK),
    _other("a Zstandard archive", rb"\x28\xb5\x2f\xfd", _UNPACK),
    _other("a 7-Zip archive", rb"7z\xbc\xaf", _UNPACK),
    _other("a RAR archive", rb"Rar!\x1a", _UNPACK),
    _other("a program", rb"\x7fELF|MZ.{6,}", _NO_SOUND),
    _other("an SQLite database", rb"SQLite format 3", _NO_SOUND),
    _other("a RIFF file that does not hold WAVE", rb"RIFF", f"{_SEND_A_WAV} With curl, use -T: -d loses bytes."),
    _other("a data: URL", rb"[\s\"']*data:", "Decode what follows the comma from base64, and send that."),
    _other("a WAV in base64", rb"[\s\"']*(UklGR|UkY2N|Qlc2N)", "Decode it first: base64 -d x > x.wav"),
    _other("a WAV in hexadecimal", rb"\s*(0x)?52494646", "Decode it first: xxd -r -p x > x.wav"),
    _other("a web page (HTML)", rb"(\xef\xbb\xbf)?\s*(<!--.*)?<(!doctype html|html|head|body|script)", _SERVED),
    _other("an XML document", rb"(\xef\xbb\xbf)?\s*<\?xml|\s*<svg", _SERVED),
    _other("a JSON document", rb"(\xef\xbb\xbf)?\s*[{\[][\s\"{\[\]}0-9tfn-]", _SERVED),
    _other("a playlist", rb"#EXTM3U|\[playlist\]", "Send the recording that it names, as a WAV."),
    _other(
        "a multipart form",
        rb"\s*--[-\w'()+,./:=? ]+\r?\nContent-Disposition",
        "Send it with the Content-Type that made it: multipart/form-data; boundary=…",
    ),
    _other("a Git LFS pointer", rb"version https://git-lfs", "Fetch the file that it stands for: git lfs pull"),
)

_PREFIXES = {*WAV_MAGIC, b"ID3\x02", b"ID3\x03", b"ID3\x04"}
_FILE_NAME = re.compile(rb"[^\x00-\x1f/\\]{1,60}\.(wav|wave|mp3|m4a|ogg|flac|aiff?)\s*", re.IGNORECASE)
_FIRST_PRINTABLE = 0x20


def may_become_wav(start: bytes) -> bool:
    """Return whether a body that begins so can still be a WAV, or has an ID3 tag that a WAV may follow."""
    return any(prefix.startswith(start[:4]) for prefix in _PREFIXES)


def not_wav(start: bytes, *, offset: int = 0) -> UnsupportedMedia:
    """Return the refusal of a body that is not a WAV; `start` has up to START_BYTES of it.

    `offset` is where in the body it shows.
    """
    found = next((other for other in OTHER_FORMATS if other.pattern.match(start)), None)
    if found is not None:
        return NOT_WAV(what=found.name, advice=found.advice, offset=offset)
    if any((place := start.find(magic)) > 0 for magic in WAV_MAGIC):
        return NOT_WAV(what=f"a WAV behind {place} other bytes", advice="Send it without them.", offset=offset)
    if _FILE_NAME.fullmatch(start):
        return NOT_WAV(what="the name of a file instead of the file", advice=_SENT_AS_TEXT, offset=offset)
    if _is_text(start):
        return NOT_WAV(what="text", advice=_SENT_AS_TEXT, offset=offset)
    return NOT_WAV(what="not a WAV", advice=_SEND_A_WAV, offset=offset)


def _is_text(start: bytes) -> bool:
    """Return whether this is text in UTF-8, which may be cut in the middle of a character."""
    text = start.decode("utf-8", "ignore")
    is_utf8 = len(text.encode()) >= len(start) - 3
    return is_utf8 and all(character.isspace() or ord(character) >= _FIRST_PRINTABLE for character in text)
