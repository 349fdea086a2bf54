"""What real programs write into a pipe is taken whole, straight from their standard output."""

import asyncio
import base64
import math
import shutil
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support import mp3s, wavs
from tests.support.client import Account, Service
from tests.support.ffmpegs import decoder

RATE, COUNT = 16_000, 80_000
SOUND = wavs.S16.encode(wavs.chirp(COUNT, RATE, 1, amplitude=0.9))
PYTHON_WAVE = """
import os, sys, wave
writer = wave.open(sys.stdout.buffer, "wb")
writer.setnchannels(1)
writer.setsampwidth(2)
writer.setframerate(16000)
if len(sys.argv) > 2:
    writer.setnframes(int(sys.argv[2]))
samples = open(sys.argv[1], "rb").read()[44:]
for start in range(0, len(samples), 2048):
    writer.writeframesraw(samples[start : start + 2048])
sys.stdout.flush()
os._exit(0)  # closing the writer would fail: it cannot mend the header in a pipe
"""
SCIPY = "import sys, scipy.io.wavfile as w; rate, samples = w.read(sys.argv[1]); w.write(sys.argv[2], rate, samples)"
SOUNDFILE = "import sys, soundfile as s; samples, rate = s.read(sys.argv[1]); s.write(sys.argv[2], samples, rate, {!r})"

FLAC_OF_RAW_SAMPLES = """
tail -c +45 '{wav}' \\
| flac -s --force-raw-format --endian=little --sign=signed --channels=1 --bps=16 --sample-rate=16000 -c - \\
| flac -s -d -c - 2>/dev/null
"""

# Each writes the WAV at {wav} to its standard output, or to {out}.
WRITERS: dict[str, tuple[str, ...]] = {
    "ffmpeg": (decoder(), "-v", "error", "-i", "{wav}", "-f", "wav", "-"),
    "ffmpeg, RF64": (decoder(), "-v", "error", "-i", "{wav}", "-rf64", "always", "-f", "wav", "-"),
    "ffmpeg, a file": (decoder(), "-v", "error", "-i", "{wav}", "-metadata", "title=Talk", "{out}"),
    "sox": ("sox", "{wav}", "-t", "wav", "-"),
    "sox that does not know": ("sh", "-c", "cat '{wav}' | sox --ignore-length -t wav - -t wav -"),
    "sox, 24 bits": ("sox", "{wav}", "-b", "24", "-t", "wav", "-"),
    # It says that it failed, because it cannot mend its header, but it has written all of the sound.
    "gstreamer": ("sh", "-c", "gst-launch-1.0 -q filesrc location='{wav}' ! wavparse ! wavenc ! fdsink || true"),
    "flac": ("sh", "-c", "flac -s -c '{wav}' | flac -s -d -c -"),
    "flac that does not know": ("sh", "-c", FLAC_OF_RAW_SAMPLES),
    "python's wave": (sys.executable, "-c", PYTHON_WAVE, "{wav}"),
    "a speech server in python": (sys.executable, "-c", PYTHON_WAVE, "{wav}", "1000000000"),
    "scipy": (sys.executable, "-c", SCIPY, "{wav}", "{out}"),
    "soundfile": (sys.executable, "-c", SOUNDFILE.format("PCM_24"), "{wav}", "{out}"),
    "soundfile, floats": (sys.executable, "-c", SOUNDFILE.format("FLOAT"), "{wav}", "{out}"),
}
WARNED = {"python's wave": ["surplus_sound"]}


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    path = tmp_path / "talk.wav"
    path.write_bytes(wavs.wav(SOUND, sample_rate=RATE, channels=1))
    return path


