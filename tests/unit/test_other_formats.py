"""A body that is not a WAV is named, and the refusal says what to do."""

import base64

import pytest

from service.audio.other_formats import OTHER_FORMATS, START_BYTES
from service.audio.wav import WavReader
from service.errors import UnsupportedMedia
from tests.support import wavs

WAV = wavs.wav(bytes(1000), sample_rate=8000, channels=1)
EBML = bytes.fromhex("1a45dfa39f4286810142f7810142f2810442f381084282")
SOUNDS = {
    "WebM": EBML + b"\x84webm" + bytes(500),
    "Matroska": EBML + b"\x88matroska" + bytes(500),
    "M4A": b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(500),
    "MP4": b"\0\0\0\x18ftypmp42\0\0\0\0" + bytes(500),
    "3GP": b"\0\0\0\x18ftyp3gp4\0\0\0\0" + bytes(500),
    "QuickTime": b"\0\0\0\x14ftypqt  \0\0\0\0" + bytes(500),
    "MP3": b"\xff\xfb\x90\x64" + bytes(500),
    "AAC": b"\xff\xf1\x50\x80" + bytes(500),
    "AMR": b"#!AMR\n" + bytes(500),
    "Ogg": b"OggS\0\x02" + bytes(20) + b"\x01\x1e\x01vorbis" + bytes(500),
    "Opus": b"OggS\0\x02" + bytes(20) + b"\x01\x13OpusHead" + bytes(500),
    "FLAC": b"fLaC\0\0\0\x22" + bytes(500),
    "AIFF": b"FORM\0\0\1\xf4AIFF" + bytes(500),
    "Wave64": bytes.fromhex("726966662e91cf11a5d628db04c10000") + bytes(500),
    "RIFX": wavs.wav(bytes(1000), sample_rate=8000, channels=1, container="RIFX"),
    "Core Audio": b"caff\0\x01\0\0" + bytes(500),
    "Windows Media": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(500),
    "AU": b".snd\0\0\0\x18" + bytes(500),
    "AVI": b"RIFF" + bytes(4) + b"AVI LIST" + bytes(500),
}
OTHERS = {
    "JPEG": b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(500),
    "PNG": b"\x89PNG\r\n\x1a\n" + bytes(500),
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0" + bytes(500),
    "WebP": b"RIFF" + bytes(4) + b"WEBPVP8 " + bytes(500),
    "PDF": b"%PDF-1.7\n" + bytes(500),
    "ZIP": b"PK\x03\x04" + bytes(500),
    "gzip": b"\x1f\x8b\x08\0" + bytes(500),
    "in base64": base64.b64encode(WAV),
    "data: URL": b"data:audio/wav;base64," + base64.b64encode(WAV),
    "hexadecimal": WAV.hex().encode(),
    "HTML": b"<!DOCTYPE html>\n<html><head><title>Sign in</title>" + b" " * 500,
    "a web page": b"\xef\xbb\xbf\n<html lang=en>" + b" " * 500,
    "XML": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    "JSON": b'{"error": "not found"}',
    "a JSON": b"[1, 2, 3]",
    "playlist": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
    "multipart form": b"------WebKitFormBoundaryX\r\nContent-Disposition: form-data; name=file\r\n\r\n" + WAV,
    "text": "Guten Tag, dies ist ein Brief über Äpfel und Birnen, und er ist lang.".encode(),
    "the name of a file": b"talk.wav",
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:1234",
    "a WAV behind 3 other bytes": b"\xef\xbb\xbf" + WAV,
    "a WAV behind 2 other bytes": b"\r\n" + WAV,
    "not a WAV": bytes(500),
}


def read_all(reader: WavReader, body: bytes, size: int) -> None:
    for start in range(0, len(body), size):
        reader.feed(body[start : start + size])
    reader.finish()


def refusal(body: bytes, size: int) -> UnsupportedMedia:
    reader = WavReader()
    with pytest.raises(UnsupportedMedia) as raised:
        read_all(reader, body, size)
    assert reader.byte_count < START_BYTES + size, "more was read than needed"
    assert raised.value.code == "not_wav"
    return raised.value


@pytest.mark.parametrize("size", [1, 5, 64, 100_000])
@pytest.mark.parametrize("kind", [*SOUNDS, *OTHERS])
def test_kind_is_named_in_whatever_pieces_it_comes(kind: str, size: int) -> None:
    assert kind.lower() in refusal((SOUNDS | OTHERS)[kind], size).detail.lower()


@pytest.mark.parametrize("kind", SOUNDS)
def test_sound_of_another_kind_gets_the_command_that_converts_it(kind: str) -> None:
    assert "Convert it first: ffmpeg -i x." in refusal(SOUNDS[kind], 1000).detail


@pytest.mark.parametrize(
    ("kind", "cure"),
    [
        ("in base64", "base64 -d"),
        ("ZIP", "Unpack it first"),
        ("JPEG", "has no sound"),
        ("the name of a file", "--data-binary @talk.wav"),
        ("HTML", "did not answer with a recording"),
        ("multipart form", "multipart/form-data; boundary="),
        ("not a WAV", "Send a WAV (RIFF, RF64 or BW64)."),
    ],
)
def test_other_kinds_get_their_own_cure(kind: str, cure: str) -> None:
    assert cure in refusal(OTHERS[kind], 1000).detail


@pytest.mark.parametrize("body", [b"R", b"RIF", b"RIFF", b"ID3", b"RF64\0\0"])
def test_start_of_a_wav_is_truncated_and_not_another_kind(body: bytes) -> None:
    reader = WavReader()
    reader.feed(body)
    with pytest.raises(Exception, match="before the end of the WAV's header"):
        reader.finish()


@pytest.mark.parametrize("tag", [b"ID3\x03" + bytes(6), b"ID3\x04\0\0\0\0\0\x0a" + bytes(10)], ids=len)
def test_mp3_behind_an_id3_tag_is_an_mp3(tag: bytes) -> None:
    assert "This is an MP3 file. Convert it first: ffmpeg -i x.mp3 x.wav" in refusal(tag + SOUNDS["MP3"], 20).detail


def test_every_kind_has_its_advice() -> None:
    assert all(kind.advice and bool(kind.suffix) != bool(kind.cure) for kind in OTHER_FORMATS)
    assert len({kind.name for kind in OTHER_FORMATS}) == len(OTHER_FORMATS)


def test_text_that_only_begins_like_another_kind_is_text() -> None:
    assert (
        "This is text." in refusal(b"BMW and MZ are names, and so is ID4, but none of them is a recording.", 64).detail
    )
