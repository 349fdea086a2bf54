"""Runs a PostgreSQL of our own in the data directory, which is the default if no other is configured."""

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from service.database.cluster import OR_USE_YOURS, Cluster, EmbeddedError, Server, find_binaries, find_server
from service.ownership import explain

_SETTINGS = {
    "shared_buffers": "32MB",
    "io_method": "sync",
    "log_checkpoints": "off",
    # A statement that fails has the ids of records in it.
    "log_min_error_statement": "panic",
}
_STOP_IT = "Stop it with Ctrl-C, or set WAVEPRESS_DATA_DIR to another directory"


@contextmanager
def postgres(
    directory: Path,
    *,
    share: bool = False,
    options: Mapping[str, str] | None = None,
    handover_seconds: float = 10.0,
) -> Iterator[str]:
    """Run a PostgreSQL on `directory` for the length of the block and yield its DSN.

    The database is made first if `directory` does not exist or is empty; on failure nothing of it is left. With
    `share`, a server that already runs there is used and left alone. Otherwise that server has `handover_seconds` to
    end, because the server of a killed service needs a moment. `options` are further server settings. Enter from the
    main thread: the server ends when the thread that started it ends. Raises EmbeddedError.
    """
    directory = directory.resolve()
    with ExitStack() as stack:
        try:
            server = _enter(stack, directory, {**_SETTINGS, **(options or {})}, handover_seconds, share=share)
        except OSError as error:
            reason = explain(error, directory.parent)
            words = f"No PostgreSQL on {directory}: {error}. Mend this {OR_USE_YOURS}."
            raise EmbeddedError(reason or words) from error
        yield server.dsn


def leave_address(directory: Path, url: str) -> None:
    """Write the service's address where `require_no_service` finds it. The caller must be inside `postgres`."""
    _lock_path(directory.resolve()).write_text(f"{os.getpid()} {url}\n", encoding="utf-8")


def require_no_service(directory: Path) -> None:
    """Raise EmbeddedError with the process and the address of the service that runs on `directory`, if one does."""
    with suppress(FileNotFoundError), _lock_path(directory.resolve()).open(encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid, url = [*lock.read().split(), "", ""][:2]
            if url and _is_alive(pid):
                service = f"wavepress already runs on {directory.parent} (process {pid}, {url})"
                raise EmbeddedError(f"{service}. {_STOP_IT}, {OR_USE_YOURS}.") from None


def _enter(
    stack: ExitStack, directory: Path, settings: Mapping[str, str], handover_seconds: float, *, share: bool
) -> Server:
    binaries = find_binaries()  # first, so that nothing is made in vain
    is_new = not directory.parent.exists()
    claim = _claim(stack, directory, handover_seconds, share=share)
    if isinstance(claim, Server):
        return claim
    cluster = Cluster(directory, binaries, lock=claim)
    if not cluster.exists():
        try:
            cluster.make()
        except BaseException:
            _lock_path(directory).unlink(missing_ok=True)
            if is_new:
                with suppress(OSError):  # another process may have put something there
                    directory.parent.rmdir()
            raise
    return stack.enter_context(cluster.serve(settings))


def _claim(stack: ExitStack, directory: Path, handover_seconds: float, *, share: bool) -> int | Server:
    """Take the lock and return its descriptor, or return the server to share."""
    deadline = time.monotonic() + handover_seconds
    while True:
        lock = _try_lock(directory)
        server = find_server(directory)
        if lock is not None:
            if server is None:  # a server that was started by hand does not hold the lock
                stack.callback(os.close, lock)
                return lock
            os.close(lock)
        if share and server and server.dsn:
            return server
        if not share:
            require_no_service(directory)
        if time.monotonic() > deadline:
            user = f"PostgreSQL, process {server.pid}" if server else "another wavepress"
            raise EmbeddedError(f"{directory} is in use by {user}. {_STOP_IT}, {OR_USE_YOURS}.")
        time.sleep(0.01)


def _try_lock(directory: Path) -> int | None:
    """Take the lock and return its descriptor; None if another process holds it."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(_lock_path(directory), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_nlink:  # else a start that failed has just removed it
            os.ftruncate(lock, 0)  # removes the last service's address
            return lock
    os.close(lock)
    return None


def _lock_path(directory: Path) -> Path:
    return Path(f"{directory}.lock")


def _is_alive(pid: str) -> bool:
    """Return whether a process runs. A process that has ended but is not reaped does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
