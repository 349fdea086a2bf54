"""Forms as browsers, phones and libraries really send them."""

import json
from io import BytesIO
from pathlib import Path

import pytest

from tests.support.client import Account, Answer, Service
from tests.support.invariants import GOOD_WAV
from tests.support.programs import output_of
from tests.support.tools import require_tool

FORM = {"Content-Type": "multipart/form-data; boundary=XbX"}
BLANK = ('form-data; name="cover"; filename=""', "application/octet-stream", b"")
DESCRIPTION = ('form-data; name="meta"; filename="blob"', "application/json", b'{"title": "a"}')
WAV = ('form-data; name="file"; filename="talk.wav"', "audio/wav", GOOD_WAV)
OTHER_WAV = ('form-data; name="more"; filename="more.wav"', "audio/wav", GOOD_WAV)
Part = tuple[str, str | None, bytes]


def form(*parts: Part) -> bytes:
    body = b""
    for disposition, content_type, content in parts:
        lines = [f"Content-Disposition: {disposition}"] + ([f"Content-Type: {content_type}"] if content_type else [])
        body += b"--XbX\r\n" + "\r\n".join(lines).encode() + b"\r\n\r\n" + content + b"\r\n"
    return body + b"--XbX--\r\n"


async def send(
    service: Service, account: Account, *parts: Part, method: str = "POST", path: str = "/records"
) -> Answer:
    return await service.request(method, path, data=BytesIO(form(*parts)), headers=account.headers | FORM)


def wav(disposition: str = WAV[0], content_type: str | None = "audio/wav") -> Part:
    return disposition, content_type, GOOD_WAV


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ('filename="a; b; c.wav"', "a; b; c.wav"),
        ('filename=";;.wav"', ";;.wav"),
        (r'filename="C:\Users\ann\talk.wav"', "talk.wav"),
        (r'filename="\\server\share\talk.wav"', "talk.wav"),
        (r'filename="Ann \"the voice\".wav"', 'Ann "the voice".wav'),
        ('filename="Ann %22the voice%22 100%.wav"', 'Ann "the voice" 100%.wav'),
        ("filename*=UTF-8''%2522.wav", "%22.wav"),
        ("filename=my talk.wav", "my talk.wav"),
        ("filename=\"x\"; filename*=UTF-8''%E2%82%AC; size=3", "€"),
    ],
)
async def test_file_name_is_kept_however_it_is_written(
    service: Service, account: Account, written: str, kept: str
) -> None:
    for kind in ("form-data", "multipart/form-data"):
        answer = await send(service, account, wav(f'{kind}; name="file"; {written}'))
        assert (answer.status, answer.json["filename"]) == (201, kept)


UNTOLD = [
    *("multipart/form-data", "audio/*", "*/*", "application/*", "binary/octet-stream", "application/wav", "wav", ""),
    *("application/x-unknown", "audio/x-pn-wav", "Audio/WAV; codecs=1", "application/force-download", None),
]


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_part_of_an_unknown_type_is_judged_by_its_content(
    service: Service, account: Account, method: str
) -> None:
    for declared in UNTOLD:
        answer = await send(service, account, wav(content_type=declared), method=method)
        assert (answer.status, answer.json["filename"]) == (201, "talk.wav"), declared
        bad = await send(service, account, (WAV[0], declared, b"no WAV at all"), method=method)
        assert (bad.status, bad.json["code"]) == (415, "not_wav"), declared


@pytest.mark.parametrize(
    "disposition",
    ['form-data; name="file"', "form-data; name=file", "form-data", 'form-data; name="file"; filename=""'],
)
async def test_file_needs_no_file_name(service: Service, account: Account, disposition: str) -> None:
    for declared in ("audio/wav", "audio/x-wav", "audio/*", "application/octet-stream", None):
        answer = await send(service, account, wav(disposition, declared))
        assert (answer.status, answer.json["filename"]) == (201, "recording.wav"), declared


@pytest.mark.parametrize("parts", [(BLANK, WAV), (WAV, BLANK), (BLANK, BLANK, WAV, BLANK)])
async def test_blank_file_input_is_passed_over(service: Service, account: Account, parts: tuple[Part, ...]) -> None:
    answer = await send(service, account, *parts)
    assert (answer.status, answer.json["filename"]) == (201, "talk.wav")


async def test_form_with_blank_file_inputs_only_has_no_file(service: Service, account: Account) -> None:
    answer = await send(service, account, BLANK, BLANK)
    assert (answer.status, answer.json["code"]) == (422, "no_file")


OTHERS = [
    DESCRIPTION,
    ('form-data; name="meta"; filename="meta.json"', "application/vnd.api+json", b"{}" * 5000),
    ('form-data; name="cover"; filename="cover.png"', "image/png", b"\x89PNG" * 200_000),
    ('form-data; name="notes"; filename="notes.txt"', "text/plain", b"RIFF"),
]


