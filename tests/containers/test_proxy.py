"""deploy/nginx.conf in front of the scaled stack: its own refusals and its log."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
import requests

from tests.support.compose import Project, mp3, until

pytestmark = [pytest.mark.container, pytest.mark.timeout(600)]


def log_lines(project: Project) -> list[str]:
    return project("logs", "--no-log-prefix", "nginx").splitlines()


def test_log_is_json_without_an_address_and_without_a_token(scaled: Project) -> None:
    user = requests.post(f"{scaled.url}/api_v1/users/?username=ann", timeout=10).json()
    record = scaled.upload({"Authorization": f"Bearer {user['token']}"})
    mp3(record)
    query = f"record_id={record['id']}&user_id={user['id']}&user_token={user['token']}"
    requests.get(f"{scaled.url}/api_v1/records/?{query}", timeout=10)
    requests.get(f"{scaled.url}//records/%7B{record['id'].upper()}%7D.mp3", timeout=10)
    requests.get(f"{scaled.url}/records/{record['id'].replace('-', '')}/x{user['token']}", timeout=10)
    until(lambda: '"/records/....mp3"' in "".join(log_lines(scaled)))
    logged = scaled("logs", "nginx", "wavepress")
    for secret in (record["id"], user["token"]):
        assert secret not in logged
        assert secret.upper() not in logged
        assert secret.replace("-", "") not in logged
    assert {json.loads(line)["event"] for line in log_lines(scaled)} == {"proxied"}


@pytest.fixture
def without_replicas(scaled: Project) -> Iterator[Project]:
    scaled("stop", "wavepress")
    # nginx tries the addresses that it knows for two seconds.
    until(lambda: requests.get(f"{scaled.url}/health/live", timeout=30).status_code == 502)
    yield scaled
    scaled.up("nginx")


def assert_problem(answer: requests.Response, status: int, code: str) -> None:
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["code"], problem["type"]) == (status, code, "about:blank")
    assert problem["title"]
    assert problem["detail"]


def test_refusal_without_replicas_is_a_problem_and_its_log_has_no_secret(without_replicas: Project) -> None:
    url, secret = without_replicas.url, str(uuid4())
    for path in (f"/records/{secret}.mp3", f"/api_v1/records/?user_id=1&user_token={secret}"):
        answer = requests.get(url + path, timeout=30)
        assert_problem(answer, 502, "no_replica")
        assert int(answer.headers["Retry-After"]) > 0
    answer = requests.put(f"{url}/records/{secret}.wav", data=b"x" * 100_000, timeout=30)
    assert_problem(answer, 502, "no_replica")
    lines = log_lines(without_replicas)
    assert not re.search(secret, "".join(lines))
    assert {json.loads(line)["event"] for line in lines} == {"proxied"}
    assert sum(json.loads(line)["status"] == 502 for line in lines) >= 3


def test_replica_that_does_not_answer_is_a_problem(scaled: Project) -> None:
    # An address in the network that no container has.
    network = scaled.all_containers()["nginx"]["NetworkSettings"]["Networks"][f"{scaled.name}_replicas"]["IPAddress"]
    nobody = network.rsplit(".", 1)[0] + ".253"
    route = "echo 'server {}' > /tmp/replicas.conf; nginx -s reload"
    try:
        scaled("exec", "nginx", "sh", "-c", route.format(f"{nobody}:8001;"))
        until(lambda: requests.get(f"{scaled.url}/health/live", timeout=30).status_code == 504)
        answer = requests.get(f"{scaled.url}/health/live", timeout=30)
        assert_problem(answer, 504, "slow_replica")
        assert int(answer.headers["Retry-After"]) > 0
    finally:
        scaled("restart", "nginx")
        scaled.until_ready()


def test_unreadable_requests_are_problems(scaled: Project) -> None:
    assert_problem(requests.get(f"{scaled.url}/{'x' * 20_000}", timeout=10), 414, "url_too_long")
    assert_problem(requests.get(scaled.url, headers={"X": "x" * 50_000}, timeout=10), 400, "bad_request")


def test_metrics_are_not_on_the_public_port(scaled: Project) -> None:
    assert requests.get(f"{scaled.url}/metrics", timeout=10).status_code == 404


def test_flood_of_registrations_is_slowed_down(scaled: Project) -> None:
    def register(number: int) -> requests.Response:
        path = ("/users", "/users/")[number % 2]
        return requests.post(f"{scaled.url}{path}", json={"username": f"user{number}"}, timeout=30)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(register, range(400)))
    refused = [answer for answer in answers if answer.status_code != 201]
    assert 1 <= len(refused) <= 200
    assert_problem(refused[0], 429, "too_many_requests")
    assert int(refused[0].headers["Retry-After"]) > 0
    assert {answer.request.path_url for answer in refused} == {"/users", "/users/"}
    until(lambda: register(0).status_code == 201)
