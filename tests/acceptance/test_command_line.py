"""The command line as a person or a supervisor uses it: real processes that start, stop, are killed and start again."""

import http.client
import json
import os
import re
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from uuid import uuid4

import pytest

from service.database.embedded import postgres
from tests.support.database import query
from tests.support.ffmpegs import FFMPEG, FFMPEGS
from tests.support.mp3s import decode
from tests.support.procfs import read, still_running
from tests.support.serving import (
    RATE,
    Headers,
    Kept,
    Serving,
    half_upload,
    noise,
    run,
    serve,
)
from tests.support.terminal import on_terminal
from tests.support.tools import require_tool
from tests.support.waiting import wait_until

COMMANDS = ["serve", "migrate", "sweep", "doctor"]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A service that all tests of this module share; no test stops it."""
    with serve(tmp_path_factory.mktemp("shared") / "data") as running:
        yield running


def test_commands_shown_on_the_terminal_make_a_user_and_an_mp3(tmp_path: Path) -> None:
    require_tool("curl")
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "talk.wav").write_bytes(noise(seconds=1.5))
    with on_terminal(tmp_path / "data", "serve") as terminal:
        wait_until(lambda: "Ctrl-C" in terminal.text(), explain=terminal.text)
        lines = [line for line in terminal.text().splitlines() if "curl" in line]
        assert len(lines) == 3
        shell = subprocess.run(
            ["/bin/sh", "-e"], input="\n".join(lines), cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert (shell.returncode, shell.stderr) == (0, "")
        assert decode(tmp_path / "talk.mp3").shape == (int(1.5 * RATE), 2)
        wait_until(lambda: "GET /records/" in terminal.text(), explain=terminal.text)
    upload, download = (line for line in terminal.text().splitlines() if " /records/" in line)
    status = r"\d\d:\d\d:\d\d \S*20[01]\S* "
    assert re.fullmatch(
        rf"{status}PUT /records/talk\.wav  \S+ kB in [\d.]+ m?s → 1\.5 s of sound, [\d.]+ kB  user 1", upload
    )
    assert re.fullmatch(rf"{status}GET /records/[0-9a-f]{{8}}…\.mp3  [\d.]+ kB in [\d.]+ m?s", download)


def test_log_outside_a_terminal_is_only_json(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()  # empty, so that this is a first start
    with serve(tmp_path / "data") as serving:
        serving.create_user()
        serving.process.terminate()
        assert serving.process.wait(20) == 0
    events = [json.loads(line)["event"] for line in serving.log().splitlines()]
    assert events == ["migrated", "registration", "serving", "user_created", "request", "stopping", "stopped"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_the_service_in_order_and_keeps_its_data(tmp_path: Path, number: signal.Signals) -> None:
    with serve(tmp_path / "data") as first:
        user = first.create_user()
        kept = first.upload(user, noise(seconds=1))
        started = first.family()
        assert any("postgres" in read(pid, "cmdline") for pid, _ in started)
        # A terminal sends Ctrl-C to the whole group.
        os.killpg(first.process.pid, number) if number == signal.SIGINT else first.process.send_signal(number)
        assert first.process.wait(20) == 0, first.log()
        assert not still_running(started)
        assert "Traceback" not in first.log()
    with serve(tmp_path / "data") as second:
        assert second.has(kept)
        assert second.upload(user, noise(seconds=1)).id != kept.id


def upload_until_it_dies(serving: Serving, user: Headers, kept: list[Kept]) -> None:
    """Upload again and again until the service is gone; an answer other than 201 raises."""
    with suppress(OSError, http.client.HTTPException):
        while True:
            kept.append(serving.upload(user, noise(seconds=0.2)))


def test_service_killed_during_uploads_leaves_no_process_and_no_false_record(tmp_path: Path) -> None:
    kept: list[Kept] = []
    with ThreadPoolExecutor() as threads, serve(tmp_path / "data") as first:
        user = first.create_user()
        uploads = [threads.submit(upload_until_it_dies, first, user, kept) for _ in range(3)]
        with half_upload(first, user, noise()), half_upload(first, user, noise()):
            wait_until(lambda: len(kept) > 5, explain=first.log)
            started = first.family()
            first.process.kill()
            wait_until(lambda: not still_running(started), seconds=5, explain=lambda: still_running(started))
    for upload in uploads:
        upload.result()
    with serve(tmp_path / "data") as second:
        assert all(second.has(each) for each in kept)
        assert second.rows() <= second.files()
        swept = run(tmp_path / "data", "sweep", "--min-age-seconds", "0", "--force")
        assert swept.returncode == 0, swept.stderr
        assert second.files() == second.rows() >= {each.id for each in kept}


def test_sigterm_refuses_new_uploads_and_lets_the_running_one_end(tmp_path: Path) -> None:
    with serve(tmp_path / "data", SHUTDOWN_SECONDS=30) as first:
        user = first.create_user()
        started = first.family()
        with half_upload(first, user, noise()) as running:
            first.process.terminate()
            wait_until(lambda: '"stopping"' in first.log())
            status, headers, body = first.request("PUT", "/records/late.wav", noise(seconds=0.1), user)
            assert (status, headers["Connection"], json.loads(body)["code"]) == (503, "close", "shutting_down")
            assert int(headers["Retry-After"]) > 0
            running.send_rest()
            status, _, body = running.answer()
        assert status == 201
        assert first.process.wait(10) == 0
        assert not still_running(started)
    kept = Kept.of(body)
    with serve(tmp_path / "data") as second:
        assert second.has(kept)
        assert second.files() == second.rows() == {kept.id}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_second_signal_ends_a_running_upload_at_once(tmp_path: Path, number: signal.Signals) -> None:
    with serve(tmp_path / "data", SHUTDOWN_SECONDS=60) as serving:
        with half_upload(serving, serving.create_user(), noise()) as running:
            started = serving.family()
            serving.process.send_signal(number)
            wait_until(lambda: '"stopping"' in serving.log())
            assert serving.encoders()
            serving.process.send_signal(number)
            status, headers, body = running.answer()
        assert (status, headers["Connection"], json.loads(body)["code"]) == (503, "close", "shutting_down")
        assert serving.process.wait(10) == 0
        assert not still_running(started)
        assert not serving.files()
        assert "Traceback" not in serving.log()


def assert_plain_refusal(result: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    """Assert that the command exited with that status and one message on stderr that has those words."""
    said = [line for line in result.stderr.splitlines() if line.startswith("wavepress: ")]
    assert (result.returncode, result.stdout, len(said)) == (status, "", 1), result
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


@pytest.mark.parametrize(
    ("command", "setting", "value"),
    [
        ("serve", "PORT", "abc"),
        ("serve", "PUBLIC_URL", "nowhere"),
        ("migrate", "BIT_RATE", "128k"),
        ("sweep", "LOG_FORMAT", "xml"),
    ],
)
def test_bad_setting_is_named(tmp_path: Path, command: str, setting: str, value: str) -> None:
    result = run(tmp_path / "data", command, **{setting: value})
    assert_plain_refusal(result, 2, f"WAVEPRESS_{setting}", repr(value))
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("command", ["serve", "migrate", "sweep"])
def test_unreachable_database_is_reported(tmp_path: Path, command: str) -> None:
    result = run(tmp_path / "data", command, DATABASE_URL="postgresql://127.0.0.1:1/wavepress")
    assert_plain_refusal(result, 1, "database", "Connection refused")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("setting", ["PORT", "METRICS_PORT"])
def test_port_in_use_is_reported_and_nothing_is_created(tmp_path: Path, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run(tmp_path / "data", "serve", **{setting: port})
    assert_plain_refusal(result, 1, f"127.0.0.1:{port}", "in use", f"Set WAVEPRESS_{setting} to another")
    assert list(tmp_path.iterdir()) == []


def test_workers_that_do_not_start_leave_no_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    result = run(tmp_path / "data", "serve", "--workers", "2", FFMPEG="/nowhere/ffmpeg")
    assert_plain_refusal(result, 2, "/nowhere/ffmpeg")
    assert list(tmp_path.iterdir()) == []


def test_second_service_on_the_same_data_is_told_which_one_runs(serving: Serving) -> None:
    result = run(serving.data_dir, "serve", PORT=serving.port)
    place = f"(process {serving.process.pid}, http://127.0.0.1:{serving.port})"
    assert_plain_refusal(result, 1, f"wavepress already runs on {serving.data_dir} {place}", "WAVEPRESS_DATA_DIR")


def test_password_with_special_characters_is_used_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "hba.conf").write_text("local all wavepress trust\nlocal all all scram-sha-256\n")
    with postgres(tmp_path / "postgres", options={"fsync": "off", "hba_file": str(tmp_path / "hba.conf")}) as url:
        query(url, "CREATE ROLE ann LOGIN PASSWORD 'p@ss/w#rd'")
        query(url, "GRANT CREATE ON SCHEMA public TO ann")
        theirs = url.replace("user=wavepress", "user=ann")
        refused = run(tmp_path / "data", "migrate", DATABASE_URL=theirs, DATABASE_PASSWORD="wrong")  # noqa: S106
        assert_plain_refusal(refused, 1, "password authentication failed")
        taken = run(tmp_path / "data", "migrate", DATABASE_URL=theirs, DATABASE_PASSWORD="p@ss/w#rd")  # noqa: S106
        assert [event["event"] for event in logged(taken)] == ["migrated"]


def test_unknown_setting_is_named_at_the_start_and_by_doctor(tmp_path: Path) -> None:
    sentence = "WAVEPRESS_PROT is not a setting. Did you mean WAVEPRESS_PORT?"
    with serve(tmp_path / "data", PROT=9000) as serving:
        warning = json.loads(serving.log().splitlines()[0])
        assert (warning["level"], warning["detail"]) == ("warning", sentence)
        doctor = run(tmp_path / "data", "doctor", PROT=9000)
    assert (doctor.returncode, doctor.stdout.splitlines()[0]) == (1, f"settings: {sentence}")


def test_nearly_full_disk_is_reported_at_the_start_and_by_doctor_but_not_to_clients(tmp_path: Path) -> None:
    sentence = re.compile(
        rf"Only \d+ MiB are free in {tmp_path}/data/records/drafts; uploads are refused below 1099511627776 MiB "
        r"\(WAVEPRESS_MIN_FREE_BYTES\)\."
    )
    with serve(tmp_path / "data", MIN_FREE_BYTES=2**60) as serving:
        warnings = [json.loads(line) for line in serving.log().splitlines() if '"room"' in line]
        assert [sentence.fullmatch(warning["detail"]) is not None for warning in warnings] == [True]
        status, _, body = serving.request("PUT", "/records/talk.wav", noise(seconds=0.1), serving.create_user())
        assert (status, json.loads(body)["code"]) == (507, "storage_full")
        assert str(tmp_path) not in body.decode()
        doctor = run(tmp_path / "data", "doctor", MIN_FREE_BYTES=2**60)
    assert re.search(rf"^storage: {sentence.pattern}$", doctor.stdout, re.MULTILINE)


def test_data_directory_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    assert_plain_refusal(run(tmp_path / "data", "serve"), 1, str(tmp_path / "data"))


def test_missing_ffmpeg_is_reported(tmp_path: Path) -> None:
    result = run(tmp_path / "data", "serve", FFMPEG="/nowhere/ffmpeg")
    assert_plain_refusal(result, 2, "WAVEPRESS_FFMPEG", "/nowhere/ffmpeg")


def logged(result: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    """Return the log's lines; fails if the command printed anything else."""
    assert (result.returncode, result.stdout) == (0, "")
    return [json.loads(line) for line in result.stderr.splitlines()]