@pytest.mark.parametrize("other", OTHERS, ids=lambda part: part[1])
async def test_file_of_another_type_beside_the_wav_is_passed_over(
    service: Service, account: Account, other: Part
) -> None:
    for parts in ((other, WAV), (WAV, other)):
        answer = await send(service, account, *parts)
        assert (answer.status, answer.json["filename"]) == (201, "talk.wav")


@pytest.mark.parametrize("other", OTHERS, ids=lambda part: part[1])
async def test_file_of_another_type_alone_is_415(service: Service, account: Account, other: Part) -> None:
    answer = await send(service, account, other)
    assert (answer.status, answer.json["code"]) == (415, "unsupported_type")
    assert (other[1] or "") in answer.json["detail"]


async def test_recording_of_another_type_is_415_even_in_front_of_a_wav(service: Service, account: Account) -> None:
    for declared in ("audio/mpeg", "video/webm", "audio/webm;codecs=opus"):
        other = ('form-data; name="file"; filename="blob"', declared, bytes(100))
        answer = await send(service, account, other, WAV)
        assert (answer.status, answer.json["code"]) == (415, "unsupported_type")


async def test_large_file_of_another_type_is_not_read_to_its_end(service: Service, account: Account) -> None:
    picture = ('form-data; name="cover"; filename="cover.png"', "image/png", bytes(2**21))
    answer = await send(service, account, picture, WAV)
    assert (answer.status, answer.json["code"]) == (415, "unsupported_type")


async def test_second_wav_is_still_400(service: Service, account: Account) -> None:
    for second in (OTHER_WAV, wav('form-data; name="more"'), ('form-data; name="x"; filename="a.wav"', None, b"")):
        answer = await send(service, account, WAV, second)
        assert (answer.status, answer.json["code"]) == (400, "second_file")
    assert not service.files()


async def test_fields_in_android_style_are_fields(service: Service, account: Account) -> None:
    fields: list[Part] = [
        ('form-data; name="user_id"', "multipart/form-data", str(account.id).encode()),
        ('form-data; name="note"', "application/octet-stream", b"RIFF is a container"),
    ]
    answer = await send(service, account, *fields, WAV, path="/audiotrack")
    assert answer.status == 200


@pytest.mark.parametrize(
    ("path", "kept"), [("/records", "talk.wav"), ("/records/", "talk.wav"), ("/records/mine.wav", "mine.wav")]
)
async def test_put_of_a_form_is_taken_as_a_form(service: Service, account: Account, path: str, kept: str) -> None:
    answer = await send(service, account, DESCRIPTION, WAV, method="PUT", path=path)
    assert (answer.status, answer.json["filename"]) == (201, kept)


async def test_missing_boundary_is_named(service: Service, account: Account) -> None:
    headers = account.headers | {"Content-Type": "multipart/form-data"}
    answer = await service.post("/records", data=form(WAV), headers=headers)
    assert (answer.status, answer.json["code"]) == (400, "missing_boundary")
    assert "boundary" in answer.json["detail"]


@pytest.mark.parametrize("boundary", ["undefined", "XbXX", '"----WebKitFormBoundary"'])
@pytest.mark.parametrize("size", [len(GOOD_WAV), 200_000])
async def test_boundary_that_is_not_the_bodys_is_named(
    service: Service, account: Account, boundary: str, size: int
) -> None:
    headers = account.headers | {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    body = form((WAV[0], WAV[1], GOOD_WAV.ljust(size, b"\n")))
    answer = await service.post("/records", data=BytesIO(body), headers=headers)
    assert (answer.status, answer.json["code"]) == (400, "malformed_multipart")
    assert "boundary" in answer.json["detail"]


@pytest.mark.parametrize("kind", ["mixed", "related", "x-mixed"])
async def test_form_of_another_multipart_type_is_taken(service: Service, account: Account, kind: str) -> None:
    headers = account.headers | {"Content-Type": f"multipart/{kind}; boundary=XbX"}
    answer = await service.post("/records", data=form(DESCRIPTION, WAV), headers=headers)
    assert (answer.status, answer.json["filename"]) == (201, "talk.wav")


async def test_forgotten_at_sign_of_curl_is_named(service: Service, account: Account) -> None:
    answer = await send(service, account, ('form-data; name="file"', None, b"talk.wav"))
    assert (answer.status, answer.json["code"]) == (422, "no_file")
    assert "file=@talk.wav" in answer.json["detail"]


@pytest.mark.parametrize("name", ["a; b; c.wav", "ünï;cödé;.wav", ";;.wav", 'Ann "a" b.wav'])
async def test_curl_keeps_any_name(service: Service, account: Account, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(GOOD_WAV)
    path = str(tmp_path / name).replace('"', r"\"")
    authorization = f"Authorization: Bearer {account.token}"
    answer = await output_of(
        require_tool("curl"), "-sS", "-H", authorization, f"{service.url}records", "-F", f'file=@"{path}"'
    )
    assert json.loads(answer)["filename"] == name
