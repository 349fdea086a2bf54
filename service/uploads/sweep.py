"""Removes files without a row, which a crash between a file's commit and its row leaves behind."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog

from service.database.pool import Database
from service.database.records import select_known_ids
from service.ids import shortened
from service.storage import Entry, Storage

log = structlog.stdlib.get_logger()

_BATCH = 1000


class TooManyOrphansError(Exception):
    """So many files have no row that the database is probably not theirs, or was restored from a backup."""


@dataclass(frozen=True, slots=True)
class SweepPolicy:
    """Which files a sweep may remove.

    It removes only files older than `min_age`. Without `force`, it removes nothing if more than one file and more than
    `max_share` of all files would go. With `dry_run`, it only logs them.
    """

    min_age: timedelta
    max_share: float
    dry_run: bool
    force: bool


@dataclass(frozen=True, slots=True)
class SweepReport:
    """How many files a sweep found, how many of them have no row, and how many it removed."""

    files: int
    orphans: int
    removed: int


async def sweep(storage: Storage, database: Database, policy: SweepPolicy) -> SweepReport:
    """Remove every file without a row, if the policy allows it.

    This is safe beside a running service, because an upload's row follows its file within seconds. Raises
    TooManyOrphansError, before anything is removed, if there are too many.
    """
    before = datetime.now(UTC) - policy.min_age
    files, orphans = 0, list[UUID]()
    async for batch in _batches(storage):
        files += len(batch)
        old = [entry.id for entry in batch if entry.modified_at < before]
        known = await select_known_ids(database, old)
        orphans += [record_id for record_id in old if record_id not in known]
    # A storage of which nothing is known belongs to another database, even if it has one file only.
    most = max(1, policy.max_share * files) if len(orphans) < files else 0
    if len(orphans) > most and not (policy.force or policy.dry_run):
        raise TooManyOrphansError(
            f"{len(orphans)} of {files} files have no record: this database is probably not theirs. "
            "Nothing was removed. List them with --dry-run; remove them with --force."
        )
    for record_id in orphans:
        log.info("orphan_found" if policy.dry_run else "orphan_removed", record=shortened(str(record_id)))
        if not policy.dry_run:
            await storage.delete(record_id)
    return SweepReport(files=files, orphans=len(orphans), removed=0 if policy.dry_run else len(orphans))


async def _batches(storage: Storage) -> AsyncIterator[list[Entry]]:
    batch = list[Entry]()
    async for entry in storage.entries():
        batch.append(entry)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    yield batch
