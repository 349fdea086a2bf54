"""A stack of the first version comes up again with this version's compose file, and everything is there."""

from collections.abc import Iterator

import pytest

from tests.support.compose import PLAIN, Project, brought_up, mp3, run_with_database

pytestmark = [pytest.mark.container, pytest.mark.timeout(600)]


@pytest.fixture
def first_version(image: str) -> Iterator[Project]:  # noqa: ARG001 - it must be there
    with brought_up("first", ["tests/containers/first_version.yml"], "wavepress") as project:
        yield project
        project.files = PLAIN  # it has more volumes to remove


def test_stack_of_the_first_version_comes_up_with_its_records_and_new_roles(first_version: Project) -> None:
    headers = first_version.new_user()
    record = first_version.upload(headers)
    before = mp3(record)
    first_version.files = PLAIN
    first_version.up("--remove-orphans", "wavepress")
    assert mp3(record) == before
    first_version.upload(headers)
    owners = "cursor.execute(\"SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'\")"
    assert run_with_database(first_version, f"{owners}; print(cursor.fetchall())") == "[('wavepress_migrate',)]\n"
    known = "postgresql://wavepress:wavepress@database/wavepress"
    assert "password authentication failed" in run_with_database(first_version, "", known)
    first_version("run", "--rm", "--no-deps", "migrate")
