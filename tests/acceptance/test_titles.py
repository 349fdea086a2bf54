"""Players show what an MP3 is: its tag has the WAV's own words, or the file's name, and costs no sample."""

import asyncio
import json
import shutil
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import FormData
from mutagen.id3 import ID3
from mutagen.mp3 import MP3

from service.audio.info_frame import expected_size
from service.audio.mp3 import Mp3Format
from service.audio.mp3_length import Mp3Length
from tests.support import mp3s
from tests.support.client import TRANSPORTS, Account, Answer, Service, Transport
from tests.support.forms import BOUNDARY, form, part
from tests.support.wavs import bext_chunk, chirp, info_chunk, wav

SOURCE = chirp(10_001, 44_100, 2)
INFO = info_chunk(INAM="Речь".encode(), IART=b"Ann", IPRD=b"Talks", ICRD=b"2026-11-26", ICMT=b"-i /etc/passwd")
BEXT = bext_chunk(b"A take\r\nin the rain", b"Recorder 7", b"2025-01-02")

NAMES = {
    "talk.wav": "talk",
    "Interview 3.5": "Interview 3.5",
    "recording": "recording",
    ".wav": ".wav",
    "-metadata title=x.wav": "-metadata title=x",
    "a;b&c=d.wav": "a;b&c=d",
    "речь.WAV": "речь",
    "نص طويل.wav": "نص طويل",
    "\u202egnp.wav": "gnp",
    "🎤👩‍👧.wav": "🎤👩‍👧",
    "x" * 300 + ".wav": "x" * 300,
    "é" * 1_000 + ".wav": "é" * 1_000,
    "😀" * 600 + ".wav": "😀" * 512,
}


def a_wav(*before: bytes) -> bytes:
    return wav(SOURCE, sample_rate=44_100, channels=2, before=list(before))


async def download(service: Service, url: str) -> bytes:
    mp3 = await service.get(url)
    assert mp3.status == 200
    return mp3.body


async def mp3_of(service: Service, answer: Answer) -> bytes:
    assert answer.status == 201, answer
    mp3 = await download(service, answer.json["url"])
    assert len(mp3) == answer.json["size"]
    assert mp3s.info_header(mp3).has_valid_crc
    assert len(mp3s.decode(mp3)) == len(SOURCE)
    return mp3


def tag_of(mp3: bytes) -> dict[str, str]:
    tag: Any = ID3(BytesIO(mp3))  # type: ignore[no-untyped-call]
    return {name: str(frame) for name, frame in tag.items()}


def title(mp3: bytes) -> str:
    return tag_of(mp3)["TIT2"]


def probe(mp3: Path) -> dict[str, Any]:
    """Return what ffprobe shows of an MP3; skip the test if there is no ffprobe."""
    ffprobe = shutil.which("ffprobe")
    if ffprobe is None:
        pytest.skip("ffprobe is not installed")
    command = [ffprobe, "-v", "warning", "-of", "json", "-show_format", "-show_packets", str(mp3)]
    shown = subprocess.run(command, capture_output=True, check=True)
    assert shown.stderr == b""
    found: dict[str, Any] = json.loads(shown.stdout)
    return found


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("filename", NAMES, ids=lambda name: name[:12])
async def test_title_is_the_name_without_its_suffix(
    service: Service, account: Account, filename: str, transport: Transport
) -> None:
    if transport == "multipart":  # aiohttp's own forms would escape the name
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY.decode()}"}
        body = form(part("file", a_wav(), b"Content-Type: audio/wav", filename=filename))
        answer = await service.post("/records", data=body, headers=account.headers | headers)
    else:
        answer = await service.upload(account, a_wav(), filename=quote(filename), transport=transport)
    assert tag_of(await mp3_of(service, answer)) == {"TIT2": NAMES[filename]}


async def test_name_with_nul_is_refused_as_ever(service: Service, account: Account) -> None:
    answer = await service.upload(account, a_wav(), filename="a%00b.wav")
    assert (answer.status, answer.json["code"]) == (422, "invalid_filename")
    assert service.files() == []


async def test_words_of_the_wav_are_in_the_tag(service: Service, account: Account) -> None:
    mp3 = await mp3_of(service, await service.upload(account, a_wav(INFO, BEXT)))
    assert tag_of(mp3) == {
        "TIT2": "Речь",
        "TPE1": "Ann",
        "TALB": "Talks",
        "TDRC": "2026-11-26",
        "COMM::XXX": "-i /etc/passwd",
    }


async def test_broadcast_wav_keeps_its_name_as_its_title(service: Service, account: Account) -> None:
    mp3 = await mp3_of(service, await service.upload(account, a_wav(BEXT)))
    assert tag_of(mp3) == {
        "TIT2": "talk",
        "TPE1": "Recorder 7",
        "TDRC": "2025-01-02",
        "COMM::XXX": "A take in the rain",
    }


async def test_size_is_known_from_the_tag_and_the_count_of_samples(service: Service, account: Account) -> None:
    flood = info_chunk(INAM=b"t" * 9_000, IART=b"a" * 3_000, ICMT=b"c" * 9_000)
    mp3 = await mp3_of(service, await service.upload(account, a_wav(flood)))
    tag_byte_count = mp3s.info_header(mp3).offset
    assert 3_000 < tag_byte_count <= 8_192
    length = Mp3Length.of(len(SOURCE), 44_100, 44_100)
    assert len(mp3) == expected_size(Mp3Format(44_100, 2, 128_000), length, tag_byte_count)


async def test_older_apis_give_titles_too(service: Service, account: Account) -> None:
    track = FormData([("user_id", str(account.id))])
    track.add_field("file", BytesIO(a_wav()), filename="talk-1.wav", content_type="audio/wav")
    first = await service.post("/audiotrack", data=track, headers=account.headers)
    assert title(await download(service, first.json["audiotrack_url"])) == "talk-1"
    record = FormData()
    record.add_field("record", BytesIO(a_wav(INFO)), filename="talk.wav", content_type="audio/wav")
    second = await service.post(f"/api_v1/records/?user_id={account.id}&user_token={account.token}", data=record)
    assert title(await download(service, second.json["download_url"])) == "Речь"


async def test_ffprobe_and_mutagen_find_the_sound_behind_the_tag(
    service: Service, account: Account, tmp_path: Path
) -> None:
    mp3 = await mp3_of(service, await service.upload(account, a_wav(INFO)))
    path = tmp_path / "talk.mp3"
    path.write_bytes(mp3)
    found = await asyncio.to_thread(probe, path)
    assert found["format"]["tags"] == {
        "title": "Речь",
        "artist": "Ann",
        "album": "Talks",
        "date": "2026-11-26",
        "comment": "-i /etc/passwd",
    }
    assert int(found["packets"][0]["pos"]) == mp3s.info_header(mp3).audio_offset
    info: Any = MP3(path).info  # type: ignore[no-untyped-call]
    assert (info.sample_rate, info.channels) == (44_100, 2)
    assert round(info.length * 44_100) == mp3s.info_header(mp3).frame_count * 1_152
