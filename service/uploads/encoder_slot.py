"""What an upload holds of the admission."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class SlotLender(Protocol):
    """What gives the slots, and takes them back."""

    def suspend(self, slot: "EncoderSlot") -> None:
        """See `EncoderSlot.suspend`."""

    async def take_again(self, slot: "EncoderSlot", is_abandoned: Callable[[], bool]) -> None:
        """See `EncoderSlot.take_again`."""


@dataclass(eq=False, slots=True)
class EncoderSlot:
    """The slot of an upload, which it may give back for a while and take again.

    With `may_keep`, an upload that must end is not cancelled, but told by `is_last_call`. Only while `awaits_bytes` is
    it cancelled, to wake it.
    """

    lender: SlotLender
    task: asyncio.Task[object]
    user_id: int
    may_keep: bool = False
    is_last_call: bool = False
    awaits_bytes: bool = False

    def suspend(self) -> None:
        """Give the slot back, and keep the encoder. Raises Unavailable if no more uploads may be suspended."""
        self.lender.suspend(self)

    async def take_again(self, is_abandoned: Callable[[], bool]) -> None:
        """Take the next free slot, before every new upload.

        Raises Unavailable if none comes free in time, and ClientGone if `is_abandoned` becomes true; the upload then
        is still suspended.
        """
        await self.lender.take_again(self, is_abandoned)

    def make_last_call(self) -> None:
        """Tell the upload to end with what it has."""
        if not self.is_last_call:
            self.is_last_call = True
            if self.awaits_bytes:
                self.task.cancel()
