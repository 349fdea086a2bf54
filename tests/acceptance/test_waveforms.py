"""Every record has a waveform: as data for players, and as a picture."""

import asyncio
import math
import struct
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from tests.support import wavs
from tests.support.blocks import FORMS, Kind, decoded, encoded
from tests.support.client import TRANSPORTS, Account, Service, StartService, Transport
from tests.support.database import query
from tests.support.listening import begin, listening
from tests.support.resumable import begun

RATE = 8_000
# A second of silence, one of noise, one of silence.
NOISE = np.random.default_rng(4).uniform(-0.9, 0.9, (RATE, 1))
SOUND = np.concatenate([np.zeros((RATE, 1)), NOISE, np.zeros((RATE, 1))])
WAV = wavs.wav(SOUND, sample_rate=RATE, channels=1)
SVG = "{http://www.w3.org/2000/svg}"


def expected(sound: wavs.Samples) -> list[int]:
    samples = np.frombuffer(wavs.S16.encode(sound), np.int16) >> 8
    spans = [samples[start : start + 64] for start in range(0, len(samples), 64)]
    return [int(value) for span in spans for value in (span.min(), span.max())]


async def peaks(service: Service, record_id: str) -> Any:
    return (await service.get(f"/records/{record_id}/peaks.json")).json


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_record_has_its_waveform_with_the_201(service: Service, account: Account, transport: Transport) -> None:
    record = (await service.upload(account, WAV, transport=transport)).json
    answer = await service.get(f"/records/{record['id']}/peaks.json")
    assert answer.status == 200
    data = answer.json.pop("data")
    assert answer.json == {
        "version": 2, "channels": 1, "sample_rate": RATE, "samples_per_pixel": 64, "bits": 8, "length": 375,
    }  # fmt: skip
    assert data == expected(SOUND)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "immutable" in answer.headers["Cache-Control"]
    dat = (await service.get(f"/records/{record['id']}/peaks.dat")).body
    assert struct.unpack_from("<iIiiIi", dat) == (2, 1, RATE, 64, 375, 1)
    assert list(struct.unpack_from(f"<{len(data)}b", dat, 24)) == data


async def test_waveform_is_kept_by_who_has_it(service: Service, account: Account) -> None:
    record = (await service.upload(account, WAV)).json
    for name in ("peaks.json", "peaks.dat", "waveform.svg"):
        path = f"/records/{record['id']}/{name}"
        first = await service.get(path)
        again = await service.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
        assert (await service.request("HEAD", path)).headers["Content-Length"] == str(len(first.body))


async def test_waveform_grows_while_the_upload_is_under_way(service: Service, account: Account) -> None:
    long = wavs.wav(np.tile(SOUND, (20, 1)), sample_rate=RATE, channels=1)
    upload = await begin(service, account, long, until_byte=len(long) // 2)
    async with listening(service, upload.path) as listener:
        await listener.hears(10_000)
        # A piece is drawn when ffmpeg has taken all of it, which is after the first of it is heard.
        async with asyncio.timeout(30):
            while not (answer := await service.get(f"/records/{upload.id}/peaks.json")).json["data"]:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.01)
        assert answer.headers["Cache-Control"] == "no-store"
        assert "ETag" not in answer.headers
        whole = expected(np.tile(SOUND, (20, 1)))
        data = answer.json["data"]
        assert 0 < len(data) <= len(whole) // 2 + 2
        assert data[:-2] == whole[: len(data) - 2]
        upload.paced.release()
        await upload.answer
    assert (await peaks(service, upload.id))["data"] == whole


async def test_resumed_upload_has_the_waveform_of_an_uncut_one(service: Service, account: Account) -> None:
    upload = await begun(service, account, "tus", len(WAV))
    for start, stop in ((0, 101), (101, 20_000), (20_000, len(WAV))):
        await upload.append(WAV[start:stop], start)
    assert (await peaks(service, upload.id))["data"] == expected(SOUND)


async def test_waveform_of_an_upload_in_another_process(start_service: StartService) -> None:
    one, other = await start_service(), await start_service()
    upload = await begin(one, await one.create_user(), WAV, until_byte=30_000)
    for name in ("peaks.json", "peaks.dat", "waveform.svg"):
        answer = await other.get(f"/records/{upload.id}/{name}")
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    upload.paced.release()
    await upload.answer


