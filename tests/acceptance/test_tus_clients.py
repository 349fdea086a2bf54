"""Clients of tus that others have written send WAVs, also over a line that breaks."""

import asyncio
from io import BytesIO

import pytest
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError

from tests.support import wavs
from tests.support.client import Account, Service

WAV = wavs.wav(wavs.chirp(3 * 44_100, 44_100, 2), sample_rate=44_100, channels=2)


@pytest.mark.parametrize("chunk_size", [10_000_000, 60_000])
async def test_tuspy_sends_a_wav(service: Service, account: Account, chunk_size: int) -> None:
    plain = await service.upload(account, WAV)
    client = TusClient(f"{service.url}uploads", headers=account.headers)

    def send() -> str:
        uploader = client.uploader(file_stream=BytesIO(WAV), chunk_size=chunk_size, metadata={"filename": "talk.wav"})
        uploader.upload()
        return str(uploader.url)

    url = await asyncio.to_thread(send)
    record = await service.get(f"/records/{url.rpartition('/')[2]}", headers=account.headers)
    assert record.json["sha256"] == plain.json["sha256"]


async def test_tuspy_goes_on_where_it_stopped(service: Service, account: Account) -> None:
    client = TusClient(f"{service.url}uploads", headers=account.headers)

    def send() -> str:
        first = client.uploader(file_stream=BytesIO(WAV), chunk_size=50_000, metadata={"filename": "talk.wav"})
        first.upload(stop_at=100_000)
        again = client.uploader(file_stream=BytesIO(WAV), chunk_size=50_000, url=first.url)
        assert again.offset == 100_000
        again.upload()
        return str(again.url)

    url = await asyncio.to_thread(send)
    record = await service.get(f"/records/{url.rpartition('/')[2]}", headers=account.headers)
    assert record.json["duration"] == 3.0


async def test_tuspy_is_told_what_is_wrong(service: Service, account: Account) -> None:
    other = BytesIO(b"not a WAV at all" * 100)
    client = TusClient(f"{service.url}uploads", headers=account.headers)

    def send() -> None:
        client.uploader(file_stream=other, chunk_size=10_000_000, retries=0).upload()

    with pytest.raises(TusCommunicationError) as caught:
        await asyncio.to_thread(send)
    assert caught.value.status_code == 415
