"""Threads for what blocks, apart for each kind of work: a disk that hangs stops one kind and no other.

The event loop's own threads are those of downloads: they open files, and aiohttp opens and reads them there.
"""

import asyncio
import contextlib
import contextvars
import errno
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from service.cancellation import to_the_end

T = TypeVar("T")


class Threads:
    """Up to `count` threads, each of which starts when it is needed. If no more can be started, these do all work."""

    def __init__(self, name: str, count: int) -> None:
        self._has_one = threading.Event()
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name, initializer=self._has_one.set)

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """Run a function that may block, and return its result. Raises OSError if no thread can be started.

        A cancellation takes effect once the function has returned, or if it has not begun. So it never goes on behind
        the caller's back, with descriptors that the caller has closed.
        """
        work = self._submit(partial(contextvars.copy_context().run, function, *arguments))
        result = asyncio.wrap_future(work)
        try:
            return await asyncio.shield(result)
        except asyncio.CancelledError:
            if not work.cancel():
                with contextlib.suppress(Exception):  # whoever is cancelled asks for no result
                    await to_the_end(result)
            raise

    def _submit(self, function: Callable[[], T]) -> Future[T]:
        work = Future[T]()
        try:
            self._executor.submit(_carry_out, work, function)
        except RuntimeError as error:  # a thread could not be started, but the work is queued for the others
            if not self._has_one.is_set():
                work.cancel()
                raise OSError(errno.EAGAIN, str(error)) from error
        return work


def _carry_out(work: Future[T], function: Callable[[], T]) -> None:
    if not work.set_running_or_notify_cancel():
        return
    try:
        result = function()
    except BaseException as error:  # noqa: BLE001 - the caller gets it
        work.set_exception(error)
    else:
        work.set_result(result)


def interruptibly(function: Callable[..., T], *arguments: object) -> T:
    """Run a function that blocks where no signal ends it, such as in libpq, and return its result. Blocking.

    KeyboardInterrupt ends the wait. The function then goes on until it has ended, or until the process does. Raises
    OSError if no thread can be started.
    """
    work = Future[T]()
    try:
        threading.Thread(target=_carry_out, args=(work, partial(function, *arguments)), daemon=True).start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, str(error)) from error
    return work.result()


UPLOADS = Threads("uploads", 32)
# Health checks and metrics. Of each check one runs at a time, so that some of these are always free.
OPERATORS = Threads("operators", 4)

_current: contextvars.ContextVar[Threads] = contextvars.ContextVar("threads", default=UPLOADS)


@contextlib.contextmanager
def using(threads: Threads) -> Iterator[None]:
    """Have `in_thread` use these, for all that is begun in the block."""
    before = _current.set(threads)
    try:
        yield
    finally:
        _current.reset(before)


async def in_thread(function: Callable[..., T], *arguments: object) -> T:
    """Run a function that may block in the threads of this work, an upload's by default; as `Threads.run` does."""
    return await _current.get().run(function, *arguments)
