"""What an upload needs is prepared beside a block, and let go of however that ends."""

import asyncio
import gc
import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from service.audio.confinement import Confinement
from service.audio.encoder import Encoder
from service.audio.spawner import Spawner
from service.errors import Unavailable
from service.storage.disk import DiskStorage
from service.uploads.preparation import preparing
from tests.support.procfs import descriptors
from tests.support.waiting import until


class _Refused(Exception):
    pass


@pytest.fixture
def storage(tmp_path: Path) -> DiskStorage:
    storage = DiskStorage(tmp_path / "records")
    storage.prepare()
    return storage


@pytest.fixture
def encoder(storage: DiskStorage) -> Encoder:
    confinement = Confinement((), (storage.draft_directory,))
    return Encoder("ffmpeg", max_duration_seconds=60, stall_seconds=1, spawner=Spawner(confinement))


@pytest.fixture(autouse=True)
async def _asyncio_has_no_complaint() -> AsyncIterator[None]:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    yield
    gc.collect()  # now it would complain of a task whose error nobody has asked for
    assert complaints == []


def drafts(storage: DiskStorage) -> list[str]:
    return [target for _, target in descriptors() if target.startswith(str(storage.draft_directory))]


def spawners() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "spawner"]


async def nothing_is_held(storage: DiskStorage) -> None:
    await until(lambda: not spawners())
    assert drafts(storage) == []


async def test_draft_and_thread_are_there_until_the_end_of_the_block(storage: DiskStorage, encoder: Encoder) -> None:
    async with preparing(storage, encoder, uuid4()) as preparation:
        prepared = await preparation
        assert len(drafts(storage)) == len(spawners()) == 1
        assert prepared.draft.fileno() > 0
    await nothing_is_held(storage)


@pytest.mark.parametrize("delay", [None, 0, 0.001, 0.1])
async def test_refused_upload_leaves_nothing(storage: DiskStorage, encoder: Encoder, delay: float | None) -> None:
    async def refuse() -> None:
        async with preparing(storage, encoder, uuid4()):
            if delay is not None:
                await asyncio.sleep(delay)
            raise _Refused

    with pytest.raises(_Refused):
        await refuse()
    await nothing_is_held(storage)


@pytest.mark.parametrize("delay", [0, 0.001, 0.1])
async def test_cancelled_upload_leaves_nothing(storage: DiskStorage, encoder: Encoder, delay: float) -> None:
    async def wait() -> None:
        async with preparing(storage, encoder, uuid4()):
            await asyncio.sleep(10)

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(delay)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    await nothing_is_held(storage)


async def test_draft_that_cannot_be_made_is_an_error_only_for_who_asks(storage: DiskStorage, encoder: Encoder) -> None:
    shutil.rmtree(storage.draft_directory.parent)
    async with preparing(storage, encoder, uuid4()) as preparation:
        await asyncio.wait({preparation})
    with pytest.raises(Unavailable):
        async with preparing(storage, encoder, uuid4()) as preparation:
            await preparation
    await nothing_is_held(storage)


async def test_thread_that_cannot_be_started_is_an_error(
    storage: DiskStorage, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with preparing(storage, encoder, uuid4()):  # the storage's own thread has started now
        pass
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(Unavailable):
        async with preparing(storage, encoder, uuid4()) as preparation:
            await preparation
    monkeypatch.undo()
    await nothing_is_held(storage)
