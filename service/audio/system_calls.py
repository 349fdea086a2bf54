"""Writes the seccomp filter that refuses the system calls that ffmpeg has no use for.

Sources: seccomp(2), and the kernel's tables of system calls.
"""

import errno
import platform
import struct
from collections.abc import Iterator
from functools import cache

# Each call's numbers on x86-64 and on arm64, which lacks some.
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    # The network.
    "socket": (41, 198),
    # Other processes' memory, priorities and processors.
    "setsid": (112, 157),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    # What Landlock leaves alone: whose a file is, what its mode, times and attributes are; before Linux 6.2 its length.
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "setxattrat": (463, 463),
    "removexattrat": (466, 466),
    "truncate": (76, 45),
    # Shared memory, semaphores and messages of other processes.
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    # Ways around this filter, and large parts of the kernel.
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "unshare": (272, 97),
    "setns": (308, 268),
    "keyctl": (250, 219),
}
_PRLIMIT = (302, 261)
# The kernel's number of each machine's architecture.
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_CALLS = 0x40000000
_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _ANSWER = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_CALL, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16


@cache
def seccomp_filter() -> bytes:
    """Return the filter for this machine. What it refuses fails with EPERM. Raises OSError on an unknown machine.

    It also refuses the calls of other architectures, and prlimit on another process.
    """
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise OSError(errno.ENOSYS, "not this machine")
    column = list(_ARCHITECTURES).index(machine)
    refused = [numbers[column] for numbers in _REFUSED.values()]
    return b"".join(
        _instructions(_ARCHITECTURES[machine], [number for number in refused if number is not None], _PRLIMIT[column])
    )


def _instructions(architecture: int, refused: list[int], prlimit: int) -> Iterator[bytes]:
    # A jump counts the instructions that it skips. The last instruction refuses, the one before it allows.
    yield struct.pack("HBBI", _LOAD, 0, 0, _ARCHITECTURE)
    yield struct.pack("HBBI", _JUMP_IF_EQUAL, 0, len(refused) + 6, architecture)
    yield struct.pack("HBBI", _LOAD, 0, 0, _CALL)
    yield struct.pack("HBBI", _JUMP_IF_AT_LEAST, len(refused) + 4, 0, _X32_CALLS)
    for index, number in enumerate(refused):
        yield struct.pack("HBBI", _JUMP_IF_EQUAL, len(refused) - index + 3, 0, number)
    yield struct.pack("HBBI", _JUMP_IF_EQUAL, 0, 2, prlimit)
    yield struct.pack("HBBI", _LOAD, 0, 0, _FIRST_ARGUMENT)  # the process; 0 is the caller
    yield struct.pack("HBBI", _JUMP_IF_EQUAL, 0, 1, 0)
    yield struct.pack("HBBI", _ANSWER, 0, 0, _ALLOW)
    yield struct.pack("HBBI", _ANSWER, 0, 0, _REFUSE)
