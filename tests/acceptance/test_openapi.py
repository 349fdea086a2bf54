"""The service answers as its OpenAPI document says, whatever schemathesis sends."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis import Case, Response
from schemathesis.config import (
    CoveragePhaseConfig,
    GenerationConfig,
    PhasesConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    missing_required_header,
    negative_data_rejection,
    positive_data_acceptance,
)

from service import __version__
from service.web.routes.docs import openapi_document
from tests.support import wavs
from tests.support.client import Service, StartService
from tests.support.serving import serve

ROOT = Path(__file__).parents[2]
WAV = wavs.wav(wavs.chirp(800, 8000, 1), sample_rate=8000, channels=1)
WAV_TYPES = (
    *("audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"),
    *("application/offset+octet-stream", "application/partial-upload"),
)
# A whole WAV, a truncated one, the magic bytes of another format, and noise.
BODIES = st.sampled_from([WAV, WAV[:-1], WAV[:20], b"", b"fLaC" + WAV]) | st.binary(max_size=200)


def strict_document() -> dict[str, Any]:
    """Return the document with closed answers: they must not have a property that it does not name."""
    document: dict[str, Any] = json.loads(b"".join(openapi_document("http://127.0.0.1")))
    for schema in document["components"]["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return document


schemathesis.openapi.format("binary", BODIES)
schemathesis.openapi.media_type(WAV_TYPES[0], BODIES, aliases=WAV_TYPES[1:])
EVERY_RUN_THE_SAME = ProjectConfig(
    generation=GenerationConfig(max_examples=5, deterministic=True),
    phases=PhasesConfig(coverage=CoveragePhaseConfig(unexpected_methods={"trace"})),
)
SCHEMA = schemathesis.openapi.from_dict(
    strict_document(), config=SchemathesisConfig(seed=1, projects=ProjectsConfig(default=EVERY_RUN_THE_SAME))
)
# The service accepts more than it promises, and a WAV is more than bytes. What follows /records/ may be a name, so
# Allow has PUT for addresses for which the document has none. The first older API answers 403 if there is no token.
EXCLUDED = [negative_data_rejection, positive_data_acceptance, allow_header_conformance, missing_required_header]
# requests takes an interim answer for the answer. A client that names an unknown version of the draft gets none.
NO_INTERIM_ANSWERS = {"Upload-Draft-Interop-Version": "0"}


@dataclass(frozen=True)
class Known:
    """What schemathesis cannot guess: the service's address, a user and a record."""

    url: str
    headers: dict[str, str]
    values: dict[str, str]

    def send(self, case: Case[Any], *, headers: Mapping[str, str] | None = None, **options: Any) -> Response:
        """Send a case as the user and compare the answer with the document."""
        headers = self.headers | NO_INTERIM_ANSWERS | dict(headers or {})
        return case.call_and_validate(base_url=self.url, headers=headers, excluded_checks=EXCLUDED, **options)

    def case(self, method: str, path: str) -> Case[Any]:
        """Return a case that has only the known values."""
        operation = SCHEMA[path][method]
        case: Case[Any] = operation.Case()
        for parameter in operation.iter_parameters():
            if parameter.name in self.values:
                case_part = case.path_parameters if parameter.location == "path" else case.query
                case_part[parameter.name] = ""
        self.fill_in(case)
        return case

    def fill_in(self, case: Case[Any]) -> bool:
        """Replace a case's values by the known ones; return whether there were any to replace."""
        body = case.body if isinstance(case.body, dict) else {}
        places = [(place, name) for place in (case.path_parameters, case.query, body) for name in place]
        places = [(place, name) for place, name in places if name in self.values]
        for place, name in places:
            place[name] = self.values[name]
        return bool(places)


