"""Gets ready what an upload needs, while something else is waited for."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

from service.audio.encoder import Encoder, PreparedEncoder
from service.cancellation import to_the_end
from service.storage import Draft, Storage


@dataclass(frozen=True, slots=True)
class Ready:
    """What an upload needs before its first sample: where its MP3 is written, and what can encode it."""

    draft: Draft
    encoder: PreparedEncoder


@contextlib.asynccontextmanager
async def getting_ready(storage: Storage, encoder: Encoder, upload_id: UUID) -> AsyncIterator[asyncio.Task[Ready]]:
    """Get ready beside the block. The task raises StorageFull and Unavailable. The end of the block lets go of all."""
    async with contextlib.AsyncExitStack() as stack:
        getting = asyncio.create_task(_get_ready(storage, encoder, upload_id, stack))
        try:
            yield getting
        finally:
            if not getting.done():
                getting.cancel()
                await to_the_end(asyncio.wait({getting}))
            if not getting.cancelled():
                getting.exception()  # else asyncio would log an error that nobody has asked for


async def _get_ready(storage: Storage, encoder: Encoder, upload_id: UUID, stack: contextlib.AsyncExitStack) -> Ready:
    # First the draft: it makes the folder of drafts again if somebody has tidied it away, and an encoder may only
    # write to a folder that is there.
    draft = await stack.enter_async_context(storage.draft(upload_id))
    return Ready(draft, stack.enter_context(encoder.prepared()))
