"""What an encoder that has been taken over could still do: run programs, and write its own draft."""

import asyncio
import errno
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.audio.confinement import Confinement
from service.audio.spawner import Spawner
from service.audio.starting import Command, Descriptors
from tests.support.ffmpegs import native_library

LIMITS = (("core", 0),)
PROGRAMS = tuple(map(Path, ("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache", sys.prefix, sys.base_prefix)))
PYTHON = sys.executable
ROOT = Path(__file__).parents[2]


@pytest.fixture
def drafts(tmp_path: Path) -> Path:
    (tmp_path / "drafts").mkdir()
    (tmp_path / "secret").write_text("secret")
    return tmp_path / "drafts"


@pytest.fixture
def spawner(drafts: Path) -> Spawner:
    return Spawner(Confinement(PROGRAMS, (drafts,)))


@pytest.fixture(autouse=True, params=["tools", "library"])
def _library(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """Have programs started by util-linux' tools, or by the native library."""
    with native_library(tmp_path, is_there=request.param == "library"):
        yield


async def run(spawner: Spawner, *command: str, stdout: int | None = None) -> tuple[int, str]:
    """Run a command as an encoder is run; return its status and what it said."""
    reading, writing = os.pipe()
    nothing = os.open(os.devnull, os.O_RDWR)
    with os.fdopen(reading, encoding="utf-8") as stderr, spawner.starter() as starter:
        standard = Descriptors(nothing, nothing if stdout is None else stdout, writing)
        process = await starter.start(Command(command, LIMITS), standard)
        os.close(nothing)
        os.close(writing)
        said = await asyncio.to_thread(stderr.read)
        return await asyncio.to_thread(process.wait), said


async def test_kernel_of_this_machine_confines_in_every_way(spawner: Spawner) -> None:
    """If this fails, the tests below say what does not hold here; the README says so, too."""
    assert await run(spawner, "/bin/true") == (0, "")
    assert spawner.parts == ["capabilities", "system calls", "files"]


@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/1/environ", "{secret}", "{service}/environ", "{service}/fd"])
async def test_nothing_of_the_service_or_the_machine_can_be_read(spawner: Spawner, drafts: Path, path: str) -> None:
    path = path.format(secret=drafts.parent / "secret", service=f"/proc/{os.getpid()}")
    status, said = await run(spawner, "/bin/sh", "-c", f"if [ -d {path} ]; then ls {path}; else cat {path}; fi")
    assert status != 0
    assert "Permission denied" in said


@pytest.mark.parametrize(
    "command", ["echo x > {}/new", "echo x > {}/secret", "rm {}/secret", "mkdir {}/new", "mv {0}/secret {0}/b"]
)
async def test_nothing_can_be_written_beside_the_draft(spawner: Spawner, drafts: Path, command: str) -> None:
    status, said = await run(spawner, "/bin/sh", "-c", command.format(drafts.parent))
    assert status != 0
    assert "denied" in said
    assert (drafts.parent / "secret").read_text() == "secret"


async def test_draft_can_be_opened_again_and_written(spawner: Spawner, drafts: Path) -> None:
    draft = os.open(drafts, os.O_TMPFILE | os.O_RDWR)
    try:
        assert await run(spawner, "/bin/sh", "-c", "printf mp3 > /proc/self/fd/1", stdout=draft) == (0, "")
        assert os.pread(draft, 10, 0) == b"mp3"
    finally:
        os.close(draft)


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"])
async def test_no_socket_can_be_opened(spawner: Spawner, family: str) -> None:
    status, said = await run(spawner, PYTHON, "-ISc", f"import socket; socket.socket(socket.{family}, socket.SOCK_RAW)")
    assert (status, "Operation not permitted" in said) == (1, True)


async def test_service_cannot_be_signalled(spawner: Spawner) -> None:
    status, said = await run(spawner, "/bin/sh", "-c", f"kill -0 {os.getpid()}")
    assert (status != 0, "not permitted" in said) == (True, True)


@pytest.mark.parametrize(
    "script",
    [
        "os.setpriority(os.PRIO_PROCESS, {service}, 19)",
        "os.sched_setaffinity({service}, os.sched_getaffinity(0))",
        "resource.prlimit({service}, resource.RLIMIT_CPU)",
        "os.chmod('{secret}', 0)",
        "os.chown('{secret}', 0, 0)",
        "os.utime('{secret}')",
        "os.setxattr('{secret}', 'user.x', b'')",
        "os.truncate('{secret}', 0)",
    ],
)
async def test_service_and_its_files_cannot_be_changed(spawner: Spawner, drafts: Path, script: str) -> None:
    script = script.format(service=os.getpid(), secret=drafts.parent / "secret")
    status, said = await run(spawner, PYTHON, "-ISc", f"import os, resource; {script}")
    assert (status, "not permitted" in said) == (1, True)


@pytest.mark.parametrize(
    "call",
    [
        "unshare(0x10000000)",
        "syscall({clone}, 0x10000011, 0, 0, 0, 0)",
        "ptrace(0, 0, 0, 0)",
        "shmget(0, 4096, 0o600)",
        "socket(1, 1, 0)",
        "socketpair(1, 2, 0, (ctypes.c_int * 2)())",
        "inotify_init1(0)",
        "fanotify_init(0, 0)",
        "syscall(469, -100, b'/etc/passwd', bytes(64), 64, 0)",  # file_setattr
        "syscall({add_key}, b'user', b'name', b'value', 5, -2)",
        "prctl(1, 0, 0, 0, 0)",  # PR_SET_PDEATHSIG: to live on without the service
    ],
)
async def test_system_call_of_no_use_to_it_is_refused(spawner: Spawner, call: str) -> None:
    numbers = {"x86_64": {"clone": 56, "add_key": 248}, "aarch64": {"clone": 220, "add_key": 217}}
    call = call.format_map(numbers[platform.machine()])
    assert await status_of(spawner, f"libc.{call} and ctypes.get_errno()") == errno.EPERM


async def status_of(spawner: Spawner, expression: str) -> int:
    """Return what an expression of a confined program is, which may use `libc`."""
    script = f"import ctypes, os; libc = ctypes.CDLL(None, use_errno=True); os._exit({expression})"
    status, said = await run(spawner, PYTHON, "-ISc", script)
    assert said == ""
    return status


async def test_namespaces_flags_cannot_be_hidden(spawner: Spawner) -> None:
    """clone3 has its flags in memory, where no filter sees them; without it, programs call clone."""
    assert await status_of(spawner, "libc.syscall(435, 0, 0) and ctypes.get_errno()") == errno.ENOSYS
    script = "import threading; thread = threading.Thread(target=print); thread.start(); thread.join()"
    assert await run(spawner, PYTHON, "-ISc", script) == (0, "")


async def test_encoder_can_set_its_own_limits(spawner: Spawner) -> None:
    assert await run(spawner, "/usr/bin/prlimit", "--nofile=64", "--", "/bin/true") == (0, "")


async def test_encoder_reaches_no_other_encoder(spawner: Spawner, drafts: Path) -> None:
    draft = os.open(drafts, os.O_TMPFILE | os.O_RDWR)
    os.write(draft, b"sound")
    with spawner.starter() as starter:
        other = await starter.start(Command(["/bin/sleep", "60"], LIMITS), Descriptors(draft, draft, draft))
    try:
        for attempt in (f"cat /proc/{other.pid}/fd/1", f"echo x > /proc/{other.pid}/fd/1", f"kill {other.pid}"):
            status, said = await run(spawner, "/bin/sh", "-c", attempt)
            assert (status != 0, "ermi" in said) == (True, True), attempt
        assert (os.pread(draft, 10, 0), other.poll()) == (b"sound", None)
    finally:
        other.kill()
        other.wait()
        os.close(draft)


async def test_no_capability_is_left(spawner: Spawner) -> None:
    """Not even for root, whose programs otherwise get all of them."""
    capget = "libc.capget((ctypes.c_uint32 * 2)(0x20080522, 0), sets := (ctypes.c_uint32 * 6)())"
    assert await status_of(spawner, f"int({capget} < 0 or any(sets))") == 0
    ambient = "any(libc.prctl(47, 1, number, 0, 0) > 0 for number in range(64))"  # PR_CAP_AMBIENT_IS_SET
    assert await status_of(spawner, f"int({ambient})") == 0


async def test_service_itself_is_not_confined(spawner: Spawner, drafts: Path) -> None:
    await run(spawner, "/bin/true")
    for path in (drafts.parent / "secret", Path("/etc/passwd")):
        os.close(os.open(path, os.O_RDONLY))


def make_anew(directory: Path) -> None:
    shutil.rmtree(directory)
    directory.mkdir()


async def test_directory_of_drafts_that_is_made_anew_is_writable_again(spawner: Spawner, drafts: Path) -> None:
    await run(spawner, "/bin/true")
    make_anew(drafts)
    await test_draft_can_be_opened_again_and_written(spawner, drafts)


async def test_new_directory_of_drafts_does_not_end_what_runs(spawner: Spawner, drafts: Path) -> None:
    with spawner.starter() as starter:
        sleeper = await starter.start(Command(["/bin/sleep", "60"], LIMITS), Descriptors(0, 1, 2))
    make_anew(drafts)
    await run(spawner, "/bin/true")
    try:
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()


SERVICE = """
import ctypes, os, sys
from service.audio.confinement import hide_this_process
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE, as of a program that was started by this user
print("open", flush=True)
input()
hide_this_process()
folder = os.open(".", os.O_RDONLY)
draft = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
os.close(os.open(f"/proc/self/fd/{draft}", os.O_RDWR))
os.link(f"/proc/self/fd/{draft}", "kept", src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=True)
print("hidden", flush=True)
input()
"""


def test_hidden_service_works_and_its_own_user_cannot_read_it(tmp_path: Path) -> None:
    """The service opens its files by their names in /proc, which a hidden process has for itself alone."""
    as_user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []

    def readable(pid: int) -> list[bool]:
        looks = [f"head -c 1 /proc/{pid}/environ", f"ls /proc/{pid}/fd/"]
        return [
            subprocess.run([*as_user, "sh", "-c", look], capture_output=True, check=False).returncode == 0
            for look in looks
        ]

    tmp_path.chmod(0o777)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [PYTHON, "-c", SERVICE],
        cwd=tmp_path,
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as service:
        assert service.stdin is not None
        assert service.stdout is not None
        assert (service.stdout.readline(), readable(service.pid)) == ("open\n", [True, True])
        print(file=service.stdin, flush=True)
        assert (service.stdout.readline(), readable(service.pid)) == ("hidden\n", [False, False])
    assert (tmp_path / "kept").exists()
