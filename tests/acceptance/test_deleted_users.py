"""A user is deleted during other work: an upload is answered with 401 and leaves nothing, an operator is told."""

import asyncio
import secrets
from argparse import Namespace
from uuid import uuid4

import pytest

from service import operators
from service.database.pool import Database, open_database
from service.database.users import delete_removed_users, insert_user, mark_deleted
from service.errors import NotAuthenticated, NotFound
from service.models import IdempotentUpload, User
from service.operators import Parts, operate
from service.uploads.idempotency import claim
from service.web.app_keys import ADMISSION, DATABASE, LEASES, REMOVAL
from tests.support.client import Service, StartService
from tests.support.database import query
from tests.support.invariants import GOOD_WAV, invariants_hold
from tests.support.raw import connect, request_head
from tests.support.waiting import until


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}], ids=["plain", "keyed"])
async def test_user_deleted_while_an_upload_of_theirs_waits_gets_401(
    start_service: StartService, caplog: pytest.LogCaptureFixture, headers: dict[str, str]
) -> None:
    service = await start_service(max_encodings=1, max_waiting=1)
    first, second = await service.create_user("first"), await service.create_user("second")
    async with invariants_hold(service, caplog):
        async with connect(service) as client:
            await client.send(request_head(first, "raw", len(GOOD_WAV)) + GOOD_WAV[:2000])
            await until(lambda: service.app[ADMISSION].running)
            waiting = asyncio.create_task(
                service.put("/records/a.wav", data=GOOD_WAV, headers=second.headers | headers)
            )
            await until(lambda: service.app[ADMISSION].waiting)
            deleted = await service.request("DELETE", "/users/me", headers=second.headers)
            assert deleted.status == 204
            await client.send(GOOD_WAV[2000:])
            assert (await client.answer()).status == 201
        answer = await waiting
        assert (answer.status, answer.json["code"]) == (401, "unknown_token")
        assert len(service.files()) == 1


async def delete(database: Database, user: User) -> None:
    """Delete a user without records, row and all."""
    await mark_deleted(database, user.id)
    await delete_removed_users(database, limit=10)


async def test_user_deleted_before_the_key_is_claimed_is_not_authenticated(service: Service) -> None:
    user, _ = await insert_user(service.app[DATABASE], "ann")
    await delete(service.app[DATABASE], user)
    with pytest.raises(NotAuthenticated):
        await claim(service.app[LEASES], user, uuid4(), IdempotentUpload("k", b"fingerprint"))


async def test_user_deleted_before_the_lease_is_taken_is_not_authenticated(service: Service) -> None:
    user, _ = await insert_user(service.app[DATABASE], "ann")
    await delete(service.app[DATABASE], user)
    with pytest.raises(NotAuthenticated):
        await service.app[LEASES].take(user, uuid4())


async def test_deletion_that_runs_again_after_a_lost_answer_succeeds_and_another_one_does_not(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No service runs, which would remove the row meanwhile."""
    async with open_database(database_url, max_connections=1) as database:
        user, _ = await insert_user(database, "ann")
        with monkeypatch.context() as same_run:
            same_run.setattr(secrets, "token_bytes", bytes)
            assert await mark_deleted(database, user.id)
            first = query(database_url, "SELECT deleted_at FROM users")
            assert await mark_deleted(database, user.id)
        assert not await mark_deleted(database, user.id)
        assert query(database_url, "SELECT deleted_at FROM users") == first


@pytest.mark.parametrize("action", ["disable", "enable", "delete", "token"])
async def test_operator_who_comes_a_moment_too_late_is_told_that_the_user_is_gone(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], action: str
) -> None:
    database = service.app[DATABASE]
    user, _ = await insert_user(database, "ann")

    async def find_then_lose(_database: Database, _user_id: int) -> User:
        await delete(database, user)
        return user

    monkeypatch.setattr(operators, "find_user", find_then_lose)
    arguments = Namespace(command="users", action=action, user_id=user.id)
    with pytest.raises(NotFound):
        await operate(Parts(database, service.app[REMOVAL]), arguments)
    assert "{" not in capsys.readouterr().out  # no answer; without a configuration, the log goes there too
