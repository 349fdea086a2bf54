"""HTTP clients as programs use them, with their defaults: each one uploads a WAV and reads its record."""

import asyncio
import io
import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

from tests.support import wavs
from tests.support.client import Account, Service
from tests.support.programs import output_of
from tests.support.raw import connect
from tests.support.tools import require_tool

WAV = wavs.wav(wavs.chirp(800, 8000, 1), sample_rate=8000, channels=1)
Upload = Callable[[str, dict[str, str]], Any]


def with_urllib(url: str, headers: dict[str, str]) -> Any:
    request = urllib.request.Request(url, WAV, headers)  # noqa: S310 - our own address
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - as above
        return json.load(answer)


def with_urllib_from_a_pipe(url: str, headers: dict[str, str]) -> Any:
    pieces = (WAV[start : start + 500] for start in range(0, len(WAV), 500))
    request = urllib.request.Request(url, pieces, headers, method="PUT")  # noqa: S310 - as above
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - as above
        return json.load(answer)


def with_requests_data(url: str, headers: dict[str, str]) -> Any:
    return requests.post(url, data=WAV, headers=headers, timeout=20).json()


def with_requests_stream(url: str, headers: dict[str, str]) -> Any:
    return requests.put(url, data=iter([WAV[:100], WAV[100:]]), headers=headers, timeout=20).json()


def with_requests_files(url: str, headers: dict[str, str]) -> Any:
    return requests.post(url, files={"file": io.BytesIO(WAV)}, headers=headers, timeout=20).json()


def with_requests_fields(url: str, headers: dict[str, str]) -> Any:
    form: dict[str, Any] = {"files": {"file": ("a; b.wav", WAV)}, "data": {"note": "x"}}
    return requests.post(url, headers=headers, timeout=20, **form).json()


def with_httpx_content(url: str, headers: dict[str, str]) -> Any:
    return httpx.post(url, content=WAV, headers=headers).json()


def with_httpx_stream(url: str, headers: dict[str, str]) -> Any:
    return httpx.put(url, content=iter([WAV[:100], WAV[100:]]), headers=headers).json()


def with_httpx_files(url: str, headers: dict[str, str]) -> Any:
    return httpx.post(url, files={"file": ('Ann "a"; b.wav', WAV)}, headers=headers).json()


PYTHON: list[tuple[Upload, str]] = [
    (with_urllib, "recording.wav"),
    (with_urllib_from_a_pipe, "recording.wav"),
    (with_requests_data, "recording.wav"),
    (with_requests_stream, "recording.wav"),
    (with_requests_files, "file"),  # requests makes it of the field's name
    (with_requests_fields, "a; b.wav"),
    (with_httpx_content, "recording.wav"),
    (with_httpx_stream, "recording.wav"),
    (with_httpx_files, 'Ann "a"; b.wav'),
]


@pytest.mark.parametrize(("upload", "name"), PYTHON, ids=lambda value: getattr(value, "__name__", ""))
async def test_python_client_uploads(service: Service, account: Account, upload: Upload, name: str) -> None:
    for address in (f"{service.url}records", f"{service.url}records/"):
        record = await asyncio.to_thread(upload, address, account.headers)
        assert (record["duration"], record["filename"]) == (0.1, name)


NODE = """
const fs = require("fs");
const [url, token, path, way] = process.argv.slice(1);
const headers = {Authorization: `Bearer ${token}`};
const wav = fs.readFileSync(path);
const form = () => {
  const made = new FormData();
  made.append("file", new Blob([wav]), "a; \\"b\\".wav");
  return made;
};
const ways = {
  form: () => fetch(url, {method: "POST", headers, body: form()}),
  "put form": () => fetch(url, {method: "PUT", headers, body: form()}),
  buffer: () => fetch(url, {method: "POST", headers, body: wav}),
  blob: () => fetch(url, {method: "POST", headers, body: new Blob([wav], {type: "audio/wav"})}),
  stream: () => fetch(url, {method: "PUT", headers, body: new Blob([wav]).stream(), duplex: "half"}),
  "type by hand": () => fetch(url, {
    method: "POST", headers: {...headers, "Content-Type": "multipart/form-data"}, body: form()}),
};
ways[way]().then(answer => answer.text()).then(console.log);
"""


async def with_node(service: Service, account: Account, directory: Path, way: str) -> Any:
    (directory / "talk.wav").write_bytes(WAV)
    node = require_tool("node")
    arguments = (f"{service.url}records", account.token, str(directory / "talk.wav"), way)
    return json.loads(await output_of(node, "-e", NODE, "--", *arguments))


@pytest.mark.parametrize(
    ("way", "name"),
    [
        ("form", 'a; "b".wav'),
        ("put form", 'a; "b".wav'),
        ("buffer", "recording.wav"),
        ("blob", "recording.wav"),
        ("stream", "recording.wav"),
    ],
)
async def test_fetch_of_node_uploads(service: Service, account: Account, tmp_path: Path, way: str, name: str) -> None:
    record = await with_node(service, account, tmp_path, way)
    assert (record["duration"], record["filename"]) == (0.1, name)


async def test_fetch_with_a_type_by_hand_is_told_to_leave_it_out(
    service: Service, account: Account, tmp_path: Path
) -> None:
    problem = await with_node(service, account, tmp_path, "type by hand")
    assert (problem["status"], problem["code"]) == (400, "missing_boundary")
    assert "Leave this header out" in problem["detail"]


RECORDED = {
    path.stem: path.read_bytes() for path in sorted((Path(__file__).parents[1] / "support" / "recorded").glob("*.http"))
}
TOKEN_OF_RECORDINGS = b"00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize("recorded", RECORDED)
async def test_package_of_npm_uploads(service: Service, account: Account, recorded: str) -> None:
    content = RECORDED[recorded]
    assert TOKEN_OF_RECORDINGS in content
    async with connect(service) as client, asyncio.timeout(20):
        await client.send(content.replace(TOKEN_OF_RECORDINGS, account.token.encode()))
        answer = await client.answer()
    has_name = b"/talk.wav" in content.partition(b"\r\n")[0] or b"filename" in content
    assert (answer.status, answer.json["duration"]) == (201, 0.1)
    assert answer.json["filename"] == ("talk.wav" if has_name else "recording.wav")


def test_recordings_are_there() -> None:
    assert {name.partition("-")[0] for name in RECORDED} == {"axios", "form", "got", "node", "superagent"}


async def test_wget_saves_under_the_name_of_the_recording(service: Service, account: Account, tmp_path: Path) -> None:
    record = (await service.upload(account, WAV, filename="a%20b.wav")).json
    wget = require_tool("wget")
    await output_of(wget, "-q", "--content-disposition", "-P", str(tmp_path), f"{record['url']}?download=1")
    await output_of(
        require_tool("curl"), "-fsSOJ", "--output-dir", str(tmp_path / "curl"), "--create-dirs", record["url"]
    )
    for saved in (tmp_path / "a b.mp3", tmp_path / "curl" / "a b.mp3"):
        assert saved.stat().st_size == record["size"]
