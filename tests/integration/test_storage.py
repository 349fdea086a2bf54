"""The contract of every storage, and what the storage on a disk promises beyond it."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from service.errors import ServiceError, StorageFull, Unavailable
from service.storage import Draft, Entry, Storage, StoredFile, file_name
from service.storage.disk import DiskStorage
from service.storage.draft_files import Drafts
from service.storage.s3 import S3Storage
from tests.support import s3
from tests.support.procfs import descriptors
from tests.support.programs import python
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOON_SECONDS = 30.0


@dataclass(frozen=True)
class Kept:
    """A storage, and a way to look into it that does not use it."""

    storage: Storage
    read: Callable[[UUID], bytes | None]
    leftovers: Callable[[], list[str]]


def disk(directory: Path, *, nameless: bool) -> Kept:
    storage = DiskStorage(directory, nameless=nameless)
    storage.prepare()

    def read(record_id: UUID) -> bytes | None:
        path = storage.locate(record_id)
        return path.read_bytes() if path.exists() else None

    def leftovers() -> list[str]:
        return [str(path) for path in (directory / "drafts").iterdir()]

    return Kept(storage, read, leftovers)


def s3_storage(directory: Path, endpoint_url: str) -> Kept:
    store = s3.location(endpoint_url, uuid4().hex).connect()
    storage = S3Storage(store, Drafts(directory / "drafts"))
    storage.prepare()

    def read(record_id: UUID) -> bytes | None:
        try:
            return bytes(store.get(file_name(record_id)).bytes())
        except FileNotFoundError:
            return None

    def leftovers() -> list[str]:
        return [str(path) for path in (directory / "drafts").iterdir()]

    return Kept(storage, read, leftovers)


@pytest.fixture(params=["nameless_drafts", "named_drafts", "s3"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    """Each kind of storage, empty; a new kind is added here."""
    if request.param == "s3":
        return s3_storage(tmp_path / "records", request.getfixturevalue("s3_endpoint_url"))
    return disk(tmp_path / "records", nameless=request.param == "nameless_drafts")


def write(draft: Draft, content: bytes) -> None:
    """Write as an encoder does: in pieces, and the header is filled in at the end."""
    with os.fdopen(os.dup(draft.fileno()), "r+b", buffering=0) as file:
        file.write(bytes(min(len(content), 10)))
        for start in range(10, len(content), 70_000):
            file.write(content[start : start + 70_000])
        file.seek(0)
        file.write(content[:10])


async def keep(storage: Storage, record_id: UUID, content: bytes) -> StoredFile:
    async with storage.draft(record_id) as draft:
        write(draft, content)
        return await draft.commit(lambda: None)


async def entries(storage: Storage) -> list[Entry]:
    return [entry async for entry in storage.entries()]


async def ids(storage: Storage) -> set[UUID]:
    return {entry.id for entry in await entries(storage)}


def file_descriptors() -> set[int]:
    """Return the descriptors of files only, because a client keeps connections open for the next request."""
    return {number for number, target in descriptors() if target.startswith("/")}


async def assert_nothing_left(kept: Kept, record_id: UUID) -> None:
    assert kept.read(record_id) is None
    assert kept.leftovers() == []
    assert await ids(kept.storage) == set()


@pytest.mark.parametrize("size", [1, 9, 70_000, 3_000_001])
async def test_commit_keeps_exactly_what_was_written(kept: Kept, size: int) -> None:
    record_id, content = uuid4(), os.urandom(size)
    before = file_descriptors()
    file = await keep(kept.storage, record_id, content)
    assert file == StoredFile(size=size, sha256=hashlib.sha256(content).hexdigest())
    assert kept.read(record_id) == content
    assert kept.leftovers() == []
    assert file_descriptors() == before


async def test_draft_is_seen_by_nobody_until_it_is_committed(kept: Kept) -> None:
    record_id = uuid4()
    async with kept.storage.draft(record_id) as draft:
        write(draft, b"unfinished")
        assert kept.read(record_id) is None
        assert await ids(kept.storage) == set()
        await draft.commit(lambda: None)
        assert kept.read(record_id) == b"unfinished"
        assert await ids(kept.storage) == {record_id}


async def test_drafts_descriptor_can_be_read_and_sought_in(kept: Kept) -> None:
    async with kept.storage.draft(uuid4()) as draft:
        write(draft, b"0123456789abc")
        assert os.pread(draft.fileno(), 3, 10) == b"abc"
        assert not os.get_inheritable(draft.fileno())


async def test_draft_that_is_not_committed_leaves_nothing(kept: Kept) -> None:
    record_id, before = uuid4(), file_descriptors()
    async with kept.storage.draft(record_id) as draft:
        write(draft, bytes(100_000))
    await assert_nothing_left(kept, record_id)
    assert file_descriptors() == before


async def test_draft_left_by_an_exception_leaves_nothing(kept: Kept) -> None:
    record_id, before = uuid4(), file_descriptors()

    async def fail() -> None:
        async with kept.storage.draft(record_id) as draft:
            write(draft, bytes(100_000))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    await assert_nothing_left(kept, record_id)
    assert file_descriptors() == before


async def test_draft_left_by_a_cancellation_leaves_nothing(kept: Kept) -> None:
    record_id, before = uuid4(), file_descriptors()
    written = asyncio.Event()

    async def wait() -> None:
        async with kept.storage.draft(record_id) as draft:
            write(draft, bytes(100_000))
            written.set()
            await asyncio.sleep(60)

    writing = asyncio.create_task(wait())
    await written.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await assert_nothing_left(kept, record_id)
    assert file_descriptors() == before


async def test_exception_after_the_commit_leaves_the_file(kept: Kept) -> None:
    record_id = uuid4()

    async def fail() -> None:
        async with kept.storage.draft(record_id) as draft:
            write(draft, b"finished")
            await draft.commit(lambda: None)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert kept.read(record_id) == b"finished"


async def test_drafts_at_the_same_time_do_not_mix(kept: Kept) -> None:
    contents = {uuid4(): os.urandom(100_000) for _ in range(20)}
    files = await asyncio.gather(*(keep(kept.storage, *item) for item in contents.items()))
    assert [file.sha256 for file in files] == [hashlib.sha256(content).hexdigest() for content in contents.values()]
    assert {record_id: kept.read(record_id) for record_id in contents} == contents


async def test_entries_are_the_kept_files_with_their_times(kept: Kept) -> None:
    begin = datetime.now(UTC) - timedelta(seconds=2)
    assert await entries(kept.storage) == []
    kept_ids = {uuid4() for _ in range(20)}
    for record_id in kept_ids:
        await keep(kept.storage, record_id, b"content")
    found = await entries(kept.storage)
    assert len(found) == 20
    assert {entry.id for entry in found} == kept_ids
    assert all(begin <= entry.modified_at <= datetime.now(UTC) + timedelta(seconds=2) for entry in found)


async def test_entries_may_come_and_go_meanwhile(kept: Kept) -> None:
    kept_ids = [uuid4() for _ in range(30)]
    for record_id in kept_ids:
        await keep(kept.storage, record_id, b"content")
    found = set()
    async for entry in kept.storage.entries():
        found.add(entry.id)
        if len(kept_ids) > 10:
            await kept.storage.delete(kept_ids.pop())
            await keep(kept.storage, uuid4(), b"new")
    assert found >= set(kept_ids)


async def test_deleted_file_is_gone_and_can_be_deleted_again(kept: Kept) -> None:
    one, other = uuid4(), uuid4()
    await keep(kept.storage, one, b"one")
    await keep(kept.storage, other, b"other")
    await kept.storage.delete(one)
    await kept.storage.delete(one)
    assert await ids(kept.storage) == {other}
    assert kept.read(one) is None
    assert kept.read(other) == b"other"


# The rest is about the disk only.

both_drafts = pytest.mark.parametrize("nameless", [True, False], ids=["nameless", "named"])


@both_drafts
async def test_kept_file_is_never_replaced(tmp_path: Path, *, nameless: bool) -> None:
    kept, record_id = disk(tmp_path, nameless=nameless), uuid4()
    await keep(kept.storage, record_id, b"first")
    with pytest.raises(Unavailable):
        await keep(kept.storage, record_id, b"second")
    assert kept.read(record_id) == b"first"
    assert kept.leftovers() == []


def prepared(directory: Path, *, nameless: bool = True) -> DiskStorage:
    storage = DiskStorage(directory, nameless=nameless)
    storage.prepare()
    return storage


def test_file_is_kept_in_the_folder_of_its_first_two_digits(tmp_path: Path) -> None:
    record_id = UUID("8CE9B845-4a4e-4e95-ac96-507f2e5840d0")
    path = DiskStorage(tmp_path).locate(record_id)
    assert path == tmp_path / "8c" / "8ce9b845-4a4e-4e95-ac96-507f2e5840d0.mp3"


@both_drafts
async def test_kept_file_is_private_and_has_one_name(tmp_path: Path, *, nameless: bool) -> None:
    storage, record_id = prepared(tmp_path, nameless=nameless), uuid4()
    await keep(storage, record_id, b"content")
    status = storage.locate(record_id).stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_nlink == 1


async def test_preparing_again_keeps_the_files(tmp_path: Path) -> None:
    record_id = uuid4()
    await keep(prepared(tmp_path / "a" / "b"), record_id, b"content")
    assert await ids(prepared(tmp_path / "a" / "b")) == {record_id}


async def test_file_system_without_nameless_files_gets_named_drafts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, record_id = prepared(tmp_path), uuid4()
    open_file = os.open

    def refuse(path: str, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return open_file(path, flags, *arguments, **options)

    monkeypatch.setattr("os.open", refuse)
    async with storage.draft(record_id) as draft:
        write(draft, b"content")
        assert len(list((tmp_path / "drafts").iterdir())) == 1
        await draft.commit(lambda: None)
    assert storage.locate(record_id).read_bytes() == b"content"
    assert list((tmp_path / "drafts").iterdir()) == []


@dataclass
class Calls:
    """The calls that make a file durable, in order: the name of each call and its inode."""

    made: list[tuple[str, int]]

    @classmethod
    def watch(cls, monkeypatch: pytest.MonkeyPatch, failures: dict[int, int] | None = None) -> Calls:
        """Record the calls, and let the n-th one fail with the given error."""
        calls, fsync, link = cls([]), os.fsync, os.link

        def watched_fsync(descriptor: int) -> None:
            calls.made.append(("sync", os.fstat(descriptor).st_ino))
            calls.fail_if_due(failures)
            fsync(descriptor)

        def watched_link(source: Any, target: Any, **options: Any) -> None:
            calls.made.append(("link", Path(source).stat().st_ino))
            calls.fail_if_due(failures)
            link(source, target, **options)

        monkeypatch.setattr("os.fsync", watched_fsync)
        monkeypatch.setattr("os.link", watched_link)
        return calls

    def fail_if_due(self, failures: dict[int, int] | None) -> None:
        if failures and (error := failures.get(len(self.made))):
            raise OSError(error, os.strerror(error))


@both_drafts
async def test_file_is_on_the_disk_before_it_has_a_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, nameless: bool
) -> None:
    storage, record_id = prepared(tmp_path, nameless=nameless), uuid4()
    path = storage.locate(record_id)
    calls = Calls.watch(monkeypatch)
    await keep(storage, record_id, b"content")
    file, folder = inode(path), inode(path.parent)
    assert calls.made == [("sync", file), ("sync", inode(tmp_path)), ("link", file), ("sync", folder)]


def inode(path: Path) -> int:
    return path.stat().st_ino


@both_drafts
async def test_name_of_a_folder_that_another_has_made_is_on_the_disk_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, nameless: bool
) -> None:
    """The other process may have been killed, or may be about to sync it."""
    storage, record_id = prepared(tmp_path, nameless=nameless), uuid4()
    storage.locate(record_id).parent.mkdir()
    calls = Calls.watch(monkeypatch)
    await keep(storage, record_id, b"content")
    assert ("sync", inode(tmp_path)) in calls.made


@both_drafts
@pytest.mark.parametrize("call", [1, 2, 3, 4], ids=["sync_file", "sync_directory", "link", "sync_folder"])
@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EROFS, Unavailable),
        (errno.EIO, Unavailable),
    ],
    ids=["full", "over_quota", "read_only", "broken"],
)
async def test_commit_that_fails_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    nameless: bool,
    call: int,
    number: int,
    error: type[ServiceError],
) -> None:
    kept, record_id, before = disk(tmp_path, nameless=nameless), uuid4(), file_descriptors()
    Calls.watch(monkeypatch, failures={call: number})
    with pytest.raises(error):
        await keep(kept.storage, record_id, b"content")
    await assert_nothing_left(kept, record_id)
    assert file_descriptors() == before


@both_drafts
async def test_directory_that_vanished_is_an_outage(tmp_path: Path, *, nameless: bool) -> None:
    storage, record_id, before = prepared(tmp_path / "records", nameless=nameless), uuid4(), file_descriptors()
    async with storage.draft(record_id) as draft:
        write(draft, b"content")
        shutil.rmtree(tmp_path / "records")
        with pytest.raises(Unavailable):
            await draft.commit(lambda: None)
    with pytest.raises(Unavailable):
        await keep(storage, record_id, b"content")
    with pytest.raises(Unavailable):
        await storage.require_room()
    await storage.delete(record_id)
    assert file_descriptors() == before


async def test_outage_is_logged_without_the_whole_id(tmp_path: Path) -> None:
    storage, record_id = DiskStorage(tmp_path), uuid4()
    storage.locate(record_id).mkdir(parents=True)  # the disk's error names what it cannot remove
    with capture_logs() as logs, pytest.raises(Unavailable):
        await storage.delete(record_id)
    (line,) = logs
    assert line["event"] == "storage_failed"
    assert f"{record_id.hex[:8]}….mp3" in line["reason"]
    assert str(record_id) not in line["reason"]


@pytest.mark.parametrize("min_free_bytes", [0, 1, 2**62])
async def test_disk_must_have_as_much_room_as_was_set(tmp_path: Path, min_free_bytes: int) -> None:
    storage = DiskStorage(tmp_path, min_free_bytes=min_free_bytes)
    storage.prepare()
    if min_free_bytes < 2**62:
        await storage.require_room()
    else:
        with pytest.raises(StorageFull):
            await storage.require_room()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for a few files, which only root can make."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=300", "none", str(tmp_path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield tmp_path
    unmount = ["umount", str(tmp_path)]
    subprocess.run(unmount, check=True)


@both_drafts
async def test_full_disk_is_distinguished_from_an_outage(small_disk: Path, *, nameless: bool) -> None:
    kept = disk(small_disk, nameless=nameless)
    with pytest.raises(OSError, match="No space left"):  # as the encoder sees it
        await keep(kept.storage, uuid4(), bytes(5_000_000))
    record_id = uuid4()
    async with kept.storage.draft(record_id) as draft:
        write(draft, b"content")
        fill_up(small_disk)
        with pytest.raises(StorageFull):
            await draft.commit(lambda: None)
    await assert_nothing_left(kept, record_id)


@both_drafts
async def test_full_disk_has_no_room_for_a_draft(small_disk: Path, *, nameless: bool) -> None:
    kept = disk(small_disk, nameless=nameless)
    fill_up(small_disk)
    with pytest.raises(StorageFull):
        await keep(kept.storage, uuid4(), b"content")
    assert kept.leftovers() == []


def fill_up(directory: Path) -> None:
    with pytest.raises(OSError, match="No space left"):  # noqa: PT012 - whichever it is
        for number in range(300):
            (directory / f"file{number}").touch()


@both_drafts
async def test_read_only_disk_is_an_outage(small_disk: Path, *, nameless: bool) -> None:
    storage, record_id = prepared(small_disk, nameless=nameless), uuid4()
    await keep(storage, record_id, b"content")
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    subprocess.run(remount, check=True)  # noqa: ASYNC221 - takes no time
    with pytest.raises(Unavailable):
        await keep(storage, uuid4(), b"content")
    with pytest.raises(Unavailable):
        await storage.delete(record_id)
    assert storage.locate(record_id).read_bytes() == b"content"


class Pause:
    """A call that waits in its thread until the test lets it go on."""

    def __init__(self, call: Callable[..., Any], condition: Callable[..., bool]) -> None:
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()
        self._call, self._condition = call, condition

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        if self._condition(*arguments) and not self.has_begun.is_set():
            self.has_begun.set()
            self.may_go_on.wait(SOON_SECONDS)
        return self._call(*arguments, **options)


@pytest.mark.parametrize(
    "nameless",
    [
        True,
        False,
    ],
    ids=["nameless", "named"],
)
async def test_cancellation_never_takes_effect_in_the_middle_of_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, nameless: bool
) -> None:
    kept, one, other = disk(tmp_path, nameless=nameless), uuid4(), uuid4()
    sync = Pause(os.fsync, lambda _descriptor: True)
    monkeypatch.setattr("os.fsync", sync)
    keeping = asyncio.create_task(keep(kept.storage, one, b"one"))
    await asyncio.to_thread(sync.has_begun.wait)
    keeping.cancel()
    await asyncio.wait({keeping}, timeout=0.1)
    async with kept.storage.draft(other) as draft:
        write(draft, b"other")
        sync.may_go_on.set()
        (result,) = await asyncio.gather(keeping, return_exceptions=True)
        await asyncio.sleep(0.1)  # by then, anything that goes on in the background has happened
        await draft.commit(lambda: None)
    assert kept.read(one) == (None if isinstance(result, asyncio.CancelledError) else b"one")
    assert not isinstance(result, Exception)
    assert kept.read(other) == b"other"


@both_drafts
async def test_cancellation_while_a_draft_is_opened_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, nameless: bool
) -> None:
    kept, record_id = disk(tmp_path, nameless=nameless), uuid4()
    await keep(kept.storage, uuid4(), b"warms up")
    opening = Pause(os.open, lambda path, *_: "drafts" in str(path))
    before = file_descriptors()
    monkeypatch.setattr("os.open", opening)
    keeping = asyncio.create_task(keep(kept.storage, record_id, b"content"))
    await asyncio.to_thread(opening.has_begun.wait)
    keeping.cancel()
    await asyncio.wait({keeping}, timeout=0.1)
    opening.may_go_on.set()
    (result,) = await asyncio.gather(keeping, return_exceptions=True)
    await asyncio.sleep(0.1)
    assert isinstance(result, asyncio.CancelledError)
    assert kept.leftovers() == []
    assert file_descriptors() == before


async def test_large_draft_is_not_closed_in_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last descriptor of a nameless file frees all of it."""
    storage, closed_in, close = prepared(tmp_path), dict[int, threading.Thread](), os.close

    def note(descriptor: int) -> None:
        closed_in[descriptor] = threading.current_thread()
        close(descriptor)

    monkeypatch.setattr("os.close", note)
    async with storage.draft(uuid4()) as draft:
        descriptor = draft.fileno()
    assert closed_in[descriptor] is not threading.main_thread()


