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
from typing import ParamSpec, TypeVar

from service.cancellation import to_the_end

T = TypeVar("T")
P = ParamSpec("P")


class PersistentExecutor(ThreadPoolExecutor):
    """Up to `count` threads, each of which starts when it is needed. If no more can be started, these do all work."""

    def __init__(self, name: str, count: int) -> None:
        self._has_one = threading.Event()
        self._has_ended = False
        super().__init__(count, thread_name_prefix=name, initializer=self._has_one.set)

    def submit(self, function: Callable[P, T], /, *arguments: P.args, **keywords: P.kwargs) -> Future[T]:
        """Queue a function and return its future. Raises OSError if no thread runs and none can be started."""
        work = Future[T]()
        try:
            super().submit(_carry_out, work, partial(function, *arguments, **keywords))
        except RuntimeError as error:  # a thread could not be started, but the work is queued for the others
            if self._has_ended:
                raise
            if not self._has_one.is_set():
                work.cancel()
                raise OSError(errno.EAGAIN, str(error)) from error
        return work

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - its signature
        """End the threads, as Executor.shutdown says."""
        self._has_ended = True
        super().shutdown(wait, cancel_futures=cancel_futures)


class Threads:
    """Up to `count` threads for one kind of work."""

    def __init__(self, name: str, count: int) -> None:
        self._executor = PersistentExecutor(name, count)

    async def start(self) -> None:
        """Have at least one thread from now on. Raises OSError if it cannot be started."""
        await self.run(threading.get_ident)

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """Run a function that may block, and return its result. Raises OSError if no thread can be started.

        A cancellation takes effect once the function has returned, or if it has not begun. So it never goes on behind
        the caller's back, with descriptors that the caller has closed.
        """
        work = self._executor.submit(contextvars.copy_context().run, function, *arguments)
        result = asyncio.wrap_future(work)
        try:
            return await asyncio.shield(result)
        except asyncio.CancelledError:
            if not work.cancel():
                with contextlib.suppress(Exception):  # whoever is cancelled asks for no result
                    await to_the_end(result)
            raise


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