def test_migrate_logs_what_it_did_and_leaves_no_process(tmp_path: Path) -> None:
    (first,), (second,) = (logged(run(tmp_path / "data", "migrate")) for _ in range(2))
    assert first["event"] == "migrated"
    assert re.fullmatch(r"\['0001_\w+'(, '\d{4}_\w+')+\]", str(first["migrations"]))
    assert second["event"] == "schema_up_to_date"
    assert not [place for place in Path("/proc").glob("[0-9]*") if str(tmp_path) in read(int(place.name), "cmdline")]


def test_migrate_beside_a_running_service_leaves_it_running(serving: Serving) -> None:
    before = serving.family()
    with on_terminal(serving.data_dir, "migrate") as terminal:
        assert terminal.process.wait(20) == 0
        assert terminal.text() == "The schema is up to date.\n"
    assert serving.create_user()
    assert still_running(before) >= {process for process in before if "postgres" in read(process[0], "cmdline")}


def make_orphan(data_dir: Path, age_seconds: float = 7200) -> Path:
    """Leave a file as a crash between its commit and its row would leave it."""
    record_id = uuid4()
    orphan = data_dir / "records" / record_id.hex[:2] / f"{record_id}.mp3"
    orphan.parent.mkdir(parents=True, exist_ok=True)
    orphan.write_bytes(b"sound")
    os.utime(orphan, (time.time() - age_seconds,) * 2)
    return orphan