@both_drafts
async def test_empty_folder_that_was_tidied_away_is_made_again(tmp_path: Path, *, nameless: bool) -> None:
    storage = prepared(tmp_path, nameless=nameless)
    one, other = UUID("ab" * 16), UUID("ab" * 15 + "cd")
    await keep(storage, one, b"one")
    for _ in range(2):
        await storage.delete(one)
        tidy = ["find", str(tmp_path), "-mindepth", "1", "-type", "d", "-empty", "-delete"]
        subprocess.run(tidy, check=True)  # noqa: ASYNC221
        await storage.require_room()
        await keep(storage, other, b"other")
        assert storage.locate(other).read_bytes() == b"other"
        await storage.delete(other)


@both_drafts
async def test_folder_that_was_tidied_away_during_an_upload_is_made_again(tmp_path: Path, *, nameless: bool) -> None:
    storage, one, other = prepared(tmp_path, nameless=nameless), UUID("ab" * 16), UUID("ab" * 15 + "cd")
    await keep(storage, one, b"one")
    async with storage.draft(other) as draft:
        write(draft, b"other")
        await storage.delete(one)
        storage.locate(one).parent.rmdir()
        await draft.commit(lambda: None)
    assert storage.locate(other).read_bytes() == b"other"


@both_drafts
async def test_nothing_is_made_where_a_volume_is_not_mounted(tmp_path: Path, *, nameless: bool) -> None:
    storage = prepared(tmp_path / "records", nameless=nameless)
    (tmp_path / "records").rename(tmp_path / "away")
    (tmp_path / "records").mkdir()  # the mount point
    with pytest.raises(Unavailable):
        await storage.require_room()
    with pytest.raises(Unavailable):
        await keep(storage, uuid4(), b"content")
    assert list((tmp_path / "records").iterdir()) == []


