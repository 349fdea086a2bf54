"""The sweep removes files without a row and nothing else, even if it is given the wrong database."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from service.database.pool import Database, Query, open_database
from service.database.records import select_known_ids
from service.errors import Unavailable
from service.storage.disk import DiskStorage
from service.uploads.sweep import SweepPolicy, SweepReport, TooManyOrphansError, sweep

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

HOUR = timedelta(hours=1)
DAY_SECONDS = 24 * 3600

INSERT_USER = Query(
    "insert_user", "INSERT INTO users (username, token_sha256) VALUES ('ann', %(token_sha256)s) RETURNING id"
)
INSERT_RECORD = Query(
    "insert_record",
    """
    INSERT INTO records (id, user_id, filename, duration, sample_rate, channels, bit_rate, size, sha256)
    VALUES (%(id)s, %(user_id)s, 'talk.wav', 1, 44100, 2, 128000, 3, %(sha256)s)
    """,
)


@pytest.fixture
def storage(tmp_path: Path) -> DiskStorage:
    storage = DiskStorage(tmp_path)
    storage.prepare()
    return storage


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, max_connections=2) as database:
        yield database


@pytest.fixture
async def user_id(database: Database) -> int:
    row = await database.fetch_one(INSERT_USER, {"token_sha256": bytes(32)})
    assert row is not None
    return int(row["id"])


def policy(
    *, min_age: timedelta = HOUR, max_share: float = 0.1, dry_run: bool = False, force: bool = False
) -> SweepPolicy:
    return SweepPolicy(min_age=min_age, max_share=max_share, dry_run=dry_run, force=force)


async def insert_record(database: Database, user_id: int, record_id: UUID) -> None:
    await database.execute(INSERT_RECORD, {"id": record_id, "user_id": user_id, "sha256": bytes(32)})


def keep_file(storage: DiskStorage, *, age_seconds: float = DAY_SECONDS) -> UUID:
    """Keep a file without a row, as a crash before the row leaves it."""
    record_id, moment = uuid4(), time.time() - age_seconds
    path = storage.locate(record_id)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"mp3")
    os.utime(path, (moment, moment))
    return record_id


def keep_files(storage: DiskStorage, count: int) -> set[UUID]:
    return {keep_file(storage) for _ in range(count)}


async def keep_records(storage: DiskStorage, database: Database, user_id: int, count: int) -> set[UUID]:
    """Keep files with their rows."""
    ids = keep_files(storage, count)
    for record_id in ids:
        await insert_record(database, user_id, record_id)
    return ids


async def kept(storage: DiskStorage) -> set[UUID]:
    return {entry.id async for entry in storage.entries()}


async def test_only_orphans_are_removed(storage: DiskStorage, database: Database, user_id: int) -> None:
    records = await keep_records(storage, database, user_id, 20)
    orphans = keep_files(storage, 2)
    assert await sweep(storage, database, policy()) == SweepReport(files=22, orphans=2, removed=2)
    assert await kept(storage) == records
    assert not any(storage.locate(orphan).exists() for orphan in orphans)
    assert await sweep(storage, database, policy()) == SweepReport(files=20, orphans=0, removed=0)


async def test_rows_are_left_alone_even_without_a_file(storage: DiskStorage, database: Database, user_id: int) -> None:
    (lost,) = await keep_records(storage, database, user_id, 1)
    storage.locate(lost).unlink()
    await sweep(storage, database, policy(force=True))
    assert await select_known_ids(database, [lost]) == {lost}


@pytest.mark.parametrize(("age_seconds", "removed"), [(0, 0), (3500, 0), (3700, 1)])
async def test_young_orphans_are_spared(
    storage: DiskStorage, database: Database, age_seconds: float, removed: int
) -> None:
    keep_file(storage, age_seconds=0)
    orphan = keep_file(storage, age_seconds=age_seconds)
    assert await sweep(storage, database, policy()) == SweepReport(files=2, orphans=removed, removed=removed)
    assert (orphan in await kept(storage)) == (not removed)


async def test_dry_run_counts_and_removes_nothing(storage: DiskStorage, database: Database, user_id: int) -> None:
    files = await keep_records(storage, database, user_id, 3) | keep_files(storage, 5)
    with capture_logs() as logs:
        report = await sweep(storage, database, policy(dry_run=True))
    assert report == SweepReport(files=8, orphans=5, removed=0)
    assert await kept(storage) == files
    assert [entry["event"] for entry in logs] == ["orphan_found"] * 5


@pytest.mark.parametrize("dry_run", [True, False])
async def test_whole_id_is_never_logged(storage: DiskStorage, database: Database, dry_run: bool) -> None:
    """Whoever knows the id may download the record."""
    orphans = keep_files(storage, 3)
    with capture_logs() as logs:
        await sweep(storage, database, policy(dry_run=dry_run, force=True))
    assert len(logs) == 3
    for orphan in orphans:
        assert str(orphan) not in str(logs)
        assert orphan.hex not in str(logs)


@pytest.mark.parametrize(
    ("records", "orphans", "is_refused"),
    [
        (0, 1, True),  # a storage without any record is another database's
        (1, 1, False),  # beside others, a single file is never too many
        (0, 2, True),
        (17, 2, True),  # 2 of 19 are more than a tenth
        (18, 2, False),
        (27, 3, False),
        (26, 3, True),
    ],
)
async def test_too_many_orphans_are_refused(
    storage: DiskStorage, database: Database, user_id: int, records: int, orphans: int, is_refused: bool
) -> None:
    files = await keep_records(storage, database, user_id, records) | keep_files(storage, orphans)
    if is_refused:
        with pytest.raises(TooManyOrphansError, match=f"{orphans} of {records + orphans} files"):
            await sweep(storage, database, policy())
        assert await kept(storage) == files
    else:
        assert (await sweep(storage, database, policy())).removed == orphans


async def test_share_is_of_all_files_and_not_of_the_old_ones(storage: DiskStorage, database: Database) -> None:
    orphans = keep_files(storage, 2)
    young = {keep_file(storage, age_seconds=0) for _ in range(18)}
    assert await sweep(storage, database, policy()) == SweepReport(files=20, orphans=2, removed=2)
    assert await kept(storage) == young
    assert not young & orphans


@pytest.mark.parametrize(("max_share", "is_refused"), [(0.5, False), (0.49, True), (1.0, False), (0.0, True)])
async def test_share_can_be_chosen(
    storage: DiskStorage, database: Database, user_id: int, max_share: float, is_refused: bool
) -> None:
    await keep_records(storage, database, user_id, 2)
    keep_files(storage, 2)
    if is_refused:
        with pytest.raises(TooManyOrphansError):
            await sweep(storage, database, policy(max_share=max_share))
    else:
        assert (await sweep(storage, database, policy(max_share=max_share))).removed == 2


async def test_force_removes_any_number_of_orphans(storage: DiskStorage, database: Database, user_id: int) -> None:
    records = await keep_records(storage, database, user_id, 1)
    keep_files(storage, 5)
    assert await sweep(storage, database, policy(force=True)) == SweepReport(files=6, orphans=5, removed=5)
    assert await kept(storage) == records


async def test_forced_dry_run_is_a_dry_run(storage: DiskStorage, database: Database) -> None:
    files = keep_files(storage, 5)
    assert (await sweep(storage, database, policy(dry_run=True, force=True))).removed == 0
    assert await kept(storage) == files


async def test_empty_storage_can_be_swept(storage: DiskStorage, database: Database) -> None:
    assert await sweep(storage, database, policy()) == SweepReport(files=0, orphans=0, removed=0)


@pytest.mark.parametrize("batch", [1, 2, 7, 1000])
async def test_batches_leave_no_file_out(
    storage: DiskStorage, database: Database, user_id: int, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr("service.uploads.sweep._BATCH", batch)
    records = await keep_records(storage, database, user_id, 7)
    keep_files(storage, 7)
    assert await sweep(storage, database, policy(force=True)) == SweepReport(files=14, orphans=7, removed=7)
    assert await kept(storage) == records


async def test_uploads_that_run_meanwhile_lose_nothing(storage: DiskStorage, database: Database, user_id: int) -> None:
    old_orphans = keep_files(storage, 10)
    is_over = asyncio.Event()

    async def upload() -> UUID:
        record_id = keep_file(storage, age_seconds=0)
        await asyncio.sleep(0.01)  # the sweep may look at this moment
        await insert_record(database, user_id, record_id)
        return record_id

    async def upload_all_the_time() -> set[UUID]:
        ids = set[UUID]()
        while not is_over.is_set() or len(ids) < 20:
            ids.add(await upload())
        return ids

    uploading = [asyncio.create_task(upload_all_the_time()) for _ in range(3)]
    removed = 0
    for _ in range(5):
        removed += (await sweep(storage, database, policy(force=True, min_age=timedelta(minutes=1)))).removed
    is_over.set()
    uploaded = set[UUID]().union(*await asyncio.gather(*uploading))
    assert removed == len(old_orphans)
    assert await kept(storage) == uploaded
    assert await select_known_ids(database, uploaded) == uploaded


def foreign_files(storage: DiskStorage, orphan: UUID) -> Iterable[Path]:
    """Return files that are not ours but lie where ours do, some of them beside an orphan."""
    folder = storage.locate(orphan).parent
    root = folder.parent
    yield from (folder / "notes.txt", folder / "thesis.mp3", folder / f"{orphan}.mp3.bak", root / "README")
    yield from (root / f"{uuid4()}.mp3", root / "lost+found" / f"{uuid4()}.mp3", folder / "more" / f"{uuid4()}.mp3")


async def test_foreign_files_are_not_touched(storage: DiskStorage, database: Database) -> None:
    orphan = keep_file(storage)
    foreign = list(foreign_files(storage, orphan))
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("irreplaceable")
        os.utime(path, (0, 0))
    assert await sweep(storage, database, policy(force=True)) == SweepReport(files=1, orphans=1, removed=1)
    assert [path.read_text() for path in foreign] == ["irreplaceable"] * len(foreign)


async def test_foreign_files_are_not_counted_either(storage: DiskStorage, database: Database) -> None:
    for name in ("00/8ce9b845-4a4e-4e95-ac96-507f2e5840d0.mp3", "00/{00000000-4a4e-4e95-ac96-507f2e5840d0}"):
        path = storage.locate(UUID(int=0)).parents[1] / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        os.utime(path, (0, 0))
    report = await sweep(storage, database, policy(force=True))
    assert report == SweepReport(files=0, orphans=0, removed=0)


async def test_folder_with_the_name_of_a_file_does_not_stop_the_sweep(storage: DiskStorage, database: Database) -> None:
    folder = storage.locate(uuid4())
    folder.mkdir(parents=True)
    os.utime(folder, (0, 0))
    orphan = keep_file(storage)
    assert (await sweep(storage, database, policy(force=True))).removed == 1
    assert folder.is_dir()
    assert not storage.locate(orphan).exists()


async def test_nothing_is_removed_if_the_database_cannot_be_asked(storage: DiskStorage, database_url: str) -> None:
    files = keep_files(storage, 3)
    async with open_database(f"{database_url} options='-c search_path=nowhere'", max_connections=1) as database:
        with pytest.raises(Unavailable):
            await sweep(storage, database, policy(force=True))
    assert await kept(storage) == files
