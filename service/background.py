"""Runs work beside the requests, for as long as the service runs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Literal

import structlog

from service.errors import ServiceError

log = structlog.stdlib.get_logger()

Work = Literal["leases", "memory", "removal", "revocation", "totals"]


@contextlib.asynccontextmanager
async def in_background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run `work` beside the block, and cancel it at the end of the block."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        while not task.done():  # before Python 3.12 wait_for, which aiopg uses, may lose a cancellation
            task.cancel()
            await asyncio.wait({task}, timeout=1)


@contextlib.contextmanager
def going_on(work: Work) -> Iterator[None]:
    """Let no error in the block end the work that it is a round of: nobody would notice. The next round tries again."""
    try:
        yield
    except ServiceError:  # it is logged
        pass
    except Exception:
        log.exception("background_work_failed", work=work)
