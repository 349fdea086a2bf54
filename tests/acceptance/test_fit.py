"""`?max_bytes=`: an MP3 that fits, in one request."""

import pytest

from tests.support import wavs
from tests.support.client import TRANSPORTS, Account, Service, Transport
from tests.support.mp3s import decode
from tests.support.resumable import begun

RATE = 44_100
WAV = wavs.wav(wavs.chirp(3 * RATE, RATE, 2), sample_rate=RATE, channels=2)
ENDLESS = wavs.wav(wavs.chirp(RATE, RATE, 2), sample_rate=RATE, channels=2, data_size=0xFFFFFFFF, riff_size=0xFFFFFFFF)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_mp3_has_the_highest_bit_rate_that_fits(service: Service, account: Account, transport: Transport) -> None:
    for bit_rate in (32_000, 96_000, 320_000):
        exact = (await service.upload(account, WAV, params={"bit_rate": str(bit_rate)})).json["size"]
        fits = await service.upload(account, WAV, transport=transport, params={"max_bytes": str(exact)})
        assert (fits.status, fits.json["bit_rate"], fits.json["size"]) == (201, bit_rate, exact)
    assert len(decode((await service.get(fits.json["url"])).body)) == 3 * RATE
    less = await service.upload(account, WAV, transport=transport, params={"max_bytes": str(exact - 1)})
    assert less.json["bit_rate"] == 256_000


async def test_the_title_counts_too(service: Service, account: Account) -> None:
    name = "a" * 200 + ".wav"
    sizes = {
        one: (await service.upload(account, WAV, filename=one, params={"bit_rate": "64000"})).json["size"]
        for one in ("a.wav", name)
    }
    assert sizes[name] > sizes["a.wav"]
    fitted = await service.upload(account, WAV, filename=name, params={"max_bytes": str(sizes["a.wav"])})
    assert fitted.json["bit_rate"] == 56_000


async def test_what_cannot_fit_is_refused_with_the_least_size(service: Service, account: Account) -> None:
    answer = await service.upload(account, WAV, params={"max_bytes": "1000"})
    least = (await service.upload(account, WAV, params={"bit_rate": "32000"})).json["size"]
    assert (answer.status, answer.json["code"]) == (422, "cannot_fit")
    assert f"{least} bytes are the least" in answer.json["detail"]


@pytest.mark.parametrize("wav", [ENDLESS, WAV[:-1]], ids=["placeholder", "contradicted by the request"])
async def test_wav_that_does_not_say_its_length_is_refused(service: Service, account: Account, wav: bytes) -> None:
    answer = await service.upload(account, wav, params={"max_bytes": "1000000"})
    assert (answer.status, answer.json["code"]) == (422, "unknown_length")


async def test_more_sound_than_declared_is_refused_if_it_does_not_fit(service: Service, account: Account) -> None:
    exact = (await service.upload(account, WAV, params={"bit_rate": "64000"})).json["size"]
    longer = WAV + bytes(4 * RATE)
    answer = await service.upload(account, longer, params={"max_bytes": str(exact)})
    assert (answer.status, answer.json["code"]) == (422, "cannot_fit")
    assert "more sound than its header declares" in answer.json["detail"]
    roomy = await service.upload(account, longer, params={"max_bytes": "1000000"})
    assert (roomy.status, roomy.json["bit_rate"]) == (201, 320_000)


@pytest.mark.parametrize(
    "params",
    [{"max_bytes": value} for value in ("", "0", "-1", "1.5", "25MB", "9" * 30)]
    + [{"max_bytes": "1000000", "bit_rate": "64000"}],
    ids=str,
)
async def test_other_values_are_refused(service: Service, account: Account, params: dict[str, str]) -> None:
    answer = await service.upload(account, WAV, params=params)
    assert (answer.status, answer.json["code"]) == (422, "invalid_max_bytes")


async def test_resumable_upload_fits_too(service: Service, account: Account) -> None:
    exact = (await service.upload(account, WAV, params={"bit_rate": "64000"})).json["size"]
    upload = await begun(service, account, "tus", len(WAV), metadata={"filename": "talk.wav", "max_bytes": str(exact)})
    await upload.append(WAV[:50_000], 0)
    await upload.append(WAV[50_000:], 50_000)
    assert ((await upload.record()).json["bit_rate"], (await upload.record()).json["size"]) == (64_000, exact)
