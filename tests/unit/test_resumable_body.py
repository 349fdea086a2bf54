"""The bytes of an upload that come in several requests: which request may bring them."""

from collections.abc import AsyncIterator

import pytest

from service.errors import ClientGone
from service.uploads.resumable_body import Attachment, ResumableBody


async def nothing() -> AsyncIterator[bytes]:
    for piece in list[bytes]():
        yield piece


async def test_request_whose_client_has_gone_does_not_win_over_a_newer_one() -> None:
    """It may have waited for the database while its client broke off and came back."""
    body = ResumableBody(None, ends_at_length=False, stall_seconds=30, resume_seconds=900)
    cuts = list[str]()
    newer = Attachment(nothing(), is_last=False, cut=lambda: cuts.append("newer"), is_abandoned=lambda: False)
    older = Attachment(nothing(), is_last=False, cut=lambda: cuts.append("older"), is_abandoned=lambda: True)
    await body.attach(newer, 0, None)
    with pytest.raises(ClientGone):
        await body.attach(older, 0, None)
    assert not cuts
