"""Compose projects for the tests, with names and ports that a person's projects do not use."""

import hashlib
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import requests

from tests.support import wavs

ROOT = Path(__file__).parents[2]
# The same in each run in this folder, so that the next run removes what a killed one left.
PREFIX = f"wavepress-test-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]}"
IMAGE = PREFIX
PLAIN = ["docker-compose.yml"]
SCALED = ["docker-compose.yml", "deploy/compose.scale.yml"]
SHORT_WAV = wavs.wav(wavs.chirp(44100, 44100, 2), sample_rate=44100, channels=2)
_CONNECT = """
import sys, psycopg2
url = sys.argv[1] if len(sys.argv) > 1 else open("/run/secrets/database_url").read().strip()
connection = psycopg2.connect(url)
connection.autocommit = True
cursor = connection.cursor()
"""
# The prefixes of what a person may have set for their own project.
_VARIABLES = ("COMPOSE_", "WAVEPRESS_", "PUBLISHED_PORT", "PROMETHEUS_PORT", "REPLICAS", "DOMAIN")


def environment(**variables: str) -> dict[str, str]:
    """Return the environment without the variables that would choose another project or other settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_VARIABLES)}
    return kept | {"WAVEPRESS_IMAGE": IMAGE} | variables


def run(*command: str, check: bool = True, variables: Mapping[str, str] | None = None) -> str:
    """Run a command in the project's folder and return its output; if its status is not checked, its errors too."""
    found = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment(**(variables or {}))
    )
    assert not check or found.returncode == 0, f"{' '.join(command)}\n{found.stdout}{found.stderr}"
    return found.stdout + ("" if check else found.stderr)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until the condition holds; it does not hold while a connection fails."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(requests.RequestException):
            if condition():
                return
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


def state(container: str) -> Any:
    return json.loads(run("docker", "inspect", container))[0]


def in_container(image: str, script: str, *options: str) -> str:
    return run("docker", "run", "--rm", "--entrypoint", "sh", *options, image, "-c", script)


def assert_restricted(container: Any, capabilities: list[str] | None = None) -> None:
    """Assert that a container can do no more than it must, and has limits and no anonymous volume."""
    found = container["HostConfig"]
    assert found["ReadonlyRootfs"]
    assert found["CapDrop"] == ["ALL"]
    assert found["CapAdd"] == capabilities
    assert "no-new-privileges:true" in found["SecurityOpt"]
    assert not [mount for mount in container["Mounts"] if re.fullmatch("[0-9a-f]{64}", mount.get("Name", ""))], (
        "an anonymous volume would be left behind"
    )
    if found["RestartPolicy"]["Name"] == "unless-stopped":
        assert found["Memory"] > 0
        assert found["PidsLimit"] > 0


class Project:
    """A compose project of the tests, and a client of its service."""

    def __init__(self, name: str, files: list[str]) -> None:
        self.name = f"{PREFIX}-{name}"
        self.files = files
        self.variables = {"PUBLISHED_PORT": str(free_port()), "PROMETHEUS_PORT": str(free_port())}
        self.url = f"http://127.0.0.1:{self.variables['PUBLISHED_PORT']}"

    def __call__(self, *arguments: str, check: bool = True) -> str:
        files = [part for file in self.files for part in ("--file", file)]
        options = ("--project-name", self.name, "--env-file", "/dev/null", *files)
        return run("docker", "compose", *options, *arguments, check=check, variables=self.variables)

    def up(self, *arguments: str) -> None:
        """Bring the project up and wait until it serves."""
        self("up", "--detach", "--wait", *arguments)
        self.until_ready()

    def down(self) -> None:
        self("down", "--volumes", "--remove-orphans", "--timeout", "5")

    def containers(self, service: str, *options: str) -> list[str]:
        return self("ps", "--quiet", *options, service).split()

    def all_containers(self) -> dict[str, Any]:
        """Return the container of each service with its state, even if it has ended."""
        found = map(state, self("ps", "--all", "--quiet").split())
        return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in found}

    def until_ready(self) -> None:
        until(lambda: requests.get(f"{self.url}/health/ready", timeout=5).status_code == 200)

    def new_user(self) -> dict[str, str]:
        """Create a user and return the headers of its requests."""
        token = requests.post(f"{self.url}/users", json={"username": "ann"}, timeout=10).json()["token"]
        return {"Authorization": f"Bearer {token}"}

    def upload(self, headers: dict[str, str], filename: str = "talk.wav") -> Any:
        """Upload a short WAV and return its record."""
        answer = requests.put(f"{self.url}/records/{filename}", data=SHORT_WAV, headers=headers, timeout=60)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def slow_upload(self, headers: dict[str, str], seconds: float) -> int:
        """Upload a WAV over so many seconds and return the status."""
        pieces = slow_pieces(seconds)
        return requests.put(f"{self.url}/records/slow.wav", data=pieces, headers=headers, timeout=120).status_code


@contextmanager
def brought_up(name: str, files: list[str], service: str) -> Iterator[Project]:
    """Bring a project up for the length of the block, after removing what a killed run may have left."""
    project = Project(name, files)
    project.down()
    try:
        project.up(service)
        yield project
    finally:
        project.down()


def run_with_database(project: Project, program: str, *arguments: str) -> str:
    """Run a program that has a `cursor` in the service's container, and return what it prints, with its errors."""
    return project("exec", "wavepress", "python", "-c", _CONNECT + program, *arguments, check=False)


def mp3(record: Any) -> bytes:
    """Download a record's MP3."""
    answer = requests.get(record["url"], timeout=30)
    assert answer.status_code == 200
    assert len(answer.content) == record["size"]
    return answer.content


def heard_while_sent(
    url: str, headers: dict[str, str], slow: Future[int], verify: str | None = None
) -> tuple[bool, bytes]:
    """Listen to the user's only upload, which `slow` sends; its Future has the upload's status.

    Returns whether sound came before the upload had ended, and all that came.
    """
    uploads = list[dict[str, Any]]()

    def is_on_air() -> bool:
        uploads[:] = requests.get(f"{url}/uploads", headers=headers, verify=verify, timeout=10).json()["uploads"]
        return bool(uploads) and uploads[0]["expected_size"] is not None

    until(is_on_air)
    address = f"{url}/records/{uploads[0]['id']}.mp3"
    with requests.get(address, verify=verify, timeout=60, stream=True) as answer:
        assert answer.status_code == 200
        pieces = answer.iter_content(None)
        first = next(pieces)
        came_early = not slow.done()
        return came_early, first + b"".join(pieces)


def slow_pieces(seconds: float, count: int = 20) -> Iterator[bytes]:
    size = -(-len(SHORT_WAV) // count)
    for start in range(0, len(SHORT_WAV), size):
        yield SHORT_WAV[start : start + size]
        time.sleep(seconds / count)


class Clients:
    """Clients that send requests until the block ends, with the statuses that they got."""

    def __init__(self, ask: Callable[[], int], count: int = 2) -> None:
        self.statuses: list[int] = []
        self.slowest = 0.0
        self._ask, self._count, self._is_over = ask, count, False

    def __enter__(self) -> Self:
        self._threads = ThreadPoolExecutor(self._count)
        self._running = [self._threads.submit(self._run) for _ in range(self._count)]
        return self

    def __exit__(self, *_error: object) -> None:
        self._is_over = True
        for each in self._running:
            each.result()
        self._threads.shutdown()

    def _run(self) -> None:
        while not self._is_over:
            start = time.monotonic()
            self.statuses.append(self._ask())
            self.slowest = max(self.slowest, time.monotonic() - start)
            time.sleep(0.02)
