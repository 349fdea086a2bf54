"""deploy/compose.scale.yml is brought up for real: replicas, store and Prometheus restart, scale and are replaced."""

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.compose import (
    PLAIN,
    SCALED,
    SHORT_WAV,
    Clients,
    Project,
    assert_restricted,
    heard_while_sent,
    mp3,
    run,
    state,
    until,
)

pytestmark = [pytest.mark.container, pytest.mark.timeout(600)]

REPLICAS = 3
OBSTORE = """
from pathlib import Path
from obstore.store import S3Store
key, secret = (Path("/run/secrets", name).read_text().strip() for name in ("s3_access_key_id", "s3_secret_access_key"))
def store(bucket):
    return S3Store(bucket, endpoint="http://store:8333", region="us-east-1", client_options={"allow_http": True},
                   retry_config={"max_retries": 0}, access_key_id=key, secret_access_key=secret)
"""


@pytest.fixture(autouse=True)
def three_replicas(scaled: Project) -> None:
    """Start each test with the default number of replicas, whatever the last test did."""
    if len(scaled("ps", "--status", "running", "--quiet", "wavepress").split()) != REPLICAS:
        scaled.up("nginx")


def running(project: Project) -> list[str]:
    return project("ps", "--status", "running", "--quiet", "wavepress").split()


def test_any_replica_serves_what_any_other_took(scaled: Project) -> None:
    assert len(running(scaled)) == REPLICAS
    headers = scaled.new_user()
    records = [scaled.upload(headers) for _ in range(2 * REPLICAS)]
    assert len({mp3(record) for record in records for _ in range(REPLICAS)}) == 1
    requests.delete(f"{scaled.url}/records/{records[0]['id']}", headers=headers, timeout=10).raise_for_status()
    assert {requests.get(records[0]["url"], timeout=10).status_code for _ in range(2 * REPLICAS)} == {404}
    part = requests.get(records[1]["url"], headers={"Range": "bytes=5-9"}, timeout=10)
    assert (part.status_code, part.content) == (206, mp3(records[1])[5:10])


TUS = {"Tus-Resumable": "1.0.0"}
CREATION = {
    "tus": {**TUS, "Upload-Length": str(len(SHORT_WAV)), "Upload-Metadata": "filename dGFsay53YXY="},
    "ietf": {"Upload-Complete": "?0", "Content-Disposition": 'attachment; filename="talk.wav"'},
}
APPENDING = {
    "tus": {**TUS, "Content-Type": "application/offset+octet-stream"},
    "ietf": {"Content-Type": "application/partial-upload"},
}