@pytest.fixture(scope="module")
def url(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(tmp_path_factory.mktemp("openapi") / "data", DATABASE_URL=postgres_url) as serving:
        yield f"http://127.0.0.1:{serving.port}"


@pytest.fixture
def known(url: str) -> Known:
    user = requests.post(f"{url}/users", json={"username": "ann"}, timeout=10).json()
    headers = {"Authorization": f"Bearer {user['token']}"}
    record = requests.put(f"{url}/records/talk.wav", data=WAV, headers=headers, timeout=10).json()
    owner = dict.fromkeys(("user", "user_id"), str(user["id"]))
    ids = dict.fromkeys(("record_id", "id_or_filename", "id"), record["id"])
    return Known(url, headers, owner | ids | {"user_token": user["token"], "asset": "start.js", "file": "main.js"})


@SCHEMA.parametrize()
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_every_operation_answers_as_documented(case: Case[Any], known: Known) -> None:
    known.send(case)
    if known.fill_in(case):
        known.send(case)


DOWNLOADS = ["/records/{record_id}.mp3", "/audiotrack", "/api_v1/records", "/api_v1/records/"]
FILE = ("talk.wav", WAV, "audio/wav")


@pytest.mark.parametrize(
    ("method", "path", "status", "options"),
    [
        ("POST", "/records", 201, {"files": {"file": FILE}}),
        ("POST", "/records", 201, {"data": WAV, "headers": {"Content-Type": "audio/wav"}}),
        ("PUT", "/records", 201, {"data": WAV, "headers": {"Accept": "text/plain"}}),
        ("PUT", "/records/", 201, {"data": WAV, "params": {"bit_rate": "64000"}}),
        ("PUT", "/records/{id_or_filename}", 201, {"data": WAV}),
        ("GET", "/records/{id_or_filename}", 200, {}),
        ("GET", "/records", 200, {"params": {"limit": "1"}}),
        ("DELETE", "/records/{id_or_filename}", 204, {}),
        ("POST", "/audiotrack", 200, {"files": {"file": FILE, "user_id": (None, "known")}}),
        ("POST", "/api_v1/records", 201, {"files": {"record": FILE}}),
        ("POST", "/api_v1/records/", 201, {"files": {"record": FILE}}),
        ("POST", "/audiotrack", 400, {}),
        ("POST", "/api_v1/records", 400, {}),
        ("GET", "/docs/{asset}", 200, {}),
        ("HEAD", DOWNLOADS[0], 200, {}),
        *[("GET", path, 200, {}) for path in DOWNLOADS],
        *[("GET", path, 206, {"headers": {"Range": "bytes=0-9"}}) for path in DOWNLOADS],
        *[("GET", path, 304, {"headers": {"If-None-Match": "*"}}) for path in DOWNLOADS],
        *[("GET", path, 412, {"headers": {"If-Match": '"other"'}}) for path in DOWNLOADS],
        *[("GET", path, 416, {"headers": {"Range": "bytes=999999-"}}) for path in DOWNLOADS],
    ],
)
def test_answers_that_chance_does_not_find_are_as_documented(
    known: Known, method: str, path: str, status: int, options: dict[str, Any]
) -> None:
    case = known.case(method, path)
    if "user_id" in options.get("files", {}):
        options = {"files": options["files"] | {"user_id": (None, known.values["user_id"])}}
    response = known.send(case, **options)
    assert response.status_code == status


def test_a_replay_is_as_documented(known: Known) -> None:
    for status in (201, 200):
        case = known.case("PUT", "/records/")
        assert known.send(case, data=WAV, headers={"Idempotency-Key": "again"}).status_code == status


async def test_swagger_ui_uses_only_our_own_files(service: Service) -> None:
    page = await service.get("/docs")
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "script-src 'self'; style-src 'self';" in policy
    files = re.findall(r'(?:href|src)="([^"]+)"', page.body.decode())
    assert len(files) == 5
    for file in files:
        assert not re.match("/|[a-z]+:", file)  # relative, so that it is also found below a path of a proxy
        answer = await service.get(f"/{file}")
        assert (answer.status, len(answer.body) > 100) == (200, True)


@pytest.mark.parametrize("asset", ["docs.py", "LICENSE", "..%2Fdocs.py", "%2Fetc%2Fpasswd"])
async def test_swagger_ui_has_no_other_files(service: Service, asset: str) -> None:
    answer = await service.get(f"/docs/{asset}")
    assert (answer.status, answer.json["code"]) == (404, "not_found")


async def test_document_names_the_address_that_clients_call(start_service: StartService) -> None:
    service = await start_service()
    document = (await service.get("/openapi.json")).json
    assert document["servers"] == [{"url": str(service.url).rstrip("/")}]
    assert document["info"]["version"] == __version__
    public = await start_service(public_url="https://wavepress.example/api/")
    assert (await public.get("/openapi.json")).json["servers"] == [{"url": "https://wavepress.example/api"}]
