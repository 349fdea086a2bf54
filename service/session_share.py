"""Lets PostgreSQL have the CPU before the encoders. Linux shares the CPU out by sessions first: autogroup, sched(7)."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

_AUTOGROUP = Path("/proc/self/autogroup")
# Two thirds of the usual weight. It counts only while programs of other sessions want the CPU, too.
_NICENESS = 2
_TRIES, _PAUSE_SECONDS = 5, 0.11


@contextlib.contextmanager
def yielding_session() -> Iterator[None]:
    """Give the session of this process a little less of the CPU than others have, for the length of the block.

    Each backend of PostgreSQL is a session of its own. With an equal share, one that woke up beside encoders of several
    threads was seen to wait for two seconds. Does nothing if the kernel has no autogroup, or if somebody has set the
    session's niceness. Enter before the process hides: from then on only root may open the file.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # only speed depends on it
            autogroup = os.open(_AUTOGROUP, os.O_RDWR | os.O_CLOEXEC)
            stack.callback(os.close, autogroup)
            if os.pread(autogroup, 100, 0).endswith(b" nice 0\n"):
                stack.callback(_set_niceness, autogroup, 0)
                _set_niceness(autogroup, _NICENESS)
        yield


def _set_niceness(autogroup: int, niceness: int) -> None:
    for _ in range(_TRIES):
        try:
            os.write(autogroup, str(niceness).encode())
        except BlockingIOError:  # for users, the kernel does it ten times a second, for all sessions together
            time.sleep(_PAUSE_SECONDS)
        except OSError:  # as above
            return
        else:
            return