def require(*programs: str) -> None:
    """Skip the test if a program is missing."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def content_of(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


async def written(command: list[str], out: Path) -> AsyncIterator[bytes]:
    """Yield what a program writes, while it writes it."""
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    while piece := await process.stdout.read(65_536):
        yield piece
    assert await process.wait() == 0, command
    yield content_of(out)


@pytest.mark.parametrize("writer", WRITERS)
async def test_output_of_a_program_is_taken_to_its_last_sample(
    service: Service, account: Account, wav: Path, writer: str
) -> None:
    command = [part.format(wav=wav, out=wav.with_name("out.wav")) for part in WRITERS[writer]]
    require(command[0], *(program for program in ("sox", "flac", "gst-launch-1.0") if program in command[-1]))
    for module in ("scipy", "soundfile"):
        if module in writer:
            pytest.importorskip(module)
    body = written(command, wav.with_name("out.wav"))
    answer = await service.put("/records/talk.wav", data=body, headers=account.headers)
    assert answer.status == 201, answer.json
    assert [warning["code"] for warning in answer.json["warnings"]] == WARNED.get(writer, [])
    mp3 = (await service.get(answer.json["url"])).body
    # GStreamer's wavenc writes its tags behind the samples, where the size that it declares makes them sound.
    assert 0 <= len(mp3s.decode(mp3)) - COUNT < 64


@pytest.mark.parametrize("program", ["espeak-ng", "lame", "mpg123"])
async def test_sound_that_a_program_makes_is_taken_as_long_as_sox_finds_it(
    service: Service, account: Account, wav: Path, program: str
) -> None:
    require(program, "sox", *(["lame"] if program == "mpg123" else []))
    mp3 = wav.with_suffix(".mp3")
    if program != "espeak-ng":
        subprocess.run(["lame", "--quiet", wav, mp3], check=True)  # noqa: S607, ASYNC221 - it is short
    command = {
        "espeak-ng": ["espeak-ng", "--stdout", "Good morning"],
        "lame": ["lame", "--quiet", "--decode", str(mp3), "-"],
        "mpg123": ["sh", "-c", f"mpg123 -q -w - '{mp3}' | cat"],
    }[program]
    body = b"".join([piece async for piece in written(command, wav.with_name("none"))])
    answer = await service.put("/records/talk.wav", data=body, headers=account.headers)
    assert (answer.status, answer.json.get("warnings")) == (201, []), answer.json
    bare = (len(body) - body.index(b"data") - 8) // 2
    assert answer.json["duration"] == pytest.approx(bare / int.from_bytes(body[24:28], "little"))


async def curl(account: Account, *arguments: str) -> str:
    require("curl")
    command = ["curl", "-sS", "-m", "20", "-H", f"Authorization: Bearer {account.token}", *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


async def test_curl_without_the_at_sign_is_told_about_it(service: Service, account: Account, wav: Path) -> None:
    url = f"{service.url}records"
    assert "with curl: -F file=@talk.wav, with the @" in await curl(account, "-F", "file=talk.wav", url)
    said = await curl(account, "--data-binary", wav.name, url)
    assert "the name of a file instead of the file" in said
    assert "--data-binary @talk.wav" in said


async def test_curl_that_drops_bytes_is_told_about_it(service: Service, account: Account, wav: Path) -> None:
    said = await curl(account, "-d", f"@{wav}", f"{service.url}records")
    assert "Send a WAV (RIFF, RF64 or BW64). With curl, use -T: -d loses bytes." in said


async def test_curl_with_a_folder_is_told_to_name_a_file(service: Service, account: Account, tmp_path: Path) -> None:
    said = await curl(account, "-T", str(tmp_path), f"{service.url}records/")
    assert '"code": "empty"' in said
    assert "curl sends nothing if -T names a folder" in said


async def test_curl_after_a_program_that_failed_is_told_about_it(service: Service, account: Account) -> None:
    require("curl", "sox")
    authorization = f"Authorization: Bearer {account.token}"
    command = f'sox missing.wav -t wav - | curl -sS -m 20 -T - -H "{authorization}" {service.url}records/'
    process = await asyncio.create_subprocess_shell(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    said, _ = await process.communicate()
    assert b'"code": "empty"' in said
    assert b"if the program in front of its pipe failed" in said


def converted(wav: Path, suffix: str) -> bytes:
    out = wav.with_name(f"out.{suffix}")
    strict = ["-strict", "-2"] if suffix in {"ogg", "webm", "mkv"} else []
    codec = {"ogg": ["-c:a", "flac"], "webm": ["-c:a", "libopus"], "3gp": ["-c:a", "aac"]}.get(suffix, [])
    program = [decoder(), "-v", "error", "-i", str(wav), *codec, *strict, str(out)]
    done = subprocess.run(program, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"this ffmpeg does not write {suffix}")
    return out.read_bytes()


@pytest.mark.parametrize(
    ("suffix", "name"),
    [
        ("m4a", "an M4A file"),
        ("mp4", "an MP4 file"),
        ("mov", "a QuickTime file"),
        ("3gp", "a 3GP file"),
        ("mp3", "an MP3 file"),
        ("aac", "an AAC file"),
        ("flac", "a FLAC file"),
        ("ogg", "an Ogg file"),
        ("opus", "an Ogg file with Opus"),
        ("webm", "a WebM file"),
        ("mkv", "a Matroska file"),
        ("aiff", "an AIFF file"),
        ("caf", "a Core Audio file"),
        ("w64", "a Sony Wave64 file"),
        ("au", "an AU file"),
        ("wma", "a Windows Media file"),
        ("ac3", "an AC-3 file"),
        ("wv", "a WavPack file"),
        ("tta", "a True Audio file"),
        ("avi", "an AVI video"),
    ],
)
async def test_file_that_ffmpeg_writes_is_named_and_the_advice_works(
    service: Service, account: Account, wav: Path, suffix: str, name: str
) -> None:
    body = converted(wav, suffix)
    answer = await service.put("/records/talk.wav", data=body, headers=account.headers)
    assert (answer.status, answer.json["code"]) == (415, "not_wav")
    said, _, advised = answer.json["detail"].partition(". Convert it first: ffmpeg -i x.")
    assert said == f"This is {name}"
    own_suffix = advised.removesuffix(" x.wav")
    source, target = wav.with_name(f"x.{own_suffix}"), wav.with_name("converted.wav")
    source.write_bytes(body)
    subprocess.run([decoder(), "-v", "error", "-i", source, target], check=True)  # noqa: ASYNC221 - it is short
    again = await service.put("/records/talk.wav", data=target.read_bytes(), headers=account.headers)
    assert again.status == 201
    assert math.isclose(again.json["duration"], COUNT / RATE, abs_tol=0.2)


async def test_wav_in_another_dress_is_named(service: Service, account: Account, wav: Path) -> None:
    archive = wav.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as writer:
        writer.write(wav, wav.name)
    content = content_of(wav)
    dresses = {
        "a ZIP archive": content_of(archive),
        "a WAV in base64": base64.encodebytes(content),
        "a data: URL": b"data:audio/wav;base64," + base64.b64encode(content),
    }
    for name, body in dresses.items():
        answer = await service.put("/records/talk.wav", data=body, headers=account.headers)
        assert (answer.status, answer.json["code"]) == (415, "not_wav")
        assert answer.json["detail"].startswith(f"This is {name}. ")
