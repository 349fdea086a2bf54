"""docker-compose.yml is brought up for real: the README's lines, faults, and the rights of each container."""

import json
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.support.compose import (
    PLAIN,
    ROOT,
    Project,
    assert_restricted,
    brought_up,
    mp3,
    run,
    run_with_database,
    state,
    until,
)

pytestmark = [pytest.mark.container, pytest.mark.timeout(600)]


def test_readmes_lines_work_against_compose(plain: Project) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"```sh\n(TOKEN=.*?)```", readme, re.DOTALL)
    port = plain.variables["PUBLISHED_PORT"]
    try:
        assert "talk.mp3" in run("sh", "-euc", lines.replace("8001", port))
        assert (ROOT / "talk.mp3").stat().st_size > 50_000
    finally:
        (ROOT / "talk.mp3").unlink(missing_ok=True)
    assert plain("ps", "--status", "running", "--services").split() == ["database", "wavepress"]


def test_every_container_has_a_read_only_root_and_no_privilege(plain: Project) -> None:
    found = plain.all_containers()
    assert set(found) == {"wavepress", "migrate", "passwords", "database"}
    for service, container in found.items():
        assert_restricted(container, {"passwords": ["CAP_DAC_READ_SEARCH"]}.get(service))
    assert "Read-only file system" in plain("exec", "wavepress", "touch", "/opt/x", check=False)
    assert "CapEff:\t0000000000000000" in plain("exec", "wavepress", "cat", "/proc/self/status")
    assert "CapEff:\t0000000000000000" in plain("exec", "database", "cat", "/proc/self/status")
    assert plain("exec", "database", "id", "-un") == "postgres\n"


def test_ports_are_published_only_on_loopback(plain: Project) -> None:
    published = [
        (service, port, each["HostIp"])
        for service, container in plain.all_containers().items()
        for port, hosts in container["NetworkSettings"]["Ports"].items()
        for each in hosts or []
    ]
    assert published == [("wavepress", "8001/tcp", "127.0.0.1")]


def test_one_image_is_built_once(plain: Project) -> None:
    services = json.loads(plain("config", "--format", "json"))["services"]
    assert [name for name, service in services.items() if "build" in service] == ["wavepress"]
    assert services["migrate"]["image"] == services["wavepress"]["image"]


def test_metrics_are_not_on_the_public_port(plain: Project) -> None:
    assert requests.get(f"{plain.url}/metrics", timeout=10).status_code == 404
    page = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9001/metrics').read().decode())"
    assert "wavepress_build_info" in plain("exec", "wavepress", "python", "-c", page)


def test_database_logs_no_statement_of_the_service(plain: Project) -> None:
    shown = run_with_database(plain, "cursor.execute('SHOW log_min_error_statement'); print(*cursor.fetchone())")
    assert shown == "panic\n"


def test_service_has_rights_only_on_rows(plain: Project) -> None:
    rights = "cursor.execute('SELECT rolname, rolsuper FROM pg_roles WHERE rolname = current_user')"
    assert run_with_database(plain, f"{rights}; print(cursor.fetchone())") == "('wavepress_service', False)\n"
    for statement in ("DROP TABLE records", "CREATE TABLE x (y int)", "ALTER TABLE users ADD z int", "CREATE ROLE x"):
        found = run_with_database(plain, f"cursor.execute({statement!r})")
        assert "must be owner" in found or "permission denied" in found, found


@pytest.mark.parametrize("password", ["", "wavepress", "postgres"])
def test_nobody_is_superuser_over_the_network(plain: Project, password: str) -> None:
    found = run_with_database(plain, "print('in')", f"postgresql://wavepress:{password}@database/wavepress")
    assert "password" in found
    assert "in\n" not in found


def test_passwords_are_long_and_made_once(plain: Project) -> None:
    first = plain("exec", "wavepress", "cat", "/run/secrets/database_url")
    assert re.fullmatch(r"postgresql://wavepress_service:[0-9a-f]{48}@database/wavepress\n", first)
    plain.up("wavepress")
    assert plain("exec", "wavepress", "cat", "/run/secrets/database_url") == first
    assert first.split(":")[2][:48] not in plain("logs")


def test_passwords_are_mounted_only_where_they_are_used(plain: Project) -> None:
    mounted: dict[str, set[str]] = {}
    for service, container in plain.all_containers().items():
        for mount in container["Mounts"]:
            mounted.setdefault(mount.get("Name", "").removeprefix(f"{plain.name}_"), set()).add(service)
    assert mounted["service-secrets"] == {"passwords", "wavepress"}
    assert mounted["migrate-secrets"] == {"passwords", "migrate"}


def test_database_has_no_way_out(plain: Project) -> None:
    routes = plain("exec", "database", "cat", "/proc/net/route")
    assert [line.split()[1] for line in routes.splitlines()[1:]].count("00000000") == 0
    (network,) = state(plain.containers("database")[0])["NetworkSettings"]["Networks"]
    assert json.loads(run("docker", "network", "inspect", network))[0]["Internal"] is True


def test_new_passwords_are_made_for_those_that_were_removed(plain: Project) -> None:
    headers = plain.new_user()
    first = plain("exec", "wavepress", "cat", "/run/secrets/database_url")
    plain("down")
    run("docker", "volume", "rm", f"{plain.name}_service-secrets", f"{plain.name}_migrate-secrets")
    plain.up("wavepress")
    assert plain("exec", "wavepress", "cat", "/run/secrets/database_url") != first
    plain.upload(headers)


def test_data_survives_down_and_up(plain: Project) -> None:
    headers = plain.new_user()
    record = plain.upload(headers)
    before = mp3(record)
    plain("down")
    plain.up("wavepress")
    assert mp3(record) == before
    plain.upload(headers)


def test_postgresql_may_be_restarted(plain: Project) -> None:
    headers = plain.new_user()
    plain("restart", "--timeout", "5", "database")
    plain.up("database")
    plain.upload(headers)


def test_sigterm_lets_an_upload_end(plain: Project) -> None:
    headers = plain.new_user()
    (container,) = plain.containers("wavepress")
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(plain.slow_upload, headers, 6)
        until(lambda: "libmp3lame" in plain("top", "wavepress"))
        plain("stop", "wavepress")
        assert slow.result() == 201
    assert state(container)["State"]["ExitCode"] == 0
    plain.up("wavepress")


def test_killed_container_comes_back_with_everything(plain: Project) -> None:
    headers = plain.new_user()
    record = plain.upload(headers)
    before = mp3(record)
    (container,) = plain.containers("wavepress")
    restarts = state(container)["RestartCount"]
    os.kill(state(container)["State"]["Pid"], signal.SIGKILL)
    until(lambda: state(container)["RestartCount"] == restarts + 1)
    plain.until_ready()
    assert mp3(record) == before


@pytest.fixture
def bystander() -> Iterator[Project]:
    with brought_up("bystander", PLAIN, "wavepress") as project:
        yield project


def test_another_project_of_the_same_folder_stays_as_it_is(plain: Project, bystander: Project) -> None:
    headers = bystander.new_user()
    record = bystander.upload(headers)
    plain.down()
    plain.up("wavepress")
    assert mp3(record)
    bystander.upload(headers)


def test_tests_use_neither_the_name_nor_the_image_of_a_persons_project(plain: Project) -> None:
    persons = json.loads(run("docker", "compose", "--env-file", "/dev/null", "config", "--format", "json"))
    assert persons["name"] != plain.name
    assert state(plain.containers("wavepress")[0])["Config"]["Image"] != "wavepress"