def test_sweep_beside_a_running_service_removes_files_without_a_record(serving: Serving) -> None:
    kept = serving.upload(serving.create_user(), noise(seconds=0.1))
    orphan, young = make_orphan(serving.data_dir), make_orphan(serving.data_dir, age_seconds=0)
    rehearsal = run(serving.data_dir, "sweep", "--dry-run")
    assert re.fullmatch(r"\d+ files, 1 without a record, 1 would be removed\.\n", rehearsal.stdout), rehearsal
    assert orphan.exists()
    swept = run(serving.data_dir, "sweep")
    assert re.fullmatch(r"\d+ files, 1 without a record, 1 removed\.\n", swept.stdout), swept
    assert (orphan.exists(), young.exists()) == (False, True)
    assert serving.has(kept)
    young.unlink()


def test_sweep_without_a_service_refuses_many_until_it_is_forced(tmp_path: Path) -> None:
    run(tmp_path, "migrate")
    orphans = [make_orphan(tmp_path), make_orphan(tmp_path)]
    assert_plain_refusal(run(tmp_path, "sweep"), 1, "2 of 2 files", "--force")
    assert all(orphan.exists() for orphan in orphans)
    assert run(tmp_path, "sweep", "--force").stdout == "2 files, 2 without a record, 2 removed.\n"
    assert not any(orphan.exists() for orphan in orphans)


