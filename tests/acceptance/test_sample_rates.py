"""`?sample_rate=`: an MP3 of the rate that the client asks for, exact to the sample."""

import asyncio

import pytest

from tests.support import mp3s, wavs
from tests.support.client import TRANSPORTS, Account, Service, Transport

ALL_RATES = ", ".join(map(str, mp3s.MP3_RATES))


def tone(rate: int, channels: int, sample_count: int) -> tuple[wavs.Samples, bytes]:
    source = wavs.chirp(sample_count, rate, channels)
    return source, wavs.wav(source, sample_rate=rate, channels=channels)


@pytest.mark.parametrize("out_rate", mp3s.MP3_RATES)
@pytest.mark.parametrize("rate", [1000, 8000, 16000, 37_800, 44_100, 48_000, 96_000, 768_000])
async def test_every_rate_becomes_every_rate_to_the_sample(
    service: Service, account: Account, rate: int, out_rate: int
) -> None:
    for sample_count in (rate // 2 + 1, 1153, 40):
        _, wav = tone(rate, 1, sample_count)
        answer = await service.upload(account, wav, params={"sample_rate": str(out_rate)})
        assert (answer.status, answer.json["sample_rate"]) == (201, out_rate), answer
        assert answer.json["duration"] == sample_count / rate
        decoded = await asyncio.to_thread(mp3s.decode, (await service.get(answer.json["url"])).body)
        expected = mp3s.expected_sample_count(sample_count, rate, out_rate)
        assert len(decoded) == (expected if out_rate >= 32_000 else max(expected, 47))


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("channels", [1, 2])
async def test_telephone_sounds_the_same_at_a_rate_that_all_players_know(
    service: Service, account: Account, channels: int, transport: Transport
) -> None:
    source, wav = tone(8000, channels, 20_000)
    answer = await service.upload(account, wav, transport=transport, params={"sample_rate": "44100"})
    assert (answer.json["sample_rate"], answer.json["bit_rate"]) == (44_100, 128_000)
    mp3 = (await service.get(answer.json["url"])).body
    mp3s.assert_sounds_like(mp3, source, 8000, out_rate=44_100)
    kept = await service.get(f"/records/{answer.json['id']}", headers=account.headers)
    assert kept.json["sample_rate"] == 44_100


@pytest.mark.parametrize(
    "asked",
    ["", "0", "44101", "96000", "-8000", "+8000", "08000", "8000.0", "44.1k", "1" * 5000, "\uff18\uff10\uff10\uff10"],
)
async def test_any_other_rate_is_422_with_the_list_before_the_body(
    service: Service, account: Account, asked: str
) -> None:
    answer = await service.upload(account, b"not even a WAV", params={"sample_rate": asked})
    assert (answer.status, answer.json["code"]) == (422, "invalid_sample_rate")
    assert answer.json["detail"] == f"sample_rate is the MP3's in Hz: one of {ALL_RATES}."


async def test_legal_bit_rates_are_those_of_the_rate_that_is_asked_for(service: Service, account: Account) -> None:
    _, telephone = tone(8000, 1, 4000)
    _, studio = tone(48_000, 1, 4000)
    for wav, params, status in (
        (telephone, {"sample_rate": "44100", "bit_rate": "320000"}, 201),
        (telephone, {"sample_rate": "44100", "bit_rate": "8000"}, 422),
        (telephone, {"bit_rate": "8000"}, 201),
        (studio, {"sample_rate": "8000", "bit_rate": "8000"}, 201),
        (studio, {"sample_rate": "8000", "bit_rate": "128000"}, 422),
    ):
        answer = await service.upload(account, wav, params=params)
        assert answer.status == status, (params, answer)
        if status == 201:
            assert answer.json["bit_rate"] == int(params["bit_rate"])
        else:
            assert f"at {params['sample_rate']} Hz" in answer.json["detail"]


async def test_same_key_with_another_rate_is_another_upload(service: Service, account: Account) -> None:
    _, wav = tone(8000, 1, 4000)
    codes = []
    for rate in ("16000", "16000", "44100"):
        headers = account.headers | {"Idempotency-Key": "k"}
        answer = await service.put("/records/a.wav", data=wav, headers=headers, params={"sample_rate": rate})
        codes.append((answer.status, answer.json.get("code")))
    assert codes == [(201, None), (200, None), (422, "idempotency_key_reused")]


async def test_many_channels_are_mixed_down_and_resampled(service: Service, account: Account) -> None:
    source = wavs.chirp(20_000, 48_000, 6, amplitude=0.3)
    wav = wavs.wav(source, sample_rate=48_000, channels=6, extensible=True)
    answer = await service.upload(account, wav, params={"sample_rate": "22050"})
    mp3 = (await service.get(answer.json["url"])).body
    mp3s.assert_sounds_like(mp3, source, 48_000, out_rate=22_050)
