"""Runs the service as a user would: in a process of its own, with the embedded PostgreSQL and the defaults."""

import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

from benchmarks.client import Address, Connection, create_user
from tests.support import procfs

_ROOT = Path(__file__).parents[1]
# A benchmark has only one user, who runs all the uploads.
_ONE_FOR_MANY = {"WAVEPRESS_MAX_UPLOADS_PER_USER": "1000"}
_DEFAULTS: Mapping[str, str] = MappingProxyType({})
# Much more than either takes, because others may use the machine. The second is twice the default SHUTDOWN_SECONDS.
_START_SECONDS = 120
_STOP_SECONDS = 40
# `python -m service` without the packages that only tools of the tests bring, and that structlog would import: 3 MB.
_SERVICE = """
import runpy, sys
sys.modules["rich"] = sys.modules["greenlet"] = None
runpy.run_module("service", run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True, slots=True)
class Running:
    """A service that runs, one of its users, and the directory with its data."""

    pid: int
    address: Address
    data_dir: Path


@contextmanager
def running_service(
    directory: Path, settings: Mapping[str, str] = _DEFAULTS, arguments: Sequence[str] = ()
) -> Iterator[Running]:
    """Run a service for the length of the block. Its files are below `directory`, and are removed at the end.

    `settings` are further variables, without their prefix, and `arguments` those of `wavepress serve`. Raises
    RuntimeError with the service's log if it does not start, and if it has to be killed at the end.
    """
    with TemporaryDirectory(dir=directory) as data_dir, Path(data_dir, "log").open("w+") as log:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WAVEPRESS_")}
        _make_folders(Path(data_dir, "records"))
        environment |= {"WAVEPRESS_PORT": "0", "WAVEPRESS_DATA_DIR": data_dir} | _ONE_FOR_MANY
        environment |= {f"WAVEPRESS_{name}": value for name, value in settings.items()}
        command = [sys.executable, "-c", _SERVICE, "serve", *arguments]
        with subprocess.Popen(command, env=environment, cwd=_ROOT, stdout=log, stderr=log) as process:
            try:
                port = _announced_port(process, Path(log.name))
                yield Running(process.pid, new_user(port), Path(data_dir))
            finally:
                _stop(process, Path(log.name))


def _make_folders(records: Path) -> None:
    """Make the folders that are there once a service has kept some hundreds of recordings; each takes it up to 1 ms."""
    for number in range(256):
        (records / f"{number:02x}").mkdir(parents=True)


def _announced_port(process: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + _START_SECONDS
    while (found := re.search(r'"url": "http://127\.0\.0\.1:(\d+)"', log.read_text())) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the service did not start:\n{log.read_text()}")
        time.sleep(0.01)
    return int(found[1])


def _stop(process: subprocess.Popen[bytes], log: Path) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise RuntimeError(f"the service did not stop within {_STOP_SECONDS} s:\n{log.read_text()}") from None


def require_sight(service: Running) -> None:
    """Raise RuntimeError if this process may not read the service's memory and descriptors in /proc.

    `wavepress serve` hides them from its own user, too.
    """
    try:
        procfs.descriptor_count(service.pid)
        procfs.proportional_bytes(service.pid)
    except PermissionError:
        raise RuntimeError(
            "The service hides its memory and descriptors from its own user. Run this as root with CAP_SYS_PTRACE."
        ) from None


def new_user(port: int) -> Address:
    """Create a user of the service at that port."""
    with Connection(Address(port)) as connection:
        return Address(port, json.loads(create_user(connection))["token"])


def raise_descriptor_limit(count: int) -> None:
    """Allow this process, and the service that it starts, `count` descriptors. Raises RuntimeError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count:
        raise RuntimeError(f"{count} descriptors are needed and {hard} allowed: see `ulimit -Hn`")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
