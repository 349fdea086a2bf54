"""Writes the seccomp filter that refuses the system calls that ffmpeg has no use for.

Sources: seccomp(2), and the kernel's tables of system calls.
"""

import errno
import platform
import signal
import struct
from collections.abc import Iterator
from functools import cache

# Each call's numbers on x86-64 and on arm64, which lacks some.
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    # The network; and pairs of sockets, because one of a pair can still send to any datagram socket that has a path.
    "socket": (41, 198),
    "socketpair": (53, 199),
    # Landlock lets them tell the name of each new file, and a record's name is the permission to download it.
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "inotify_add_watch": (254, 27),
    "fanotify_init": (300, 262),
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
    "file_setattr": (469, 469),
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
    "add_key": (248, 217),
    "request_key": (249, 218),
}
# Looked at more closely, by their arguments.
_PRLIMIT, _CLONE, _PRCTL = (302, 261), (56, 220), (157, 167)
_CLONE3 = (435, 435)
_PR_SET_PDEATHSIG = 1
# The kernel's number of each machine's architecture.
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_CALLS = 0x40000000
# clone's flags that make a namespace: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET.
_NEW_NAMESPACES = 0x7E020000

_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _JUMP_IF_ANY_BIT, _ANSWER = 0x20, 0x15, 0x35, 0x45, 0x06
_CALL, _ARCHITECTURE, _FIRST_ARGUMENT, _SECOND_ARGUMENT = 0, 4, 16, 24
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000
# What a jump may lead to: so many instructions, or one of the answers behind the last instruction.
_ANSWERS = {"allow": _ALLOW, "refuse": _FAIL | errno.EPERM, "unknown": _FAIL | errno.ENOSYS}

_Target = int | str
_Instruction = tuple[int, int, _Target, _Target]


@cache
def seccomp_filter() -> bytes:
    """Return the filter for this machine. What it refuses fails with EPERM. Raises OSError on an unknown machine.

    It also refuses the calls of other architectures, prlimit on another process, clone with a new namespace, and prctl
    that would let a program outlive the service. clone3 hides its flags from the filter, so it is as unknown as on an
    old kernel; programs then call clone.
    """
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise OSError(errno.ENOSYS, "not this machine")
    column = list(_ARCHITECTURES).index(machine)
    refused = [numbers[column] for numbers in _REFUSED.values()]
    instructions: list[_Instruction] = [
        (_LOAD, _ARCHITECTURE, 0, 0),
        (_JUMP_IF_EQUAL, _ARCHITECTURES[machine], 0, "refuse"),
        (_LOAD, _CALL, 0, 0),
        (_JUMP_IF_AT_LEAST, _X32_CALLS, "refuse", 0),
        *((_JUMP_IF_EQUAL, number, "refuse", 0) for number in refused if number is not None),
        (_JUMP_IF_EQUAL, _CLONE3[column], "unknown", 0),
        (_JUMP_IF_EQUAL, _PRLIMIT[column], 0, 2),
        (_LOAD, _FIRST_ARGUMENT, 0, 0),
        (_JUMP_IF_EQUAL, 0, "allow", "refuse"),  # the process; 0 is the caller
        (_JUMP_IF_EQUAL, _CLONE[column], 0, 2),
        (_LOAD, _FIRST_ARGUMENT, 0, 0),
        (_JUMP_IF_ANY_BIT, _NEW_NAMESPACES, "refuse", "allow"),
        (_JUMP_IF_EQUAL, _PRCTL[column], 0, "allow"),
        (_LOAD, _FIRST_ARGUMENT, 0, 0),
        (_JUMP_IF_EQUAL, _PR_SET_PDEATHSIG, 0, "allow"),
        (_LOAD, _SECOND_ARGUMENT, 0, 0),
        (_JUMP_IF_EQUAL, signal.SIGKILL, "allow", "refuse"),
    ]
    return b"".join(_assembled(instructions))


def _assembled(instructions: list[_Instruction]) -> Iterator[bytes]:
    answers = {name: len(instructions) + index for index, name in enumerate(_ANSWERS)}
    for index, (code, value, if_true, if_false) in enumerate(instructions):
        jumps = [answers[target] - index - 1 if isinstance(target, str) else target for target in (if_true, if_false)]
        yield struct.pack("HBBI", code, *jumps, value)
    for answer in _ANSWERS.values():
        yield struct.pack("HBBI", _ANSWER, 0, 0, answer)
