"""Uploads: every transport, every kind of WAV, and an MP3 that is exact to the sample."""

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from service.web.app_keys import ADMISSION
from tests.support import mp3s, wavs
from tests.support.client import TRANSPORTS, Account, Answer, Service, Transport, in_pieces
from tests.support.invariants import GOOD_WAV
from tests.support.procfs import descriptors
from tests.support.waiting import until

RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 176400, 192000, 37800, 8001)


async def download(service: Service, answer: Answer) -> bytes:
    assert answer.status == 201, answer
    mp3 = await service.get(answer.json["url"])
    assert mp3.status == 200
    assert hashlib.sha256(mp3.body).hexdigest() == answer.json["sha256"]
    assert len(mp3.body) == answer.json["size"]
    return mp3.body


def assert_exact(mp3: bytes, source: wavs.Samples, rate: int, channel_mask: int | None = None) -> None:
    mp3s.assert_sounds_like(mp3, source, rate, channel_mask=channel_mask)
    assert len(mp3s.decode(mp3)) == mp3s.expected_sample_count(len(source), rate)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_answer_is_the_record(service: Service, account: Account, transport: Transport) -> None:
    source = wavs.chirp(44100, 44100, 2)
    answer = await service.upload(account, wavs.wav(source, sample_rate=44100, channels=2), transport=transport)
    record = answer.json
    assert set(record) == {
        *("id", "url", "filename", "duration", "sample_rate", "channels", "bit_rate", "size", "sha256"),
        *("complete", "source_size", "warnings", "created_at"),
        "expires_at",
    }
    assert answer.headers["Location"] == record["url"] == str(service.url / f"records/{UUID(record['id'])}.mp3")
    assert (record["filename"], record["duration"]) == ("talk.wav", 1.0)
    assert (record["sample_rate"], record["channels"], record["bit_rate"]) == (44100, 2, 128000)
    assert record["warnings"] == []
    assert "Wavepress-Warning" not in answer.headers
    assert (record["complete"], record["source_size"]) == (True, 44 + 4 * 44100)
    assert_exact(await download(service, answer), source, 44100)


@pytest.mark.parametrize("content_type", ["audio/wav", "audio/x-wav", "audio/vnd.wave", "application/octet-stream"])
async def test_post_takes_the_wav_as_the_body(service: Service, account: Account, content_type: str) -> None:
    wav = wavs.wav(wavs.chirp(5000, 44100, 1), sample_rate=44100, channels=1)
    answer = await service.post("/records", data=wav, headers=account.headers | {"Content-Type": content_type})
    assert answer.status == 201, answer


@pytest.mark.parametrize(
    ("path", "filename"),
    [
        ("/records", "recording.wav"),
        ("/records/", "recording.wav"),
        ("/records/a%20b.wav", "a b.wav"),
        ("/records/..%2F..%2Fetc%2Fpasswd", "passwd"),
        ("/records/C:%5Cmusic%5Csong.WAV", "song.WAV"),
        ("/records/%D1%80%D0%B5%D1%87%D1%8C.wav", "речь.wav"),
        ("/records/" + "x" * 300, "x" * 300),
    ],
)
async def test_put_takes_any_name_and_keeps_no_path(
    service: Service, account: Account, path: str, filename: str
) -> None:
    wav = wavs.wav(wavs.chirp(5000, 44100, 1), sample_rate=44100, channels=1)
    answer = await service.put(path, data=wav, headers=account.headers)
    assert (answer.status, answer.json["filename"]) == (201, filename)


@pytest.mark.parametrize("path", ["/records/a%00b.wav", "/records/a%0Ab.wav", "/records/" + "x" * 1025])
async def test_name_with_control_characters_or_without_end_is_422(
    service: Service, account: Account, path: str
) -> None:
    answer = await service.put(path, data=b"RIFF", headers=account.headers)
    assert (answer.status, answer.json["code"]) == (422, "invalid_filename")


