"""Prepares what an upload needs, while something else is waited for."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

from service.audio.encoder import Encoder, PreparedEncoder
from service.cancellation import to_the_end
from service.storage import Draft, Storage


@dataclass(frozen=True, slots=True)
class Prepared:
    """What an upload needs before its first sample: where its MP3 is written, and what can encode it."""

    draft: Draft
    encoder: PreparedEncoder


@contextlib.asynccontextmanager
async def preparing(storage: Storage, encoder: Encoder, upload_id: UUID) -> AsyncIterator[asyncio.Task[Prepared]]:
    """Prepare beside the block. The task raises StorageFull and Unavailable. The end of the block lets go of all."""
    async with contextlib.AsyncExitStack() as stack:
        preparation = asyncio.create_task(_prepare(storage, encoder, upload_id, stack))
        try:
            await asyncio.sleep(0)  # it begins now, and not when the block first waits
            yield preparation
        finally:
            if not preparation.done():
                preparation.cancel()
                await to_the_end(asyncio.wait({preparation}))
            if not preparation.cancelled():
                preparation.exception()  # else asyncio would log an error that nobody has asked for


async def _prepare(storage: Storage, encoder: Encoder, upload_id: UUID, stack: contextlib.AsyncExitStack) -> Prepared:
    # First the draft: it makes the folder of drafts again if somebody has tidied it away, and an encoder may only
    # write to a folder that is there.
    draft = await stack.enter_async_context(storage.draft(upload_id))
    return Prepared(draft, stack.enter_context(encoder.prepared()))
