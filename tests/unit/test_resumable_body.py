"""The bytes of an upload that come in several requests: which request may bring them."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.errors import ClientGone, MalformedRequest
from service.uploads.resumable_body import Attachment, ResumableBody


async def pieces(*content: bytes) -> AsyncIterator[bytes]:
    for piece in content:
        yield piece


def attachment(*content: bytes, is_last: bool = False) -> Attachment:
    return Attachment(pieces(*content), is_last, cut=lambda: None, is_abandoned=lambda: False)


async def test_request_whose_client_has_gone_does_not_win_over_a_newer_one() -> None:
    """It may have waited for the database while its client broke off and came back."""
    body = ResumableBody(None, ends_at_length=False, stall_seconds=30, resume_seconds=900)
    cuts = list[str]()
    newer = Attachment(pieces(), is_last=False, cut=lambda: cuts.append("newer"), is_abandoned=lambda: False)
    older = Attachment(pieces(), is_last=False, cut=lambda: cuts.append("older"), is_abandoned=lambda: True)
    await body.attach(newer, 0, None)
    with pytest.raises(ClientGone):
        await body.attach(older, 0, None)
    assert not cuts


async def test_request_whose_client_goes_while_an_earlier_one_ends_brings_nothing() -> None:
    """A newer request may come meanwhile, and must find the upload free."""
    body = ResumableBody(None, ends_at_length=False, stall_seconds=30, resume_seconds=900)
    earlier, gone = attachment(), list[bool]()
    waiting = Attachment(pieces(), is_last=False, cut=lambda: None, is_abandoned=lambda: bool(gone))
    await body.attach(earlier, 0, None)
    attaching = asyncio.create_task(body.attach(waiting, 0, None))
    await asyncio.sleep(0)  # it waits
    gone.append(True)
    body.close()
    with pytest.raises(ClientGone):
        await attaching


async def test_whole_upload_takes_only_requests_that_bring_nothing() -> None:
    """A client that waited too long for its answer repeats its last request while the end is still on its way."""
    body = ResumableBody(None, ends_at_length=False, stall_seconds=30, resume_seconds=900)
    body.is_whole = True
    for byte_count in (0, None):
        await body.attach(attachment(is_last=True), 0, byte_count)
    for byte_count in (1, None):
        sent = attachment(b"x", b"y", is_last=True)
        with pytest.raises(MalformedRequest):
            await body.attach(sent, 0, byte_count)
        assert b"y" in [piece async for piece in sent.pieces]  # one piece is enough to tell
