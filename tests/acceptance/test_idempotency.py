"""Safe retries: the same Idempotency-Key makes one record, whatever happens to the answers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from service.web.app_keys import ADMISSION
from tests.support import wavs
from tests.support.client import Account, Answer, Service, StartService
from tests.support.database import query
from tests.support.invariants import GOOD_WAV, invariants_hold
from tests.support.raw import RawClient, connect, request_head
from tests.support.waiting import until

OTHER_WAV = wavs.wav(wavs.chirp(5000, 44100, 1), sample_rate=44100, channels=1)


async def put(
    service: Service, account: Account, wav: bytes = GOOD_WAV, path: str = "/records/a.wav", key: str = "k"
) -> Answer:
    return await service.put(path, data=wav, headers=account.headers | {"Idempotency-Key": key})


async def test_retry_gets_the_first_record_and_makes_no_other(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    async with invariants_hold(service, caplog):
        first, second = await put(service, account), await put(service, account)
        assert (first.status, second.status) == (201, 200)
        assert second.headers["Idempotency-Replayed"] == "true"
        assert "Idempotency-Replayed" not in first.headers
        assert first.json == second.json
        assert len(service.files()) == 1


async def test_retry_is_answered_before_its_body(service: Service, account: Account) -> None:
    await put(service, account)
    async with connect(service) as client:
        headers = ("Idempotency-Key: k", "Expect: 100-continue")
        await client.send(request_head(account, "raw", len(GOOD_WAV), *headers, path="/records/a.wav"))
        assert (await client.answer()).status == 200


async def test_each_user_has_their_own_keys(service: Service, account: Account) -> None:
    other = await service.create_user("bob")
    assert [(await put(service, who)).status for who in (account, other)] == [201, 201]


@pytest.mark.parametrize(
    ("path", "wav"),
    [("/records/b.wav", GOOD_WAV), ("/records/a.wav?bit_rate=64000", GOOD_WAV), ("/records/a.wav", OTHER_WAV)],
)
async def test_another_upload_with_the_same_key_is_422(
    service: Service, account: Account, path: str, wav: bytes
) -> None:
    await put(service, account)
    answer = await put(service, account, wav, path)
    assert (answer.status, answer.json["code"]) == (422, "idempotency_key_reused")


async def test_retry_while_the_first_upload_runs_is_409_with_retry_after(service: Service, account: Account) -> None:
    async with connect(service) as client:
        await client.send(
            request_head(account, "raw", len(GOOD_WAV), "Idempotency-Key: k", path="/records/a.wav") + GOOD_WAV[:2000]
        )
        await until(lambda: service.app[ADMISSION].running)
        answer = await put(service, account)
        assert (answer.status, answer.json["code"]) == (409, "upload_running")
        assert 0 < int(answer.headers["Retry-After"]) <= 30
        await client.send(GOOD_WAV[2000:])
        first = await client.answer()
        assert first.status == 201
    assert (await put(service, account)).json["id"] == first.json["id"]


async def test_only_one_of_many_uploads_at_once_makes_the_record(service: Service, account: Account) -> None:
    answers = await asyncio.gather(*(put(service, account) for _ in range(8)))
    assert sorted({answer.status for answer in answers} - {409}) in ([201], [200, 201])
    assert len({answer.json["id"] for answer in answers if answer.status != 409}) == 1
    assert len(service.files()) == 1


async def test_failed_upload_frees_its_key(service: Service, account: Account) -> None:
    assert (await put(service, account, b"garbage")).status == 415
    assert (await put(service, account)).status == 201


async def test_replay_after_delete_is_404(service: Service, account: Account) -> None:
    record = (await put(service, account)).json
    await service.request("DELETE", f"/records/{record['id']}", headers=account.headers)
    answer = await put(service, account)
    assert (answer.status, answer.json["code"]) == (404, "record_not_found")


async def test_key_of_a_killed_replica_is_free_when_its_lease_runs_out(service: Service, account: Account) -> None:
    mark = (
        "INSERT INTO idempotency_keys (user_id, key, upload_id, fingerprint, expires_at)"
        " SELECT user_id, 'k', gen_random_uuid(), fingerprint, now() + interval '1 hour' FROM idempotency_keys"
    )
    await put(service, account, key="seen")
    query(service.database_url, mark)
    assert (await put(service, account)).status == 409
    query(service.database_url, "UPDATE idempotency_keys SET expires_at = now() WHERE key = 'k'")
    assert (await put(service, account)).status == 201


async def test_upload_that_lost_its_key_keeps_nothing(service: Service, account: Account) -> None:
    async with connect(service) as client:
        await client.send(
            request_head(account, "raw", len(GOOD_WAV), "Idempotency-Key: k", path="/records/a.wav") + GOOD_WAV[:2000]
        )
        await until(lambda: service.app[ADMISSION].running)
        query(service.database_url, "UPDATE idempotency_keys SET expires_at = now()")
        assert (await put(service, account)).status == 201
        await client.send(GOOD_WAV[2000:])
        assert (await client.answer()).status == 409
    assert len(service.files()) == 1


@contextlib.asynccontextmanager
async def running_upload(service: Service, account: Account) -> AsyncIterator[RawClient]:
    """Yield a client that has sent half of an upload with the key k."""
    head = request_head(account, "raw", len(GOOD_WAV), "Idempotency-Key: k", path="/records/a.wav")
    before = len(service.app[ADMISSION].running)
    async with connect(service) as client:
        await client.send(head + GOOD_WAV[:2000])
        await until(lambda: len(service.app[ADMISSION].running) > before)
        yield client


@pytest.mark.parametrize(
    "lapse",
    [
        "DELETE FROM idempotency_keys",
        "UPDATE idempotency_keys SET expires_at = now()",
        "UPDATE idempotency_keys SET expires_at = now(), upload_id = gen_random_uuid()",  # the other one's ran out, too
    ],
)
async def test_upload_takes_its_key_again_if_nobody_has_it(service: Service, account: Account, lapse: str) -> None:
    """Its lease ran out in an outage, or by a clock that jumped."""
    async with running_upload(service, account) as client:
        query(service.database_url, lapse)
        await client.send(GOOD_WAV[2000:])
        first = await client.answer()
    assert first.status == 201
    replay = await put(service, account)
    assert (replay.status, replay.json["id"]) == (200, first.json["id"])


async def test_of_two_uploads_whose_keys_are_lost_one_is_kept(service: Service, account: Account) -> None:
    async with running_upload(service, account) as one:
        query(service.database_url, "DELETE FROM idempotency_keys")
        async with running_upload(service, account) as other:
            query(service.database_url, "DELETE FROM idempotency_keys")
            await asyncio.gather(*(client.send(GOOD_WAV[2000:]) for client in (one, other)))
            answers = [await client.answer() for client in (one, other)]
    assert sorted(answer.status for answer in answers) == [201, 409]
    assert len(service.files()) == 1


async def test_upload_without_room_leaves_its_key_free(start_service: StartService) -> None:
    service = await start_service(max_records_per_user=1)
    account = await service.create_user()
    async with running_upload(service, account) as client:
        assert (await service.upload(account, GOOD_WAV)).status == 201
        await client.send(GOOD_WAV[2000:])
        answer = await client.answer()
    assert (answer.status, answer.json["code"]) == (403, "quota_exceeded")
    assert query(service.database_url, "SELECT * FROM idempotency_keys") == []


async def test_keys_expire(service: Service, account: Account) -> None:
    await put(service, account)
    query(service.database_url, "UPDATE idempotency_keys SET expires_at = now()")
    assert (await put(service, account)).status == 201
    assert len(service.files()) == 2


async def test_leases_are_renewed_while_an_upload_runs(start_service: StartService) -> None:
    service = await start_service(max_uploads_per_user=1, lease_seconds=2)
    account = await service.create_user()
    async with connect(service) as client:
        await client.send(request_head(account, "raw", len(GOOD_WAV)) + GOOD_WAV[:2000])
        leases = "SELECT expires_at FROM upload_leases"
        await until(lambda: query(service.database_url, leases))
        [(first_end,)] = query(service.database_url, leases)
        await until(lambda: query(service.database_url, "SELECT 1 WHERE now() > %s", (first_end,)))
        answer = await service.upload(account, GOOD_WAV)
        assert (answer.status, answer.json["code"]) == (429, "too_many_uploads")
        assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "\u00e9"])
async def test_invalid_key_is_422(service: Service, account: Account, key: str) -> None:
    answer = await put(service, account, key=key)
    assert (answer.status, answer.json["code"]) == (422, "invalid_idempotency_key")