@pytest.mark.parametrize("language", ["tus", "ietf"])
def test_requests_of_an_upload_may_reach_any_replica(scaled: Project, language: str) -> None:
    headers = scaled.new_user()
    created = requests.post(f"{scaled.url}/uploads", headers=headers | CREATION[language], timeout=30)
    address, count = created.headers["Location"], 4 * REPLICAS
    size = -(-len(SHORT_WAV) // count)
    for start in range(0, len(SHORT_WAV), size):
        own = {"Upload-Offset": str(start)}
        if language == "ietf":
            own["Upload-Complete"] = f"?{start + size >= len(SHORT_WAV):d}"
        part = SHORT_WAV[start : start + size]
        answer = requests.patch(address, part, headers=headers | APPENDING[language] | own, timeout=30)
        assert answer.status_code in {201, 204}, answer.text
    upload_id = address.rpartition("/")[2]
    record = requests.get(f"{scaled.url}/records/{upload_id}", headers=headers, timeout=10).json()
    assert mp3(record) == mp3(scaled.upload(headers))
    logs = [run("docker", "logs", replica, check=False) for replica in running(scaled)]
    assert sum(upload_id[:8] in log for log in logs) > 1


def test_upload_is_heard_through_any_replica_while_it_is_sent(scaled: Project) -> None:
    headers = scaled.new_user()
    with ThreadPoolExecutor(1 + 2 * REPLICAS) as threads:
        slow = threads.submit(scaled.slow_upload, headers, 6)
        listeners = [threads.submit(heard_while_sent, scaled.url, headers, slow) for _ in range(2 * REPLICAS)]
        assert slow.result() == 201
        heard = [listener.result() for listener in listeners]
    (record,) = requests.get(f"{scaled.url}/records", headers=headers, timeout=10).json()["records"]
    assert heard == [(True, mp3(record))] * len(heard)


def test_every_container_has_a_read_only_root_and_no_privilege(scaled: Project) -> None:
    scaled("up", "--detach", "prometheus")
    found = scaled.all_containers()
    assert set(found) == {"wavepress", "migrate", "passwords", "database", "nginx", "store", "bucket", "prometheus"}
    allowed = {"passwords": ["CAP_DAC_READ_SEARCH"], "store": ["CAP_DAC_OVERRIDE"]}
    for service, container in found.items():
        assert_restricted(container, allowed.get(service))
    ports = [hosts for each in found.values() for hosts in each["NetworkSettings"]["Ports"].values() if hosts]
    assert {each["HostIp"] for hosts in ports for each in hosts} == {"127.0.0.1"}


def test_replicas_are_only_on_internal_networks(scaled: Project) -> None:
    networks = state(running(scaled)[0])["NetworkSettings"]["Networks"]
    assert {name.removeprefix(f"{scaled.name}_") for name in networks} == {"replicas", "database", "store"}
    assert all(json.loads(run("docker", "network", "inspect", name))[0]["Internal"] for name in networks)


def test_scaled_stack_is_a_project_of_its_own() -> None:
    names = [
        json.loads(run("docker", "compose", "--env-file", "/dev/null", *options, "config", "--format", "json"))["name"]
        for options in (["--file", PLAIN[0]], ["--file", SCALED[0], "--file", SCALED[1]])
    ]
    assert names[1] == "wavepress-scaled" != names[0]


def test_stack_comes_up_again_and_after_down(scaled: Project) -> None:
    headers = scaled.new_user()
    record = scaled.upload(headers)
    scaled.up("nginx")
    assert mp3(record)
    scaled("down", "--timeout", "5")
    scaled.up("nginx")
    assert mp3(record)
    scaled.upload(headers)


def test_new_replicas_get_requests_at_once_and_old_ones_leave_unnoticed(scaled: Project) -> None:
    def live() -> int:
        return requests.get(f"{scaled.url}/health/live", timeout=30).status_code

    before = set(running(scaled))
    with Clients(live) as clients:
        scaled.up("--scale", "wavepress=5", "nginx")
        new = [state(each) for each in running(scaled) if each not in before]
        addresses = [each["NetworkSettings"]["Networks"][f"{scaled.name}_replicas"]["IPAddress"] for each in new]
        assert len(addresses) == 2
        until(lambda: all(f"{each}:8001" in scaled("logs", "nginx") for each in addresses), seconds=10)
        scaled("up", "--detach", "--no-deps", "--scale", "wavepress=2", "wavepress")
        until(lambda: len(running(scaled)) == 2)
    assert set(clients.statuses) == {200}
    assert clients.slowest < 2.5  # one second until a connection counts as failed, and some time for a slow machine


@pytest.fixture
def changed(scaled: Project, tmp_path: Path) -> Iterator[Project]:
    """The same project with one more file of settings, as a person would add it."""
    extra = tmp_path / "override.yml"
    extra.write_text('services: {wavepress: {environment: {WAVEPRESS_MAX_WAITING: "7"}}}')
    project = Project("scaled", [*SCALED, str(extra)])
    project.variables, project.url = scaled.variables, scaled.url
    yield project
    scaled.up("nginx")


def has_setting(container: str, setting: str) -> bool:
    return setting in state(container)["Config"]["Env"]


def test_changed_setting_comes_up(changed: Project) -> None:
    headers = changed.new_user()
    record = changed.upload(headers)
    changed.up("nginx")
    assert [has_setting(each, "WAVEPRESS_MAX_WAITING=7") for each in running(changed)] == [True] * REPLICAS
    assert mp3(record)


def roll(project: Project, *, check: bool = True) -> str:
    variables = {"COMPOSE_PROJECT_NAME": project.name, "COMPOSE_FILE": ":".join(project.files)}
    return run("deploy/roll.sh", variables=project.variables | variables, check=check)


def test_replicas_are_replaced_without_a_refusal(changed: Project) -> None:
    headers = changed.new_user()
    old = running(changed)
    with ThreadPoolExecutor(3) as threads, Clients(lambda: changed.upload(headers)["size"]) as clients:
        slow = [threads.submit(changed.slow_upload, headers, 15) for _ in range(3)]
        roll(changed)
        assert {each.result() for each in slow} == {201}
    assert len(clients.statuses) > 20
    assert not set(old) & set(changed.containers("wavepress", "--all"))
    assert [has_setting(each, "WAVEPRESS_MAX_WAITING=7") for each in running(changed)] == [True] * REPLICAS


def test_replicas_stay_if_the_new_ones_do_not_start(changed: Project) -> None:
    Path(changed.files[-1]).write_text('services: {wavepress: {environment: {WAVEPRESS_MAX_WAITING: "many"}}}')
    old = set(running(changed))
    found = roll(changed, check=False)
    assert "the old ones serve on" in found
    assert "WAVEPRESS_MAX_WAITING" in found
    assert set(changed.containers("wavepress", "--all")) == old
    changed.upload(changed.new_user())


def test_restart_of_the_proxy_lets_an_upload_end(scaled: Project) -> None:
    headers = scaled.new_user()
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(scaled.slow_upload, headers, 15)
        until(lambda: "libmp3lame" in scaled("top", "wavepress"))
        scaled("restart", "nginx")
        assert slow.result() == 201
    scaled.until_ready()


def test_killed_replica_loses_only_its_own_uploads(scaled: Project) -> None:
    headers = scaled.new_user()
    record = scaled.upload(headers, "slow.wav")
    with ThreadPoolExecutor(9) as threads:
        slow = [threads.submit(scaled.slow_upload, headers, 8) for _ in range(9)]
        until(lambda: scaled("top", "wavepress").count("libmp3lame") >= 9)
        os.kill(state(running(scaled)[0])["State"]["Pid"], signal.SIGKILL)
        until(lambda: requests.get(record["url"], timeout=10).status_code == 200)
        statuses = [answer.result() for answer in slow]
    assert statuses.count(201) >= 9 * (REPLICAS - 1) // REPLICAS - 1
    assert set(statuses) <= {201, 502}
    kept = requests.get(f"{scaled.url}/records", headers=headers, timeout=10).json()["records"]
    assert len(kept) == 1 + statuses.count(201)
    assert {mp3(each) == mp3(record) for each in kept} == {True}
    until(lambda: len(running(scaled)) == REPLICAS)
    scaled.upload(headers)


def test_store_may_be_restarted(scaled: Project) -> None:
    headers = scaled.new_user()
    record = scaled.upload(headers)
    before = mp3(record)
    scaled("restart", "--timeout", "5", "store")
    # The store takes requests before it has found its volumes; until then every answer is 503, and nothing is lost.
    until(lambda: requests.get(record["url"], timeout=60).status_code == 200)
    assert mp3(record) == before
    until(lambda: scaled.slow_upload(headers, 0) == 201)


def in_replica(project: Project, program: str) -> str:
    return project("exec", "wavepress", "python", "-c", OBSTORE + program, check=False)


def test_key_of_the_store_may_use_one_bucket(scaled: Project) -> None:
    scaled.upload(scaled.new_user())
    assert "mp3/" in in_replica(scaled, "print(store('recordings').list().collect()[0]['path'])")
    for attempt in ("store('other').put('x', b'x')", "store('other').list().collect()"):
        found = in_replica(scaled, attempt)
        assert "AccessDenied" in found or "403" in found, found


@pytest.mark.parametrize("port", [8080, 8888, 9333, 18080, 18888, 19333])
def test_store_exposes_only_its_s3_port(scaled: Project, port: int) -> None:
    assert "refused" in in_replica(scaled, f"import socket; socket.create_connection(('store', {port}), 5)")


def test_prometheus_scrapes_every_replica(scaled: Project) -> None:
    scaled("up", "--detach", "prometheus")
    url = f"http://127.0.0.1:{scaled.variables['PROMETHEUS_PORT']}/api/v1/query"

    def answers(query: str) -> list[Any]:
        return list(requests.get(url, params={"query": query}, timeout=5).json()["data"]["result"])

    until(lambda: [each["value"][1] for each in answers('sum(up{job="wavepress"})')] == [str(REPLICAS)], seconds=90)
    assert len(answers("wavepress_build_info")) == REPLICAS
