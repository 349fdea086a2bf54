"""Confines the calling thread, and every process that it starts from then on, by what the kernel offers.

Sources: landlock(7), seccomp(2), prctl(2), capabilities(7). All of it holds for one thread and is inherited, so that
the service itself is not confined.
"""

import ctypes
import os
import stat
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import structlog

from service.audio.system_calls import seccomp_filter

log = structlog.stdlib.get_logger()

# Devices that programs expect, and that store nothing.
_DEVICES = tuple(map(Path, ("/dev/null", "/dev/zero", "/dev/urandom")))

_libc = ctypes.CDLL(None, use_errno=True)

_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 4, 22, 38
_CAPABILITY_VERSION_3 = 0x20080522
_SECCOMP_MODE_FILTER = 2

# Landlock's system calls have these numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
# How many rights on files each version of Landlock knows, from the first on.
_FILE_RIGHTS_BY_VERSION = (13, 14, 15, 15, 16)
_ALL_NETWORK, _ALL_SCOPES = 0b11, 0b11
_NETWORK_SINCE, _SCOPES_SINCE = 4, 6


@dataclass(frozen=True, slots=True)
class Confinement:
    """What a confined process may touch: it reads and runs what is in `readable`, and writes to files in `writable`.

    Directories stand for all that is in them. What is not there is left out.
    """

    readable: tuple[Path, ...]
    writable: tuple[Path, ...]

    def apply(self) -> list[str]:
        """Confine the calling thread for good. Returns the parts that took effect: a kernel may lack some."""
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        parts = {
            "capabilities": _drop_capabilities,
            "system calls": _refuse_system_calls,
            "files": self._restrict_files,
        }
        return [name for name, confine in parts.items() if _holds(name, confine)]

    def _restrict_files(self) -> None:
        version = _system_call(_CREATE_RULESET, None, 0, _VERSION_FLAG)
        files = (1 << _FILE_RIGHTS_BY_VERSION[min(version, len(_FILE_RIGHTS_BY_VERSION)) - 1]) - 1
        network = _ALL_NETWORK if version >= _NETWORK_SINCE else 0
        scopes = _ALL_SCOPES if version >= _SCOPES_SINCE else 0
        # An older kernel takes a longer structure if what it does not know is zero.
        attributes = struct.pack("QQQ", files, network, scopes)
        size = 24 if scopes else 16 if network else 8
        ruleset = _system_call(_CREATE_RULESET, attributes, size, 0)
        try:
            _allow(ruleset, self.readable, (_EXECUTE | _READ_FILE | _READ_DIR) & files)
            _allow(ruleset, self.writable, (_WRITE_FILE | _READ_FILE | _TRUNCATE) & files)
            _allow(ruleset, _DEVICES, (_WRITE_FILE | _READ_FILE) & files)
            _system_call(_RESTRICT_SELF, ruleset, 0)
        finally:
            os.close(ruleset)


def hide_this_process() -> None:
    """Keep other processes of our user from reading this one's memory, environment and descriptors. Raises OSError."""
    _prctl(_PR_SET_DUMPABLE, 0)


def _holds(name: str, confine: Callable[[], None]) -> bool:
    try:
        confine()
    except OSError as error:
        _note_absence(name, os.strerror(error.errno or 0))
        return False
    return True


@cache
def _note_absence(name: str, reason: str) -> None:
    """Log, once and not for each encoder, that a part does not hold."""
    log.info("confinement_not_available", part=name, reason=reason)


def _allow(ruleset: int, paths: Iterable[Path], rights: int) -> None:
    for path in paths:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            of_this_kind = rights if stat.S_ISDIR(os.fstat(place).st_mode) else rights & ~_READ_DIR
            _system_call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", of_this_kind, place), 0)
        finally:
            os.close(place)


def _drop_capabilities() -> None:
    """Drop every capability. No program gains one again, because of no-new-privs."""
    none = struct.pack("6I", *(0,) * 6)
    if _libc.capset(struct.pack("Ii", _CAPABILITY_VERSION_3, 0), none) < 0:
        raise _error()


def _refuse_system_calls() -> None:
    program = seccomp_filter()
    buffer = ctypes.create_string_buffer(program)
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header)


def _prctl(option: int, *arguments: int | bytes) -> None:
    padded = [*arguments, 0, 0, 0, 0][:4]
    words = [word if isinstance(word, bytes) else ctypes.c_ulong(word) for word in padded]
    if _libc.prctl(option, *words) < 0:
        raise _error()


def _system_call(number: int, *arguments: int | bytes | None) -> int:
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *words))
    if result < 0:
        raise _error()
    return result


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
