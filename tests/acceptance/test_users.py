"""Creating users: POST /users and the calls of both older systems."""

import hashlib
from uuid import UUID

import pytest

from tests.support.client import Service
from tests.support.database import query


async def test_json_body_creates_a_user_with_a_uuid_token(service: Service) -> None:
    answer = await service.post("/users", json={"username": "ann"})
    assert answer.status == 201
    assert set(answer.json) == {"id", "username", "token"}
    assert answer.json["username"] == "ann"
    assert str(UUID(answer.json["token"])) == answer.json["token"]


@pytest.mark.parametrize("options", [{"params": {"username": "ann"}}, {"data": {"username": "ann"}}])
async def test_form_and_query_create_a_user_too(service: Service, options: dict[str, dict[str, str]]) -> None:
    answer = await service.post("/users", **options)
    assert (answer.status, answer.json["username"]) == (201, "ann")


async def test_users_may_share_a_name_and_never_an_id_or_a_token(service: Service) -> None:
    first, second = await service.create_user("ann"), await service.create_user("ann")
    assert first.id != second.id
    assert first.token != second.token


async def test_only_the_hash_of_the_token_is_kept(service: Service) -> None:
    account = await service.create_user()
    [(kept, row)] = query(service.database_url, "SELECT token_sha256, users::text FROM users")
    assert bytes(kept) == hashlib.sha256(account.token.encode()).digest()
    assert account.token not in row


@pytest.mark.parametrize("username", ["", "x" * 251, "nul\0", "line\nfeed", "\x7f", 5, None, ["ann"]])
async def test_bad_username_is_422(service: Service, username: object) -> None:
    answer = await service.post("/users", json={"username": username})
    assert (answer.status, answer.json["code"]) == (422, "invalid_username")
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_half_a_surrogate_pair_in_a_username_is_422(service: Service) -> None:
    answer = await service.post("/users", data=b'{"username": "\\ud800"}', headers={"Content-Type": "application/json"})
    assert (answer.status, answer.json["code"]) == (422, "invalid_username")


@pytest.mark.parametrize("username", ["a", "x" * 250, "Анна", "名" * 250, "o'neill\"; drop table users", "🎧"])
async def test_any_text_of_1_to_250_characters_is_a_username(service: Service, username: str) -> None:
    answer = await service.post("/users", json={"username": username})
    assert (answer.status, answer.json["username"]) == (201, username)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
async def test_broken_json_is_400(service: Service, body: bytes) -> None:
    answer = await service.post("/users", data=body[:16_000], headers={"Content-Type": "application/json"})
    assert (answer.status, answer.json["code"]) == (400, "malformed_json")


async def test_large_body_is_413(service: Service) -> None:
    answer = await service.post("/users", data=b" " * 20_000, headers={"Content-Type": "application/json"})
    assert (answer.status, answer.json["code"]) == (413, "too_large")


async def test_post_user_creates_a_user_and_ignores_unknown_keys(service: Service) -> None:
    answer = await service.post("/user", json={"username": "ann", "age": 5})
    assert answer.status == 200
    assert set(answer.json) == {"id", "access_token"}
    assert str(UUID(answer.json["access_token"])) == answer.json["access_token"]


@pytest.mark.parametrize("body", [{}, {"username": ""}, {"username": 5}])
async def test_post_user_answers_422_for_an_invalid_name(service: Service, body: dict[str, object]) -> None:
    assert (await service.post("/user", json=body)).status == 422


@pytest.mark.parametrize("path", ["/api_v1/users/?username=admin", "/api_v1/users?username=admin"])
async def test_api_v1_creates_a_user_from_the_query(service: Service, path: str) -> None:
    answer = await service.post(path)
    assert answer.status == 201
    assert set(answer.json) == {"id", "username", "token"}
    assert answer.json["username"] == "admin"


async def test_json_that_is_declared_as_a_form_is_understood(service: Service) -> None:
    """What `curl -d '{...}'` sends."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await service.post("/users", data=b'{"username": "ann"}', headers=headers)
    assert (answer.status, answer.json["username"]) == (201, "ann")
