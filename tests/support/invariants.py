"""What must hold after every fault: nothing is lost or left behind, and a client's fault logs no error."""

import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable
from uuid import UUID

import pytest
import structlog

from service.web.app_keys import ADMISSION, DATABASE, LEASES
from tests.support import wavs
from tests.support.client import Service
from tests.support.database import query
from tests.support.procfs import children, descriptors
from tests.support.waiting import until

GOOD_WAV = wavs.wav(wavs.chirp(4410, 44100, 1), sample_rate=44100, channels=1)
_PATIENCE_SECONDS = 30.0


@contextlib.asynccontextmanager
async def invariants_hold(
    service: Service, caplog: pytest.LogCaptureFixture, *, errors_logged: bool = False
) -> AsyncIterator[None]:
    """Check, after the block, that the service is as it was before it and still works.

    Set `errors_logged` if the fault is not the client's: only then may there be lines at ERROR. A traceback is never
    allowed.
    """
    await _settled(lambda: not service.app[ADMISSION].running)
    children_before, descriptors_before = children(), descriptors()
    with structlog.testing.capture_logs() as events, caplog.at_level(logging.WARNING):
        yield
        await _settled(lambda: not service.app[ADMISSION].running and not service.app[ADMISSION].waiting)
        # An upload gives its lease back when it runs no more. No answer would show for a minute that it does not.
        leases = service.app[LEASES]
        await _settled(lambda: not leases._held and not leases._owed)  # noqa: SLF001
        await _settled(lambda: children() <= children_before)
        await _settled(lambda: len(descriptors()) <= len(descriptors_before))
        await _settled(lambda: not [thread for thread in threading.enumerate() if thread.name == "spawner"])
    _check_logs(events, caplog, errors_logged=errors_logged)
    assert _drafts(service) == []
    _check_rows_and_files(service)
    _check_permits(service)
    account = await service.create_user("after the fault")
    assert (await service.upload(account, GOOD_WAV)).status == 201


def logged_requests() -> list[structlog.typing.EventDict]:
    """Return the request lines that were logged since `invariants_hold` began."""
    (capture,) = structlog.get_config()["processors"]
    return [event for event in capture.entries if event["event"] == "request"]


async def _settled(condition: Callable[[], bool]) -> None:
    """Wait until the service has finished its work in the background."""
    await until(condition, _PATIENCE_SECONDS, explain=lambda: (children(), descriptors()))


def _drafts(service: Service) -> list[str]:
    folder = service.data_dir / "records" / "drafts"
    open_ones = [target for _, target in descriptors() if target.startswith(str(folder))]
    return open_ones + [str(path) for path in folder.glob("*")]


def _check_rows_and_files(service: Service) -> None:
    files = {(UUID(path.stem), path.stat().st_size) for path in service.files()}
    assert files == {
        (UUID(str(record_id)), size) for record_id, size in query(service.database_url, "SELECT id, size FROM records")
    }
    sums = "SELECT id, record_count, byte_count FROM users"
    counted = """
        SELECT users.id, count(records.id), coalesce(sum(records.size), 0)::bigint
        FROM users LEFT JOIN records ON records.user_id = users.id GROUP BY users.id
    """
    assert sorted(query(service.database_url, sums)) == sorted(query(service.database_url, counted))


def _check_permits(service: Service) -> None:
    assert not service.app[ADMISSION].running
    assert not service.app[ADMISSION].waiting
    assert query(service.database_url, "SELECT * FROM upload_leases WHERE expires_at > now()") == []
    assert not service.app[DATABASE]._pool.permits.locked()  # noqa: SLF001 - no answer would show it


def _check_logs(
    events: list[structlog.typing.EventDict], caplog: pytest.LogCaptureFixture, *, errors_logged: bool
) -> None:
    errors = [event for event in events if event["log_level"] in {"error", "critical", "exception"}]
    assert errors_logged or not errors, errors
    tracebacks = [event for event in events if "exc_info" in event]
    assert not tracebacks, tracebacks
    records = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert errors_logged or not records, records
