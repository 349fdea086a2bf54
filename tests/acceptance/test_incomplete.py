"""`?incomplete=keep`: what arrived of a WAV that declares more becomes a record that says so."""

import pytest
from aiohttp import FormData

from tests.support import mp3s, wavs
from tests.support.client import TRANSPORTS, Account, Answer, Service, Transport
from tests.support.database import query

RATE = 44100
SOURCE = wavs.chirp(RATE, RATE, 1)
WHOLE = wavs.wav(SOURCE, sample_rate=RATE, channels=1)
HALF = WHOLE[: 44 + RATE]
KEEP = {"incomplete": "keep"}


async def upload(service: Service, account: Account, wav: bytes, key: str = "", **params: str) -> Answer:
    headers = account.headers | ({"Idempotency-Key": key} if key else {})
    return await service.put("/records/talk.wav", data=wav, headers=headers, params=params)


async def decoded_count(service: Service, answer: Answer) -> int:
    return len(mp3s.decode((await service.get(answer.json["url"])).body))


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_arrived_is_kept_to_its_last_whole_sample(
    service: Service, account: Account, transport: Transport
) -> None:
    for missing in (1, 2, 3, RATE):
        cut = WHOLE[:-missing]
        answer = await service.upload(account, cut, transport=transport, params=KEEP)
        assert answer.status == 201, answer.json
        record = answer.json
        count = RATE - (missing + 1) // 2
        assert (record["complete"], record["source_size"]) == (False, len(cut))
        assert record["duration"] == count / RATE
        assert await decoded_count(service, answer) == count
        assert record["warnings"][0]["code"] == "truncated"
        assert answer.headers.getall("Wavepress-Warning")[0] == "truncated"
        assert (await service.get(f"/records/{record['id']}", headers=account.headers)).json == record
        listed = await service.get("/records?limit=1", headers=account.headers)
        assert listed.json["records"] == [record]


async def test_whole_wav_is_complete_with_it_and_without(service: Service, account: Account) -> None:
    for params in ({}, KEEP):
        answer = await upload(service, account, WHOLE, **params)
        assert (answer.json["complete"], answer.json["source_size"]) == (True, len(WHOLE))
        assert answer.json["warnings"] == []


async def test_cut_wav_is_refused_without_it_in_words_that_name_it(service: Service, account: Account) -> None:
    answer = await upload(service, account, HALF)
    assert (answer.status, answer.json["code"]) == (422, "truncated")
    assert "If it was cut in transfer, send the whole file." in answer.json["detail"]
    assert "If its header is wrong, send it with ?incomplete=keep" in answer.json["detail"]
    assert not service.files()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(WHOLE[:44], id="header alone"),
        pytest.param(WHOLE[:45], id="half a sample"),
        pytest.param(WHOLE[:30], id="cut in the header"),
        pytest.param(b"", id="nothing"),
    ],
)
async def test_nothing_is_kept_without_one_whole_sample(service: Service, account: Account, body: bytes) -> None:
    answer = await upload(service, account, body, **KEEP)
    assert answer.status == 422
    assert answer.json["code"] in {"truncated", "empty"}
    assert not service.files()


async def test_nothing_is_kept_with_a_wrong_digest(service: Service, account: Account) -> None:
    headers = account.headers | {"Content-Digest": f"sha-256=:{'A' * 43}=:"}
    answer = await service.put("/records/", data=HALF, headers=headers, params=KEEP)
    assert (answer.status, answer.json["code"]) == (422, "digest_mismatch")
    assert not service.files()


@pytest.mark.parametrize(
    ("after", "code"),
    [
        (WHOLE, "second_sound"),
        (wavs.chunk(b"data", bytes(400)), "second_sound"),
        (wavs.chunk(b"Ours", b"1234") + bytes(400), "unclear_end"),
    ],
    ids=["a second WAV", "a second data chunk", "a chunk or sound"],
)
async def test_what_players_do_not_play_is_left_out_and_said(
    service: Service, account: Account, after: bytes, code: str
) -> None:
    refused = await upload(service, account, WHOLE + after)
    assert (refused.status, refused.json["code"]) == (422, code)
    assert "?incomplete=keep" in refused.json["detail"]
    assert not service.files()
    kept = await upload(service, account, WHOLE + after, **KEEP)
    assert (kept.status, kept.json["complete"]) == (201, False)
    assert [warning["code"] for warning in kept.json["warnings"]] == [code]
    assert kept.json["source_size"] == (len(WHOLE) if code == "second_sound" else len(WHOLE + after))
    assert await decoded_count(service, kept) == RATE


async def test_header_that_declares_too_much_is_no_reason_to_refuse_what_arrived(
    service: Service, account: Account
) -> None:
    """A placeholder that nobody has listed yet."""
    wav = wavs.wav(SOURCE, sample_rate=RATE, channels=1, data_size=0x7FFFE000, riff_size=0x7FFFE024)
    assert (await upload(service, account, wav)).status == 422
    kept = await upload(service, account, wav, **KEEP)
    assert (kept.status, kept.json["complete"]) == (201, False)
    assert await decoded_count(service, kept) == RATE


@pytest.mark.parametrize("value", ["", "KEEP", "true", "keep,keep"])
async def test_other_values_are_422(service: Service, account: Account, value: str) -> None:
    answer = await upload(service, account, WHOLE, incomplete=value)
    assert (answer.status, answer.json["code"]) == (422, "invalid_incomplete")


async def test_key_of_an_incomplete_record_is_free_again(service: Service, account: Account) -> None:
    part = await upload(service, account, HALF, key="a", **KEEP)
    assert (part.status, part.json["complete"]) == (201, False)
    assert query(service.database_url, "SELECT key FROM idempotency_keys") == []
    # Not even the same part again is answered with the first one.
    again = await upload(service, account, HALF, key="a", **KEEP)
    assert again.status == 201
    whole = await upload(service, account, WHOLE, key="a", **KEEP)
    assert (whole.status, whole.json["complete"]) == (201, True)
    assert len({part.json["id"], again.json["id"], whole.json["id"]}) == 3
    replay = await upload(service, account, WHOLE, key="a", **KEEP)
    assert (replay.status, replay.json) == (200, whole.json)


async def test_key_says_whether_a_part_may_be_kept(service: Service, account: Account) -> None:
    assert (await upload(service, account, WHOLE, key="a")).status == 201
    other = await upload(service, account, WHOLE, key="a", **KEEP)
    assert (other.status, other.json["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("path", "field", "url"),
    [("/audiotrack", "file", "audiotrack_url"), ("/api_v1/records/", "record", "download_url")],
)
async def test_older_apis_keep_it_too(service: Service, account: Account, path: str, field: str, url: str) -> None:
    params = KEEP | {"user_id": str(account.id), "user_token": account.token}
    data = FormData()
    data.add_field("user_id", str(account.id))
    data.add_field(field, HALF, filename="talk.wav", content_type="audio/wav")
    answer = await service.post(path, data=data, headers=account.headers, params=params)
    assert answer.status in {200, 201}, answer.json
    assert answer.headers.getall("Wavepress-Warning") == ["truncated"]
    assert len(mp3s.decode((await service.get(answer.json[url])).body)) == RATE // 2
