"""The request lines of the two older systems, sent unchanged."""

from io import BytesIO

import pytest
from aiohttp import FormData

from tests.support import mp3s, wavs
from tests.support.client import Account, Answer, Service

SOURCE = wavs.chirp(44100, 44100, 2)
NOBODY = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
WAV = wavs.wav(SOURCE, sample_rate=44100, channels=2)


def form(
    *fields: tuple[str, str | bytes], filename: str = "talk.wav", content_type: str | None = "audio/wav"
) -> FormData:
    """Build a form in the given order; a value of bytes is a file."""
    data = FormData(default_to_multipart=True)
    for name, value in fields:
        if isinstance(value, bytes):
            data.add_field(name, BytesIO(value), filename=filename, content_type=content_type)
        else:
            data.add_field(name, value)
    return data


async def post_track(service: Service, account: Account, data: FormData) -> Answer:
    return await service.post("/audiotrack", data=data, headers=account.headers)


@pytest.mark.parametrize("file_first", [False, True])
async def test_audiotrack_takes_its_fields_in_either_order(
    service: Service, account: Account, file_first: bool
) -> None:
    fields: list[tuple[str, str | bytes]] = [("user_id", str(account.id)), ("file", WAV)]
    answer = await post_track(service, account, form(*(reversed(fields) if file_first else fields)))
    assert answer.status == 200
    url = answer.json["audiotrack_url"]
    assert url.startswith(f"{service.url}audiotrack?id=")
    assert url.endswith(f"&user={account.id}")
    mp3 = await service.get(url)
    assert (mp3.status, mp3.headers["Content-Type"]) == (200, "audio/mpeg")
    assert "talk.mp3" in mp3.headers["Content-Disposition"]
    mp3s.assert_sounds_like(mp3.body, SOURCE, 44100)


@pytest.mark.parametrize("content_type", [None, "audio/x-wav", "application/octet-stream", "audio/wave"])
async def test_audiotrack_without_a_useful_type_is_judged_by_its_content(
    service: Service, account: Account, content_type: str | None
) -> None:
    answer = await post_track(service, account, form(("file", WAV), ("user_id", "1"), content_type=content_type))
    assert answer.status == 200


@pytest.mark.parametrize("file_first", [False, True])
@pytest.mark.parametrize("user_id", ["2", "", "x", "1 or 1=1", "99999999999999999999"])
async def test_audiotrack_of_another_user_is_403_and_leaves_nothing(
    service: Service, account: Account, user_id: str, file_first: bool
) -> None:
    fields: list[tuple[str, str | bytes]] = [("user_id", user_id), ("file", WAV)]
    answer = await post_track(service, account, form(*(reversed(fields) if file_first else fields)))
    assert (answer.status, answer.json["code"]) == (403, "wrong_user_id")
    assert not service.files()


async def test_audiotrack_without_user_id_is_403(service: Service, account: Account) -> None:
    assert (await post_track(service, account, form(("file", WAV)))).status == 403
    assert not service.files()


@pytest.mark.parametrize(
    ("authorization", "status"),
    [({}, 403), ({"Authorization": f"Bearer {NOBODY}"}, 401), ({"Authorization": "Bearer no-uuid"}, 401)],
)
async def test_audiotrack_distinguishes_a_missing_token_from_a_wrong_one(
    service: Service, authorization: dict[str, str], status: int
) -> None:
    answer = await service.post("/audiotrack", data=form(("user_id", "1"), ("file", WAV)), headers=authorization)
    assert answer.status == status


async def test_audiotrack_without_file_is_422(service: Service, account: Account) -> None:
    answer = await post_track(service, account, form(("user_id", str(account.id))))
    assert (answer.status, answer.json["code"]) == (422, "no_file")


async def test_audiotrack_declared_as_another_type_is_400(service: Service, account: Account) -> None:
    data = form(("user_id", "1"), ("file", WAV), content_type="audio/mpeg3")
    assert (await post_track(service, account, data)).status == 400


async def test_corrupt_audiotrack_is_400(service: Service, account: Account) -> None:
    for corrupt in (b"garbage" * 1000, WAV[:-1000], WAV[:44], b""):
        answer = await post_track(service, account, form(("user_id", str(account.id)), ("file", corrupt)))
        assert answer.status == 400, corrupt[:20]
    assert not service.files()