async def test_draft_that_is_cleared_away_before_it_is_locked_is_opened_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, other, record_id = prepared(tmp_path, nameless=False), prepared(tmp_path, nameless=False), uuid4()
    flock, before = fcntl.flock, file_descriptors()

    def let_others_go_first(*arguments: Any) -> None:
        monkeypatch.setattr("fcntl.flock", flock)
        other.prepare()  # as another replica does when it starts
        flock(*arguments)

    monkeypatch.setattr("fcntl.flock", let_others_go_first)
    await keep(storage, record_id, b"content")
    assert storage.locate(record_id).read_bytes() == b"content"
    assert files(tmp_path) == [storage.locate(record_id)]
    assert file_descriptors() == before


async def test_whether_a_file_is_there_is_told(kept: Kept) -> None:
    record_id = uuid4()
    assert not await kept.storage.has(record_id)
    await keep(kept.storage, record_id, b"content")
    assert await kept.storage.has(record_id)
    await kept.storage.delete(record_id)
    assert not await kept.storage.has(record_id)


WRITER = """
import asyncio, os, subprocess, sys
from pathlib import Path
from uuid import UUID
from service.storage.disk import DiskStorage

async def main(directory, record_id, kind, child):
    async with DiskStorage(Path(directory), nameless=kind == "nameless").draft(UUID(record_id)) as draft:
        os.write(draft.fileno(), b"content")
        if child:
            nothing = subprocess.DEVNULL
            subprocess.Popen(["sleep", "60"], stdin=nothing, stdout=draft.fileno(), stderr=nothing)
        print("open", flush=True)
        sys.stdin.readline()
        await draft.commit(lambda: None)

asyncio.run(main(*sys.argv[1:]))
"""


