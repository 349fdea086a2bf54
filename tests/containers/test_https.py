"""deploy/Caddyfile and deploy/compose.tls.yml: HTTPS in front of the stack, with a Caddy from a wheel."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest
import requests

from tests.support.compose import (
    PLAIN,
    ROOT,
    SHORT_WAV,
    Project,
    environment,
    free_port,
    heard_while_sent,
    mp3,
    run,
    slow_pieces,
    until,
)

pytestmark = [pytest.mark.container, pytest.mark.timeout(600)]

CADDY = shutil.which("caddy", path=f"{Path(sys.executable).parent}") or shutil.which("caddy")
FILES = ["--file", PLAIN[0], "--file", "deploy/compose.tls.yml"]


class Https(NamedTuple):
    url: str
    authority: Path
    log: Path


@pytest.fixture
def https(plain: Project, tmp_path: Path) -> Iterator[Https]:
    """Run Caddy with its own authority, because nobody certifies localhost; only ports differ from the file."""
    assert CADDY, "caddy is missing: make install"
    port = free_port()
    config = tmp_path / "Caddyfile"
    options = f"{{\n\thttp_port {free_port()}\n\thttps_port {port}\n\tskip_install_trust\n"
    text = (ROOT / "deploy" / "Caddyfile").read_text(encoding="utf-8")
    assert text.count("\n{\n") == 1
    config.write_text(text.replace("\n{\n", f"\n{options}", 1))
    variables = {"DOMAIN": "localhost", "UPSTREAM": plain.url.removeprefix("http://")}
    variables |= {"XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    log = tmp_path / "log"
    with log.open("w") as output:
        command = [CADDY, "run", "--config", str(config), "--adapter", "caddyfile"]
        process = subprocess.Popen(command, env=environment(**variables), stderr=output)
    try:
        authority = tmp_path / "caddy" / "pki" / "authorities" / "local" / "root.crt"
        until(authority.exists)
        found = Https(f"https://localhost:{port}", authority, log)
        until(lambda: requests.get(f"{found.url}/health/live", verify=str(authority), timeout=10).status_code == 200)
        yield found
    finally:
        process.terminate()
        process.wait(30)


def test_upload_and_download_over_https(plain: Project, https: Https) -> None:
    headers = plain.new_user()
    url, verify = f"{https.url}/records/talk.wav", str(https.authority)
    answer = requests.put(url, data=iter([SHORT_WAV]), headers=headers, verify=verify, timeout=60)
    assert answer.status_code == 201
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    path = answer.json()["url"].split("/", 3)[3]
    assert len(requests.get(f"{https.url}/{path}", verify=verify, timeout=60).content) == answer.json()["size"]


def test_upload_is_heard_over_https_while_it_is_sent(plain: Project, https: Https) -> None:
    headers, verify = plain.new_user(), str(https.authority)

    def upload() -> int:
        address = f"{https.url}/records/slow.wav"
        return requests.put(address, slow_pieces(6), headers=headers, verify=verify, timeout=60).status_code

    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(upload)
        came_early, heard = heard_while_sent(https.url, headers, slow, verify)
        assert slow.result() == 201
    (record,) = requests.get(f"{plain.url}/records", headers=headers, timeout=10).json()["records"]
    assert came_early
    assert heard == mp3(record)


def test_refusal_without_the_service_is_a_problem_and_its_log_has_no_secret(plain: Project, https: Https) -> None:
    secret = str(uuid4())
    plain("stop", "wavepress")
    try:
        for path in (f"/records/{secret}.mp3", f"/api_v1/records/?user_token={secret}"):
            answer = requests.get(https.url + path, verify=str(https.authority), timeout=30)
            assert answer.status_code == 502
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.headers["Retry-After"] == "2"
            problem = answer.json()
            assert (problem["status"], problem["title"], problem["code"]) == (502, "Bad Gateway", "no_replica")
    finally:
        plain.up("wavepress")
    until(lambda: "/records/....mp3" in https.log.read_text() and "user_token=..." in https.log.read_text())
    assert secret not in https.log.read_text()


def test_plain_stack_behind_caddy_is_published_only_by_caddy() -> None:
    command = ["docker", "compose", "--env-file", "/dev/null", *FILES, "config", "--format", "json"]
    services = json.loads(run(*command, variables={"DOMAIN": "recordings.example"}))["services"]
    assert not services["wavepress"].get("ports")
    assert services["wavepress"]["environment"]["WAVEPRESS_PUBLIC_URL"] == "https://recordings.example"
    assert services["wavepress"]["environment"]["WAVEPRESS_REGISTRATION"] == "token"
    assert [port["published"] for port in services["caddy"]["ports"]] == ["80", "443", "443"]
    assert "Set it to the name that clients use" in run(*command, check=False)