@pytest.mark.parametrize(
    "path", ["/audiotrack?id={id}&user=2", "/audiotrack?id={id}", f"/audiotrack?id={NOBODY}&user=1"]
)
async def test_audiotrack_of_another_or_no_user_is_404(service: Service, account: Account, path: str) -> None:
    record = (await service.upload(account, WAV)).json
    assert (await service.get(path.format(id=record["id"]))).status == 404
    assert (await service.get(f"/audiotrack?id={record['id']}&user={account.id}")).status == 200


async def test_audiotrack_whose_id_is_not_a_uuid_is_404(service: Service) -> None:
    assert (await service.get("/audiotrack?id=1&user=1")).status == 404
    assert (await service.get("/audiotrack")).status == 404


@pytest.mark.parametrize("path", ["/api_v1/records/", "/api_v1/records"])
@pytest.mark.parametrize("filename", ["talk.wav", "TALK.WAV"])
async def test_api_v1_takes_the_record_and_gives_its_url(
    service: Service, account: Account, path: str, filename: str
) -> None:
    params = {"user_id": str(account.id), "user_token": account.token}
    answer = await service.post(path, params=params, data=form(("record", WAV), filename=filename))
    assert answer.status == 201
    assert set(answer.json) == {"download_url"}
    url = answer.json["download_url"]
    assert url.startswith(f"{service.url}api_v1/records/?record_id=")
    assert url.endswith(f"&user_id={account.id}")
    mp3 = await service.get(url)
    assert mp3.status == 200
    mp3s.assert_sounds_like(mp3.body, SOURCE, 44100)


@pytest.mark.parametrize(
    ("user_id", "token", "status"),
    [("99", None, 404), ("x", None, 404), ("", None, 404), ("1", NOBODY, 403), ("1", "x", 403), ("1", "", 403)],
)
async def test_api_v1_distinguishes_an_unknown_user_from_a_wrong_token(
    service: Service, account: Account, user_id: str, token: str | None, status: int
) -> None:
    params = {"user_id": user_id, "user_token": account.token if token is None else token}
    answer = await service.post("/api_v1/records/", params=params, data=form(("record", WAV)))
    assert answer.status == status
    assert not service.files()


async def test_api_v1_does_not_take_another_users_token(service: Service, account: Account) -> None:
    other = await service.create_user("bob")
    params = {"user_id": str(other.id), "user_token": account.token}
    assert (await service.post("/api_v1/records/", params=params, data=form(("record", WAV)))).status == 403


async def test_api_v1_requires_a_file_named_wav(service: Service, account: Account) -> None:
    params = {"user_id": str(account.id), "user_token": account.token}
    for data in (form(("record", WAV), filename="talk.mp3"), form(("record", "no file"))):
        assert (await service.post("/api_v1/records/", params=params, data=data)).status == 422
    assert not service.files()


async def test_api_v1_download_is_403_for_another_user_and_404_for_an_unknown_record(
    service: Service, account: Account
) -> None:
    record = (await service.upload(account, WAV)).json
    path = "/api_v1/records/?record_id={}&user_id={}"
    assert (await service.get(path.format(record["id"], account.id))).status == 200
    assert (await service.get(path.format(record["id"], 2))).status == 403
    assert (await service.get(path.format(NOBODY, account.id))).status == 404
    assert (await service.get(path.format("x", account.id))).status == 404


async def test_retry_with_the_same_idempotency_key_is_marked_as_a_replay(service: Service, account: Account) -> None:
    headers = account.headers | {"Idempotency-Key": "a"}
    first, second = [
        await service.post("/audiotrack", data=form(("user_id", str(account.id)), ("file", WAV)), headers=headers)
        for _ in range(2)
    ]
    assert (first.status, second.status, first.json) == (200, 200, second.json)
    assert ["Idempotency-Replayed" in answer.headers for answer in (first, second)] == [False, True]

    params = {"user_id": str(account.id), "user_token": account.token}
    headers = {"Idempotency-Key": "b"}
    first, second = [
        await service.post("/api_v1/records/", params=params, data=form(("record", WAV)), headers=headers)
        for _ in range(2)
    ]
    assert (first.status, second.status, first.json) == (201, 200, second.json)
    assert ["Idempotency-Replayed" in answer.headers for answer in (first, second)] == [False, True]
    assert len(service.files()) == 2
