"""What the storage in an S3-compatible store promises beyond the contract: it survives brief faults of the store."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import structlog
from aiohttp import web

from service.errors import Unavailable
from service.storage import StoredFile, file_name, s3_file, s3_location
from service.storage import s3 as s3_module
from service.storage.draft_files import Drafts
from service.storage.s3 import S3Storage
from tests.support import s3
from tests.support.s3 import FaultyStore

CONTENT = os.urandom(100_000)
LONG_CONTENT = os.urandom(11_000_000)  # three parts


@pytest.fixture(autouse=True)
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time limits and pauses that are short enough for a test."""
    monkeypatch.setattr(s3_location, "_REQUEST_SECONDS", 4)
    monkeypatch.setattr(s3_module, "_PART_BYTES", 5 * 2**20)
    monkeypatch.setattr(s3_module, "_RETRY_PAUSES_SECONDS", (0.01, 0.01))


@pytest.fixture
async def store(s3_endpoint_url: str) -> AsyncIterator[FaultyStore]:
    async with s3.faulty_store(s3_endpoint_url) as store:
        yield store


@pytest.fixture
def storage(store: FaultyStore, tmp_path: Path) -> S3Storage:
    return make(tmp_path, store.url)


def make(directory: Path, endpoint_url: str, **others: str) -> S3Storage:
    storage = S3Storage(s3.location(endpoint_url, uuid4().hex, **others).connect(), Drafts(directory / "drafts"))
    storage.prepare()
    return storage


async def keep(storage: S3Storage, content: bytes, record_id: UUID | None = None) -> tuple[UUID, StoredFile]:
    record_id = record_id or uuid4()
    async with storage.draft(record_id) as draft:
        os.write(draft.fileno(), content)
        return record_id, await draft.commit(lambda: None)


async def read(storage: S3Storage, record_id: UUID, start: int, stop: int) -> bytes:
    return b"".join([piece async for piece in storage.locate(record_id).read(start, stop)])


async def listed(storage: S3Storage) -> set[UUID]:
    return {entry.id async for entry in storage.entries()}


def puts_a_part(request: web.Request) -> bool:
    return request.method == "PUT" and "partNumber" in request.query


def completes(request: web.Request) -> bool:
    return request.method == "POST" and "uploadId" in request.query


def puts(request: web.Request) -> bool:
    return request.method == "PUT"


SPANS = [(0, 1), (0, 100), (99_999, 100_000), (1_048_575, 1_048_577), (0, 11_000_000), (5_000_000, 9_000_000)]


async def test_any_bytes_of_an_object_can_be_read(storage: S3Storage) -> None:
    record_id, _ = await keep(storage, LONG_CONTENT)
    for span in SPANS:
        assert await read(storage, record_id, *span) == LONG_CONTENT[slice(*span)], span


async def test_reader_that_keeps_up_is_brought_more_and_more_at_a_time(storage: S3Storage, store: FaultyStore) -> None:
    record_id, _ = await keep(storage, LONG_CONTENT)
    store.seen.clear()
    assert await read(storage, record_id, 0, 1_000_000) == LONG_CONTENT[:1_000_000]
    assert len(store.seen) == 6  # of 64, 128 and then 256 KiB


async def test_what_a_reader_that_pauses_has_not_taken_is_dropped_and_asked_for_again(
    storage: S3Storage, store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_file, "_PAUSE_SECONDS", 0)
    record_id, _ = await keep(storage, CONTENT)
    store.seen.clear()
    content, requests = b"", []
    async for piece in storage.locate(record_id).read(0, len(CONTENT)):
        content += piece
        requests.append(len(store.seen))
        await asyncio.sleep(0.001)
    assert content == CONTENT
    assert requests == list(range(1, len(requests) + 1))


async def test_readers_that_pause_do_not_keep_others_from_the_store(
    storage: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_file, "_TURN_SECONDS", 0.5)
    record_id, _ = await keep(storage, CONTENT)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3 * s3_module._READS_AT_A_TIME):  # noqa: SLF001
            pieces = await stack.enter_async_context(contextlib.aclosing(storage.locate(record_id).read(0, 100_000)))
            assert await anext(pieces)
        assert await read(storage, record_id, 0, len(CONTENT)) == CONTENT


async def test_read_that_waits_too_long_for_its_turn_is_an_outage(
    storage: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_file, "_TURN_SECONDS", 0.01)
    monkeypatch.setattr(storage, "_turns", asyncio.Semaphore(0))  # a store that stalls has them all
    with pytest.raises(Unavailable):
        await read(storage, uuid4(), 0, 10)