@contextmanager
def writer(directory: Path, record_id: UUID, *, nameless: bool, child: bool = False) -> Iterator[subprocess.Popen[str]]:
    """Run a process that holds a draft open and commits it once it reads a line."""
    kind = "nameless" if nameless else "named"
    with python(WRITER, str(directory), str(record_id), kind, "child" if child else "") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process


def files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


@both_drafts
def test_killed_process_leaves_nothing(tmp_path: Path, *, nameless: bool) -> None:
    prepared(tmp_path, nameless=nameless)
    with writer(tmp_path, uuid4(), nameless=nameless) as process:
        assert len(files(tmp_path)) == (0 if nameless else 1)
        process.kill()
        process.wait()
    prepared(tmp_path)
    assert files(tmp_path) == []


def test_named_draft_stays_while_its_writer_lives(tmp_path: Path) -> None:
    storage, record_id = prepared(tmp_path), uuid4()
    with writer(tmp_path, record_id, nameless=False) as process:
        prepared(tmp_path)
        assert len(files(tmp_path)) == 1
        process.communicate("commit\n", timeout=SOON_SECONDS)
        assert process.returncode == 0
    assert files(tmp_path) == [storage.locate(record_id)]
    assert storage.locate(record_id).read_bytes() == b"content"


def test_named_draft_stays_while_an_encoder_of_a_killed_service_writes_to_it(tmp_path: Path) -> None:
    prepared(tmp_path)
    with writer(tmp_path, uuid4(), nameless=False, child=True) as process:
        process.kill()
        process.wait()
    (draft,) = files(tmp_path)
    (encoder,) = holders(draft)
    prepared(tmp_path)
    assert files(tmp_path) == [draft]
    os.kill(encoder, signal.SIGKILL)
    wait_until(lambda: not holders(draft))
    prepared(tmp_path)
    assert files(tmp_path) == []


