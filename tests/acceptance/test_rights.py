"""The service's role in PostgreSQL needs rights only on rows; another role migrates."""

from collections.abc import Iterator

import pytest

from service.database.migrations import migrate
from tests.support.client import Service
from tests.support.database import role_with_rights_on_rows
from tests.support.invariants import GOOD_WAV


@pytest.fixture
def database_url(empty_database_url: str) -> Iterator[str]:
    """A migrated database, for a role that may only change rows."""
    migrate(empty_database_url)
    with role_with_rights_on_rows(empty_database_url, "rows_alone") as url:
        yield url


async def test_role_without_rights_on_the_schema_serves(service: Service) -> None:
    account = await service.create_user()
    headers = account.headers | {"Idempotency-Key": "a"}
    answers = [await service.put("/records/a.wav", data=GOOD_WAV, headers=headers) for _ in range(2)]
    assert [answer.status for answer in answers] == [201, 200]
    assert (await service.get(answers[0].json["url"])).status == 200
    assert (await service.get("/health/ready")).status == 200
    assert (await service.request("DELETE", "/users/me", headers=account.headers)).status == 204
