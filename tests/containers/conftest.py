"""The image, and both compose files brought up once for each module of tests."""

from collections.abc import Iterator

import pytest

from tests.support.compose import IMAGE, PLAIN, PREFIX, SCALED, Project, brought_up, run


def pytest_report_header() -> str:
    return f"compose projects {PREFIX}-*, ports of their own: other projects, with their volumes, stay as they are"


@pytest.fixture(scope="session")
def image() -> str:
    """Build the image under a name that only the tests use."""
    run("docker", "compose", "--env-file", "/dev/null", "--project-name", PREFIX, "build", "--quiet")
    return IMAGE


@pytest.fixture(scope="module")
def plain(image: str) -> Iterator[Project]:  # noqa: ARG001 - it must be there
    with brought_up("plain", PLAIN, "wavepress") as project:
        yield project


@pytest.fixture(scope="module")
def scaled(image: str) -> Iterator[Project]:  # noqa: ARG001 - it must be there
    with brought_up("scaled", SCALED, "nginx") as project:
        yield project