async def test_text_answer_is_the_url_alone(service: Service, account: Account) -> None:
    wav = wavs.wav(wavs.chirp(5000, 44100, 1), sample_rate=44100, channels=1)
    answer = await service.put("/records/", data=wav, headers=account.headers | {"Accept": "text/plain"})
    assert answer.status == 201
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/records/[0-9a-f-]{36}\.mp3\n", answer.body.decode())


@pytest.mark.parametrize("extensible", [False, True], ids=["plain", "extensible"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("sample_format", wavs.SAMPLE_FORMATS, ids=str)
async def test_every_sample_format_sounds_like_its_source(
    service: Service, account: Account, sample_format: wavs.SampleFormat, channels: int, extensible: bool
) -> None:
    source = wavs.chirp(30_000, 44100, channels)
    wav = wavs.wav(source, sample_format=sample_format, sample_rate=44100, channels=channels, extensible=extensible)
    assert_exact(await download(service, await service.upload(account, wav)), source, 44100)


@pytest.mark.parametrize("rate", RATES)
async def test_every_rate_comes_out_exact_at_awkward_lengths(service: Service, account: Account, rate: int) -> None:
    for sample_count in (rate // 2, 1153, 1152 * 3 + 40, 9_999):
        source = wavs.chirp(sample_count, rate, 1)
        answer = await service.upload(account, wavs.wav(source, sample_rate=rate, channels=1))
        mp3 = await download(service, answer)
        assert len(mp3s.decode(mp3)) == mp3s.expected_sample_count(sample_count, rate)
        assert answer.json["duration"] == sample_count / rate
    source = wavs.chirp(rate, rate, 2)
    answer = await service.upload(account, wavs.wav(source, sample_rate=rate, channels=2))
    assert answer.json["sample_rate"] == mp3s.output_rate(rate)
    assert_exact(await download(service, answer), source, rate)


@pytest.mark.parametrize("sample_count", [1, 2, 20, 46, 47])
@pytest.mark.parametrize("rate", [8000, 44100, 48000, 96000, 192000])
async def test_shortest_sounds_survive(service: Service, account: Account, sample_count: int, rate: int) -> None:
    wav = wavs.wav(wavs.chirp(sample_count, rate, 1), sample_rate=rate, channels=1)
    decoded = mp3s.decode(await download(service, await service.upload(account, wav)))
    expected = mp3s.expected_sample_count(sample_count, rate)
    assert len(decoded) == (expected if mp3s.output_rate(rate) >= 32000 else max(expected, 47))


@pytest.mark.parametrize("extensible", [False, True], ids=["plain", "extensible"])
@pytest.mark.parametrize(("channels", "mask"), [(3, 0x7), (4, 0x107), (5, 0x37), (6, 0x3F), (7, 0x70F), (8, 0x63F)])
async def test_surround_is_mixed_down_to_stereo(
    service: Service, account: Account, channels: int, mask: int, extensible: bool
) -> None:
    source = wavs.chirp(30_000, 48000, channels, amplitude=0.3)
    for sample_format in (wavs.S16, wavs.F32):
        wav = wavs.wav(
            source,
            sample_format=sample_format,
            sample_rate=48000,
            channels=channels,
            extensible=extensible,
            channel_mask=mask,
        )
        answer = await service.upload(account, wav)
        assert answer.json["channels"] == 2
        assert_exact(await download(service, answer), source, 48000, channel_mask=mask)


@pytest.mark.parametrize(("channels", "mask"), [(1, 0x1), (1, 0), (2, 0x30), (2, 0x600), (2, 0), (2, 0xFFFFFFFF)])
async def test_odd_masks_change_nothing_in_mono_and_stereo(
    service: Service, account: Account, channels: int, mask: int
) -> None:
    source = wavs.chirp(30_000, 44100, channels)
    wav = wavs.wav(source, sample_rate=44100, channels=channels, extensible=True, channel_mask=mask)
    assert_exact(await download(service, await service.upload(account, wav)), source, 44100)


STREAMED: dict[str, Any] = {
    "zeros": {"riff_size": 0, "data_size": 0},
    "empty so far": {"riff_size": 36, "data_size": 0},
    "ffmpeg": {"riff_size": 0xFFFFFFFF, "data_size": 0xFFFFFFFF},
    "sox": {"riff_size": 0x7FFFF024, "data_size": 0x7FFFF000},
    "signed": {"riff_size": 0x7FFFFFFF, "data_size": 0x7FFFFFFF},
    "arecord": {"riff_size": 0x80000024, "data_size": 0x80000000},
    "rf64 without sizes": {"container": "RF64", "ds64": wavs.ds64_chunk(0, 0, 0)},
    "rf64": {"container": "RF64"},
    "bw64": {"container": "BW64"},
    "chunks before": {"before": [wavs.chunk(b"LIST", b"INFOodd"), wavs.chunk(b"JUNK", bytes(3_000_001))]},
    "chunks after": {"after": [wavs.chunk(b"LIST", b"INFOodd"), wavs.chunk(b"id3 ", bytes(100_000))]},
    "gstreamer": {"riff_size": 0x7FFF0024, "data_size": 0x7FFF0000},
    "speech server": {"riff_size": 2_000_000_036, "data_size": 2_000_000_000},
    "python's wave": {"riff_size": 36 + 2048, "data_size": 2048},
    "more by the header": {"data_size": 3 * 20_000 + 44},
    "by RIFF alone": {"data_size": 0},
}
WARNED = {
    "python's wave": ["surplus_sound"],
    "more by the header": ["wrong_data_size"],
    "by RIFF alone": ["wrong_data_size"],
}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", STREAMED)
async def test_streamed_headers_and_odd_chunks_lose_no_sample(
    service: Service, account: Account, kind: str, transport: Transport
) -> None:
    source = wavs.chirp(20_000, 44100, 1)
    wav = wavs.wav(source, sample_rate=44100, channels=1, sample_format=wavs.S24, **STREAMED[kind])
    answer = await service.upload(account, wav, transport=transport)
    assert_exact(await download(service, answer), source, 44100)
    assert [warning["code"] for warning in answer.json["warnings"]] == WARNED.get(kind, [])
    kept = await service.get(f"/records/{answer.json['id']}", headers=account.headers)
    assert kept.json["warnings"] == answer.json["warnings"]


@pytest.mark.parametrize(
    ("rate", "asked", "given"),
    [
        (44100, None, 128000),
        (44100, "320000", 320000),
        (44100, "32000", 32000),
        (16000, None, 128000),
        (16000, "160000", 160000),
        (8000, None, 64000),
        (8000, "8000", 8000),
        (96000, "192000", 192000),
    ],
)
async def test_bit_rate_is_the_requested_one_or_the_highest_legal_one(
    service: Service, account: Account, rate: int, asked: str | None, given: int
) -> None:
    source = wavs.chirp(rate, rate, 2)
    wav = wavs.wav(source, sample_rate=rate, channels=2)
    answer = await service.upload(account, wav, params={"bit_rate": asked} if asked else None)
    mp3 = await download(service, answer)
    assert answer.json["bit_rate"] == given == mp3s.info_header(mp3).bit_rate
    assert len(mp3s.decode(mp3)) == mp3s.expected_sample_count(len(source), rate)


@pytest.mark.parametrize(
    ("rate", "asked"), [(44100, "8000"), (44100, "127999"), (8000, "128000"), (16000, "320000"), (44100, "0")]
)
async def test_illegal_bit_rate_is_422_with_the_list(service: Service, account: Account, rate: int, asked: str) -> None:
    wav = wavs.wav(wavs.chirp(rate, rate, 1), sample_rate=rate, channels=1)
    answer = await service.upload(account, wav, params={"bit_rate": asked})
    assert (answer.status, answer.json["code"]) == (422, "invalid_bit_rate")
    assert "64000" in answer.json["detail"]


@pytest.mark.parametrize("asked", ["128k", "-1", "", "1" * 5000, "\uff11\uff12"])
async def test_bit_rate_that_is_not_a_number_is_422(service: Service, account: Account, asked: str) -> None:
    answer = await service.upload(account, b"RIFF", params={"bit_rate": asked})
    assert (answer.status, answer.json["code"]) == (422, "invalid_bit_rate")


async def test_fields_may_stand_before_and_after_the_file(service: Service, account: Account) -> None:
    wav = wavs.wav(wavs.chirp(200_000, 44100, 1), sample_rate=44100, channels=1)
    body = (
        b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + wav + b"\r\n"
        b'--b\r\nContent-Disposition: form-data; name="y"\r\n\r\n2\r\n--b--\r\n'
    )
    headers = account.headers | {"Content-Type": "multipart/form-data; boundary=b"}
    answer = await service.post("/records", data=body, headers=headers)
    assert (answer.status, answer.json["filename"]) == (201, "a.wav")


async def test_mp3_grows_while_the_client_is_still_sending(service: Service, account: Account) -> None:
    wav = wavs.wav(wavs.chirp(44100 * 20, 44100, 2), sample_rate=44100, channels=2)
    half_sent, go_on = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        async for piece in in_pieces(wav[: len(wav) // 2]):
            yield piece
        half_sent.set()
        await go_on.wait()
        async for piece in in_pieces(wav[len(wav) // 2 :]):
            yield piece

    upload = asyncio.create_task(service.put("/records/", data=body(), headers=account.headers))
    await half_sent.wait()
    expected = 20 / 2 * 128000 / 8 * 0.8  # everything except what is still in the pipes
    await until(lambda: draft_size() >= expected)
    assert not service.files()
    go_on.set()
    assert (await upload).status == 201
    assert len(service.files()) == 1


def draft_size() -> int:
    """Return the size of the largest nameless file that this process has open."""
    drafts = [number for number, target in descriptors() if re.search(r"/records/drafts/#\d+ \(deleted\)$", target)]
    return max((os.fstat(draft).st_size for draft in drafts), default=0)


async def test_simultaneous_uploads_do_not_mix(service: Service, account: Account) -> None:
    sources = [wavs.chirp(44100 + 1000 * number, 44100, 1, seed=number) for number in range(6)]
    answers = await asyncio.gather(
        *(
            service.upload(account, wavs.wav(source, sample_rate=44100, channels=1), transport=TRANSPORTS[number % 3])
            for number, source in enumerate(sources)
        )
    )
    for source, answer in zip(sources, answers, strict=True):
        assert_exact(await download(service, answer), source, 44100)
    assert not service.app[ADMISSION].running


async def test_silence_and_full_scale_are_sound_too(service: Service, account: Account) -> None:
    for source in (np.zeros((44100, 2)), np.sign(wavs.chirp(44100, 44100, 2))):
        answer = await service.upload(account, wavs.wav(source, sample_rate=44100, channels=2))
        assert len(mp3s.decode(await download(service, answer))) == 44100


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("bitrate=64000", "bitrate is not a known parameter. Did you mean bit_rate?"),
        ("%00%0a=1", " is not a known parameter. Known are bit_rate, expires_in, incomplete, max_bytes, sample_rate."),
        ("zzz=1", "zzz is not a known parameter. Known are bit_rate, expires_in, incomplete, max_bytes, sample_rate."),
    ],
)
async def test_unknown_parameter_is_a_warning_with_the_nearest_name(
    service: Service, account: Account, query: str, sentence: str
) -> None:
    answer = await service.put(f"/records/talk.wav?{query}", data=GOOD_WAV, headers=account.headers)
    assert answer.status == 201
    assert answer.json["warnings"] == [{"code": "unknown_parameter", "detail": sentence}]
