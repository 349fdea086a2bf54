"""Removes files that no row names: what a crash between the file's commit and its row leaves behind."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog

from service.database.pool import Database
from service.database.records import select_known_ids
from service.storage import Entry, Storage

log = structlog.stdlib.get_logger()

_BATCH = 1000


class TooManyOrphansError(Exception):
    """So many files without a row look like a database that was restored, not like crashes."""


@dataclass(frozen=True, slots=True)
class SweepPolicy:
    """Which files may go.

    Only those older than `min_age`; not more than one file and than `max_share` of all, unless `force`; none at
    all with `dry_run`, which only logs them.
    """

    min_age: timedelta
    max_share: float
    dry_run: bool
    force: bool


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What a sweep saw and did: `removed` of `orphans` among `files`."""

    files: int
    orphans: int
    removed: int


async def sweep(storage: Storage, database: Database, policy: SweepPolicy) -> SweepReport:
    """Remove every file that no row names, as the policy has it.

    Safe beside a running service: an upload's row follows its file within seconds. Raises TooManyOrphansError,
    with nothing removed, where that would be too many.
    """
    before = datetime.now(UTC) - policy.min_age
    files, orphans = 0, list[UUID]()
    async for batch in _batches(storage):
        files += len(batch)
        old = [entry.id for entry in batch if entry.modified_at < before]
        known = await select_known_ids(database, old)
        orphans += [record_id for record_id in old if record_id not in known]
    if len(orphans) > max(1, policy.max_share * files) and not (policy.force or policy.dry_run):
        raise TooManyOrphansError(
            f"{len(orphans)} of {files} files have no record, which looks like another database than theirs. "
            "Nothing was removed. Look at them with --dry-run; remove them with --force."
        )
    for record_id in orphans:
        log.info("orphan_found" if policy.dry_run else "orphan_removed", record=_shortened(record_id))
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


def _shortened(record_id: UUID) -> str:
    """Shorten an id for the log: the whole of it is the permission to download it."""
    return f"{record_id.hex[:8]}..."