def test_doctor_beside_a_running_service_finds_all_well(serving: Serving) -> None:
    result = run(serving.data_dir, "doctor")
    verdicts = {line.rpartition(": ")[2] for line in result.stdout.splitlines() if not line.startswith("    ")}
    assert (result.returncode, verdicts) == (0, {"ok"}), result


def test_doctor_says_how_fast_each_ffmpeg_encodes(tmp_path: Path) -> None:
    run(tmp_path, "migrate")
    lines = run(tmp_path, "doctor").stdout.splitlines()
    about = [line for line in lines[lines.index("encoder: ok") + 1 :] if line.startswith("    ")]
    assert re.fullmatch(rf"    {re.escape(FFMPEG)} \(.+\) encodes \d+ x real time on one core, and is used", about[0])
    for path in FFMPEGS[1:]:
        assert any(line.startswith(f"    {path} (") and "x real time" in line for line in about), about


def test_doctor_gives_advice_on_a_failed_check(tmp_path: Path) -> None:
    run(tmp_path, "migrate")
    result = run(tmp_path, "doctor", FFMPEG="/etc/passwd")
    assert result.returncode == 1
    assert re.search(r"^encoder: (?!ok).+\n    .*WAVEPRESS_FFMPEG", result.stdout, re.MULTILINE), result
    assert "Traceback" not in result.stderr


