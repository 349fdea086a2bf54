"""A download that the machine cannot serve now is a 503 that no cache keeps; it is 404 only if the file is lost."""

from pathlib import Path

import pytest

from tests.support.client import Answer, Service, StartService
from tests.support.descriptors import descriptors_left
from tests.support.invariants import GOOD_WAV, invariants_hold
from tests.support.raw import RawAnswer, connect

ASSET = "/docs/swagger-ui-bundle.js"


async def keep(service: Service) -> str:
    """Keep a record and return the path of its MP3."""
    answer = await service.upload(await service.create_user(), GOOD_WAV)
    return f"/records/{answer.json['id']}.mp3"


def assert_outage(answer: Answer | RawAnswer) -> None:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    assert (answer.status, answer.json["code"]) == (503, "storage_unavailable")
    assert headers["content-type"] == "application/problem+json"
    assert int(headers["retry-after"]) > 0
    assert not {"etag", "last-modified", "content-disposition", "accept-ranges", "repr-digest"} & headers.keys()
    assert "max-age" not in headers.get("cache-control", "")


@pytest.mark.parametrize("what", ["an MP3", "an asset"])
@pytest.mark.parametrize("left", [0, 1])
async def test_download_out_of_descriptors_is_503(
    service: Service, caplog: pytest.LogCaptureFixture, left: int, what: str
) -> None:
    """The service opens the file, and then FileResponse opens it again; either may be one descriptor too many."""
    path = await keep(service) if what == "an MP3" else ASSET
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    async with invariants_hold(service, caplog, errors_logged=True), connect(service) as client:
        await client.send(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.answer()).status == 200
        with descriptors_left(left):
            await client.send(request)
            assert_outage(await client.answer())
        await client.send(request)
        assert (await client.answer()).status == 200


@pytest.mark.parametrize("gone", ["records", "the folder"])
async def test_download_is_503_while_the_folder_is_not_there(
    service: Service, caplog: pytest.LogCaptureFixture, tmp_path: Path, gone: str
) -> None:
    path = await keep(service)
    folder = service.files()[0].parent
    missing = folder if gone == "the folder" else folder.parent
    async with invariants_hold(service, caplog, errors_logged=True):
        missing.rename(tmp_path / "away")
        assert_outage(await service.get(path))
        (tmp_path / "away").rename(missing)
        assert (await service.get(path)).status == 200


async def test_download_of_a_file_that_is_lost_is_404(start_service: StartService) -> None:
    service = await start_service()
    path = await keep(service)
    service.files()[0].unlink()
    answer = await service.get(path)
    assert (answer.status, answer.json["code"]) == (404, "record_not_found")
    assert "ETag" not in answer.headers
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("instead", ["a loop of links", "a directory", "an empty file"])
async def test_download_of_what_cannot_be_a_kept_file_is_503(start_service: StartService, instead: str) -> None:
    service = await start_service()
    path, file = await keep(service), service.files()[0]
    size = file.stat().st_size
    file.unlink()
    if instead == "a loop of links":
        file.symlink_to(file.name)
    elif instead == "a directory":
        file.mkdir()
    else:
        file.touch()
    wanted = {"Range": f"bytes={size - 1}-"} if instead == "an empty file" else {}
    assert_outage(await service.get(path, headers=wanted))