def holders(file: Path) -> list[int]:
    """Return the processes that have the file open as their standard output."""
    outputs = Path("/proc").glob("[0-9]*/fd/1")
    return [int(output.parts[2]) for output in outputs if os.path.realpath(output) == str(file)]


def test_many_processes_may_clear_drafts_away_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = prepared(tmp_path)
    for number in range(3):
        (tmp_path / "drafts" / f"{number}.mp3").touch()
    flock = fcntl.flock

    def let_others_go_first(*arguments: Any) -> None:
        monkeypatch.setattr("fcntl.flock", flock)
        storage.prepare()
        flock(*arguments)

    monkeypatch.setattr("fcntl.flock", let_others_go_first)
    storage.prepare()
    assert files(tmp_path) == []


def test_abandoned_draft_is_opened_for_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = prepared(tmp_path)
    (tmp_path / "drafts" / "abandoned.mp3").touch()
    modes = []
    flock = fcntl.flock

    def watched_flock(file: Any, operation: int) -> None:
        modes.append(fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE)
        flock(file, operation)

    monkeypatch.setattr("fcntl.flock", watched_flock)
    storage.prepare()
    assert modes == [os.O_RDWR]


@pytest.mark.parametrize(
    "name",
    [
        "{id}",
        "{hex}.mp3",
        "{ID}.mp3",
        "urn:uuid:{id}.mp3",
        "../{other_folder}/{id}.mp3",
    ],
)
async def test_file_that_no_record_can_have_is_not_an_entry(tmp_path: Path, name: str) -> None:
    storage, record_id = prepared(tmp_path), uuid4()
    folder = storage.locate(record_id).parent
    other_folder = f"{(int(folder.name, 16) + 1) % 256:02x}"
    names = {"id": record_id, "ID": str(record_id).upper(), "hex": record_id.hex, "other_folder": other_folder}
    folder.mkdir()
    (tmp_path / other_folder).mkdir()
    (folder / name.format(**names)).touch()
    assert await entries(storage) == []


@pytest.mark.parametrize("name", ["notes.txt", ".mp3", "thesis.mp3", "8ce9b845-4a4e-4e95-ac96-507f2e5840d0.mp3.bak"])
async def test_file_with_another_name_is_not_an_entry(tmp_path: Path, name: str) -> None:
    storage = prepared(tmp_path)
    (tmp_path / "00").mkdir()
    (tmp_path / "00" / name).touch()
    assert await entries(storage) == []
