"""Keeps what has arrived of an upload if no more can come."""

import asyncio
from collections.abc import AsyncIterator

from service.cancellation import current_task
from service.errors import ClientGone, ClientStalled, ServiceError
from service.refusals import TOO_MANY_SUSPENDED, UPLOAD_CUT, UPLOAD_EXPIRED
from service.uploads.encoder_slot import EncoderSlot
from service.uploads.progress import Progress

_END_CODES = {TOO_MANY_SUSPENDED.code, UPLOAD_CUT.code, UPLOAD_EXPIRED.code}


async def up_to(pieces: AsyncIterator[bytes], progress: Progress, most_bytes: int) -> AsyncIterator[bytes]:
    """Yield the pieces, and end after `most_bytes` of the WAV. `progress.is_cut` then is true if there were more."""
    async for piece in pieces:
        room = most_bytes - progress.reader.byte_count
        if len(piece) > room:
            progress.is_cut = True
            yield piece[:room]
            return
        yield piece
        del piece  # else it would stay until the next one comes


async def while_they_come(pieces: AsyncIterator[bytes], slot: EncoderSlot, progress: Progress) -> AsyncIterator[bytes]:
    """Yield the pieces, and end if no more can come, instead of raising the reason. `progress.is_cut` then is true.

    The reasons are: the connection broke or stalled, the client has cut the upload, the time to resume is over, the
    longest time is reached, or the service stops. Any other error is raised.
    """
    try:
        while not slot.is_last_call:
            slot.awaits_bytes = True
            piece = await anext(pieces, None)
            slot.awaits_bytes = False
            if piece is None:
                return
            yield piece
            del piece  # else it would stay until the next one comes
    except ServiceError as error:
        if not (isinstance(error, ClientGone | ClientStalled) or error.code in _END_CODES):
            raise
    except asyncio.CancelledError:
        if not slot.is_last_call:
            raise
        current_task().uncancel()
    finally:
        slot.awaits_bytes = False
    progress.is_cut = True
