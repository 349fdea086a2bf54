"""Tokens: renewed without a lockout, dead when they should be, and told apart by when they were used."""

from datetime import datetime

import pytest
import structlog

from service.database.users import find_token, offer_token
from service.web.app_keys import ADMISSION, DATABASE
from tests.support.client import Account, Service, StartService
from tests.support.database import late_commit, query, until_a_statement_waits
from tests.support.invariants import GOOD_WAV, invariants_hold
from tests.support.raw import RawClient, connect, request_head
from tests.support.waiting import until


async def status(service: Service, account: Account) -> int:
    return (await service.get("/users/me", headers=account.headers)).status


async def renew(service: Service, account: Account) -> Account:
    answer = await service.post("/users/me/token", headers=account.headers)
    assert answer.status == 200, answer
    return Account(account.id, answer.json["token"])


async def half_upload(service: Service, account: Account, client: RawClient) -> bytes:
    """Send the first half of an upload and return the other one."""
    half = len(GOOD_WAV) // 2
    await client.send(request_head(account, "raw", len(GOOD_WAV)) + GOOD_WAV[:half])
    await until(lambda: service.app[ADMISSION].running)
    return GOOD_WAV[half:]


def last_use(service: Service) -> datetime | None:
    [(moment,)] = query(service.database_url, "SELECT token_used_at FROM users")
    assert moment is None or isinstance(moment, datetime)
    return moment


async def test_old_token_works_until_the_new_one_is_used(service: Service, account: Account) -> None:
    renewed = await renew(service, account)
    assert await status(service, account) == 200
    assert await status(service, renewed) == 200
    assert await status(service, account) == 401
    assert await status(service, renewed) == 200


async def test_renewal_can_be_repeated_with_the_old_token(service: Service, account: Account) -> None:
    lost = await renew(service, account)
    renewed = await renew(service, account)
    assert await status(service, renewed) == 200
    assert [await status(service, dead) for dead in (lost, account)] == [401, 401]


async def test_renewal_that_the_database_does_not_answer_locks_no_user_out(service: Service, account: Account) -> None:
    with late_commit(service.database_url, "SELECT FROM users FOR UPDATE"):
        answer = await service.post("/users/me/token", headers=account.headers)
        assert (answer.status, answer.json["code"]) == (503, "database_unavailable")
        assert await status(service, account) == 200
    assert await status(service, account) == 200
    assert await status(service, await renew(service, account)) == 200


async def test_late_renewal_does_not_replace_a_newer_token(service: Service, account: Account) -> None:
    database = service.app[DATABASE]
    found = await find_token(database, account.token, lifetime_seconds=None, use_seconds=60)
    assert found is not None
    told = await renew(service, account)
    assert await offer_token(database, found.user, found.pending_sha256) is None
    assert await status(service, told) == 200


async def test_upload_under_a_token_that_was_replaced_is_not_kept(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    async with invariants_hold(service, caplog), connect(service) as client:
        rest = await half_upload(service, account, client)
        assert await status(service, await renew(service, account)) == 200
        await client.send(rest)
        answer = await client.answer()
        assert (answer.status, answer.json["code"]) == (401, "unknown_token")
        assert not service.files()


async def test_upload_under_a_token_whose_successor_is_unused_is_kept(service: Service, account: Account) -> None:
    async with connect(service) as client:
        rest = await half_upload(service, account, client)
        await renew(service, account)
        await client.send(rest)
        assert (await client.answer()).status == 201


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ("UPDATE users SET deleted_at = now()", 401, "unknown_token"),
        ("UPDATE users SET disabled_at = now()", 403, "user_disabled"),
    ],
)
async def test_upload_leaves_no_file_if_its_user_goes_while_its_row_is_inserted(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture, change: str, status: int, code: str
) -> None:
    async with invariants_hold(service, caplog), connect(service) as client:
        rest = await half_upload(service, account, client)
        with late_commit(service.database_url, change):
            await client.send(rest)
            await until_a_statement_waits(service.database_url)
        answer = await client.answer()
        assert (answer.status, answer.json["code"]) == (status, code)
        await until(lambda: not service.files())


async def test_token_expires_after_its_days(start_service: StartService) -> None:
    service = await start_service(token_days=30)
    account = await service.create_user()
    query(service.database_url, "UPDATE users SET token_created_at = now() - interval '29 days' RETURNING id")
    renewed = await renew(service, account)
    query(service.database_url, "UPDATE users SET token_created_at = now() - interval '31 days' RETURNING id")
    answer = await service.get("/users/me", headers=account.headers)
    assert (answer.status, answer.json["code"]) == (401, "token_expired")
    assert await status(service, renewed) == 200


async def test_last_use_of_a_token_is_written_once_a_minute(service: Service, account: Account) -> None:
    assert last_use(service) is None
    await status(service, account)
    first = last_use(service)
    assert first is not None
    await status(service, account)
    assert last_use(service) == first
    query(service.database_url, "UPDATE users SET token_used_at = now() - interval '61 seconds' RETURNING id")
    await status(service, account)
    again = last_use(service)
    assert again is not None
    assert again > first


async def test_last_use_waits_for_no_other_statement(service: Service, account: Account) -> None:
    with late_commit(service.database_url, "SELECT FROM users FOR UPDATE"):
        assert await status(service, account) == 200
    assert last_use(service) is None


async def test_each_change_of_an_account_is_logged_and_counted(service: Service) -> None:
    def counts() -> dict[str, float]:
        return {event: _count(metrics.decode(), event) for event in ("user_created", "token_offered", "user_deleted")}

    metrics = (await service.get("/metrics")).body
    before = counts()
    with structlog.testing.capture_logs() as events:
        account = await service.create_user()
        renewed = await renew(service, account)
        await service.request("DELETE", "/users/me", headers=renewed.headers)
        await until(lambda: "user_removed" in {event["event"] for event in events})
    seen = [event["event"] for event in events if event["event"] != "request" and event.get("user_id") == account.id]
    assert seen == ["user_created", "token_offered", "token_replaced", "user_deleted", "user_removed"]
    metrics = (await service.get("/metrics")).body
    assert counts() == {event: count + 1 for event, count in before.items()}


def _count(metrics: str, event: str) -> float:
    line = f'wavepress_account_events_total{{event="{event}"}} '
    return next((float(found.removeprefix(line)) for found in metrics.splitlines() if found.startswith(line)), 0.0)