async def test_picture_shows_where_it_is_loud(service: Service, account: Account) -> None:
    record = (await service.upload(account, WAV, filename="%3Cb%3E%20%26%20talk.wav")).json
    answer = await service.get(f"/records/{record['id']}/waveform.svg?width=300&height=64&color=%23ff0000")
    assert answer.headers["Content-Type"].startswith("image/svg+xml")
    assert answer.headers["Content-Security-Policy"] == "sandbox"
    picture = ET.fromstring(answer.body)  # noqa: S314 - our own answer
    assert (picture.get("width"), picture.get("height")) == ("300", "64")
    title, path = picture.find(f"{SVG}title"), picture.find(f"{SVG}path")
    assert title is not None
    assert path is not None
    assert title.text == "<b> & talk"
    assert path.get("fill") == "#ff0000"
    points = [tuple(map(float, pair.split())) for pair in str(path.get("d")).strip("MZ").split("L")]
    tops = points[:300]
    assert max(y for x, y in tops if 110 < x < 190) < 15
    assert min(y for x, y in tops if x < 90 or x > 210) > 30
    assert len(answer.body) < 300 * 2 * 14 + 500


@pytest.mark.parametrize(
    ("query", "code"),
    [
        *(
            (f"{name}={value}", "invalid_picture_size")
            for name in ("width", "height")
            for value in ("0", "-1", "4001", "1e3", "x")
        ),
        *(
            (f"color={value}", "invalid_color")
            for value in ("", "%23ff", "url(x)", "%22/><script>", "red;", "%23ggg", "a" * 21)
        ),
        ("background=rgb(1,2,3)", "invalid_color"),
    ],
)
async def test_hostile_style_is_refused(service: Service, account: Account, query: str, code: str) -> None:
    record = (await service.upload(account, WAV)).json
    answer = await service.get(f"/records/{record['id']}/waveform.svg?{query}")
    assert (answer.status, answer.json["code"]) == (422, code)


async def test_nobodys_record_has_no_waveform(service: Service, account: Account) -> None:
    for name in ("peaks.json", "peaks.dat", "waveform.svg"):
        answer = await service.get(f"/records/6f9619ff-8b86-4d01-b42d-00cf4fc964ff/{name}")
        assert (answer.status, answer.json["code"]) == (404, "record_not_found")
    gone = (await service.upload(account, WAV)).json["id"]
    await service.request("DELETE", f"/records/{gone}", headers=account.headers)
    assert (await service.get(f"/records/{gone}/peaks.json")).status == 404


@pytest.mark.parametrize(("kind", "channels"), FORMS, ids=str)
async def test_blocks_are_drawn_as_ffmpeg_decodes_them(
    service: Service, account: Account, kind: Kind, channels: int
) -> None:
    samples = np.tile(np.repeat([0.05, 0.8, 0.05], 3_000)[:, None], channels) * wavs.chirp(9_000, 8_000, channels)
    wav = encoded(kind, samples, 8_000).wav()
    record = (await service.upload(account, wav)).json
    found = await peaks(service, record["id"])
    assert found["length"] == math.ceil(record["duration"] * 8_000 / 64)
    other = np.floor(decoded(wav).reshape(-1, channels) * 128)
    spans = [other[start : start + 64] for start in range(0, len(other), 64)]
    reference = [value for span in spans for value in (span.min(), span.max())]
    assert np.abs(np.array(found["data"][:-2]) - reference[: len(found["data"]) - 2]).max() <= 2


async def test_record_of_an_older_version_says_that_it_has_none(service: Service, account: Account) -> None:
    record = (await service.upload(account, WAV)).json
    query(service.database_url, "UPDATE records SET peaks = NULL")
    answer = await service.get(f"/records/{record['id']}/peaks.json")
    assert (answer.status, answer.json["code"]) == (404, "no_waveform")


async def test_many_at_once_do_not_mix(service: Service, account: Account) -> None:
    sounds = [np.full((RATE, 1), level / 10) for level in range(1, 9)]
    uploads = (service.upload(account, wavs.wav(sound, sample_rate=RATE, channels=1)) for sound in sounds)
    records = await asyncio.gather(*uploads)
    for sound, record in zip(sounds, records, strict=True):
        assert (await peaks(service, record.json["id"]))["data"] == expected(sound)