def test_help_names_the_commands(tmp_path: Path) -> None:
    result = run(tmp_path, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    for command in COMMANDS:
        assert re.search(rf"^\s+{command}\s+\w+", result.stdout, re.MULTILINE)
    assert run(tmp_path).stderr == result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_has_an_example_of_it(tmp_path: Path, command: str) -> None:
    result = run(tmp_path, command, "--help")
    assert re.search(rf"^examples?:\n  .*wavepress {command}\b", result.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Settings come from the environment; docs/settings.md lists them."),
        (("dance",), "invalid choice: 'dance'"),
        (
            ("sweep", "--min-age-seconds", "old"),
            "must be a number of at least 0, in seconds, such as 3600 (it is 'old')",
        ),
        (
            ("sweep", "--min-age-seconds", "nan"),
            "must be a number of at least 0, in seconds, such as 3600 (it is 'nan')",
        ),
        (("sweep", "--min-age-seconds", "-1"), "must be a number of at least 0, in seconds, such as 3600 (it is '-1')"),
        (("sweep", "--max-share", "2"), "must be a number from 0 to 1, such as 0.1 (it is '2')"),
        (("serve", "--workers", "0"), "must be a whole number of at least 1, such as 4 (it is '0')"),
        (("serve", "--workers", "two"), "must be a whole number of at least 1, such as 4 (it is 'two')"),
        (("users", "disable", "ann"), "must be a number that `wavepress users list` shows (it is 'ann')"),
        (("records", "list", "ann"), "must be a number that `wavepress users list` shows (it is 'ann')"),
        (("records", "delete", "7"), "must be an id that `wavepress records list` shows (it is '7')"),
    ],
)
def test_wrong_use_exits_with_2_the_usage_and_what_is_right(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    result = run(tmp_path, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("usage: wavepress")
    assert said in result.stderr.splitlines()[-1]


def test_doctor_runs_every_check(tmp_path: Path, database_url: str) -> None:
    result = run(tmp_path / "data", "doctor", DATABASE_URL=database_url)
    checks = [line for line in result.stdout.splitlines() if not line.startswith("    ")]
    names = ["settings", "database", "storage", "recordings", "encoder", "public URL"]
    assert (result.returncode, checks) == (0, [f"{name}: ok" for name in names])


def test_doctor_fails_with_advice(tmp_path: Path, empty_database_url: str) -> None:
    result = run(
        tmp_path / "data",
        "doctor",
        DATABASE_URL=empty_database_url,
        MIN_FREE_BYTES=str(2**60),
        HOST="0.0.0.0",  # noqa: S104 - nothing is bound
    )
    assert result.returncode == 1
    assert "wavepress migrate" in result.stdout
    assert "WAVEPRESS_DATA_DIR" in result.stdout
    assert "WAVEPRESS_PUBLIC_URL" in result.stdout
    assert "encoder: ok" in result.stdout


def test_service_raises_its_descriptor_limit_to_the_hard_limit(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        with serve(tmp_path) as serving:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert resource.prlimit(serving.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_service_does_not_migrate_if_it_is_told_not_to(tmp_path: Path) -> None:
    with serve(tmp_path, "--no-migrate") as serving, closing(serving.connect()) as connection:
        connection.request("GET", "/health/ready")
        ready = json.loads(connection.getresponse().read())
    assert "Run: wavepress migrate" in ready["detail"]