async def test_missing_object_is_distinguished_from_a_missing_store(storage: S3Storage, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await read(storage, uuid4(), 0, 10)
    for elsewhere in (make(tmp_path, "http://127.0.0.1:9"), make(tmp_path, storage_url(storage), bucket="no-bucket")):
        with pytest.raises(Unavailable):
            await read(elsewhere, uuid4(), 0, 10)


def storage_url(storage: S3Storage) -> str:
    endpoint = storage._store.config["endpoint"]  # noqa: SLF001 - the proxy's
    return str(endpoint)


@pytest.mark.parametrize(
    "others", [{"bucket": "no-bucket"}, {"secret_access_key": "wrong"}, {"access_key_id": "nobody"}]
)
async def test_wrong_bucket_or_credentials_are_an_outage_that_the_check_finds(
    store: FaultyStore, tmp_path: Path, others: dict[str, str]
) -> None:
    storage = make(tmp_path, store.url, **others)
    with pytest.raises(Unavailable):
        await storage.check()
    with pytest.raises(Unavailable):
        await keep(storage, CONTENT)
    assert list((tmp_path / "drafts").iterdir()) == []


async def test_check_passes_while_the_store_answers(storage: S3Storage) -> None:
    await storage.check()


async def test_store_that_is_down_is_an_outage_and_not_an_error_at_the_start(tmp_path: Path) -> None:
    storage = make(tmp_path, "http://127.0.0.1:9")
    for attempt in (storage.check(), keep(storage, CONTENT), listed(storage), storage.delete(uuid4())):
        with pytest.raises(Unavailable):
            await attempt


@pytest.mark.parametrize("fault", ["slow_down", "reset", "stall", "done_but_no_answer"])
@pytest.mark.parametrize(
    ("content", "is_hit"),
    [(CONTENT, puts), (LONG_CONTENT, puts_a_part), (LONG_CONTENT, completes)],
    ids=["put", "part", "complete"],
)
async def test_brief_fault_of_the_store_costs_nothing(
    storage: S3Storage, store: FaultyStore, fault: s3.Fault, content: bytes, is_hit: object
) -> None:
    store.faults, store.is_hit = [fault], is_hit  # type: ignore[assignment] # parametrized
    record_id, file = await keep(storage, content)
    assert store.faults == []
    assert file.size == len(content)
    assert await read(storage, record_id, 0, len(content)) == content
    assert await listed(storage) == {record_id}


async def test_store_that_says_slow_down_for_a_while_gets_the_file_in_the_end(
    storage: S3Storage, store: FaultyStore
) -> None:
    store.faults, store.is_hit = ["slow_down"] * 3, puts
    record_id, _ = await keep(storage, CONTENT)
    assert await read(storage, record_id, 0, len(CONTENT)) == CONTENT


async def test_upload_that_is_given_up_leaves_no_parts_and_no_object(storage: S3Storage, store: FaultyStore) -> None:
    store.faults, store.is_hit = ["slow_down"] * 100, puts_a_part
    with structlog.testing.capture_logs() as events, pytest.raises(Unavailable):
        await keep(storage, LONG_CONTENT)
    assert await listed(storage) == set()
    begun = sum(line == "POST uploads=" for line in store.seen)
    aborted = sum(line.startswith("DELETE uploadId=") for line in store.seen)
    assert (begun, aborted) == (3, 3)
    assert [event["event"] for event in events] == ["storage_retry", "storage_retry", "storage_failed"]


async def test_object_that_is_not_whole_is_put_again(
    storage: S3Storage, monkeypatch: pytest.MonkeyPatch, store: FaultyStore
) -> None:
    sizes = [1, None]
    size = s3_module.S3Draft._size  # noqa: SLF001

    async def lie(draft: s3_module.S3Draft) -> int | None:
        return sizes.pop() if sizes else await size(draft)

    monkeypatch.setattr(s3_module.S3Draft, "_size", lie)
    record_id, _ = await keep(storage, CONTENT)
    assert sum(line.startswith("PUT") for line in store.seen) == 3
    assert await read(storage, record_id, 0, len(CONTENT)) == CONTENT


async def test_no_log_line_has_a_whole_id(storage: S3Storage, store: FaultyStore) -> None:
    store.faults = ["slow_down"] * 1000
    record_id = uuid4()
    with structlog.testing.capture_logs() as events:
        for attempt in (keep(storage, CONTENT, record_id), read(storage, record_id, 0, 9), storage.delete(record_id)):
            with pytest.raises(Unavailable):
                await attempt
    assert any(str(record_id)[:8] in str(event) for event in events)
    assert not any(str(record_id) in str(event) for event in events)


async def test_objects_that_are_not_our_mp3s_are_left_alone(storage: S3Storage) -> None:
    record_id, _ = await keep(storage, CONTENT)
    foreign = ["notes.txt", f"{uuid4()}.mp3", f"zz/{uuid4()}.mp3", file_name(uuid4()).upper()]
    for name in foreign:
        await storage._store.put_async(name, b"not ours")  # noqa: SLF001
    assert await listed(storage) == {record_id}
