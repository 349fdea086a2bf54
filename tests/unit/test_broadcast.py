"""A broadcast gives each listener every byte that is final, and the end only with the record."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.audio.mp3 import Mp3Format
from service.audio.mp3_outline import Mp3Outline
from service.uploads.broadcast import Broadcast, BroadcastBrokenError
from tests.support.waiting import until

HEAD = b"the tag and the Info frame, 40 bytes ..."
SOUND = bytes(range(256)) * 1_000
WHOLE = HEAD + SOUND
FORMAT = Mp3Format(44_100, 2, 128_000)


@pytest.fixture
def draft(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "draft", os.O_RDWR | os.O_CREAT)
    os.write(descriptor, bytes(len(HEAD)))  # ffmpeg's placeholder
    yield descriptor
    os.close(descriptor)


def outline(size: int | None, certain_size: int | None = None) -> Mp3Outline:
    return Mp3Outline(FORMAT, HEAD, None if size is None else 1_000, size, size or certain_size)


def open_count() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Heard:
    """One listener, and what it has."""

    def __init__(self, broadcast: Broadcast, start: int = 0, stop: int | None = None) -> None:
        self.content = b""
        self.task = asyncio.create_task(self._listen(broadcast, start, stop))

    async def _listen(self, broadcast: Broadcast, start: int, stop: int | None) -> None:
        with broadcast.listening():
            async for piece in broadcast.pieces(start, stop):
                self.content += piece


async def test_last_byte_of_a_known_size_waits_for_the_record(draft: int) -> None:
    broadcast = Broadcast()
    async with broadcast.on_air(outline(len(WHOLE)), draft):
        heard = Heard(broadcast)
        await until(lambda: heard.content == HEAD)
        os.write(draft, SOUND)
        await until(lambda: len(heard.content) == len(WHOLE) - 1)
        await asyncio.sleep(0.15)  # the draft is looked at again
        assert heard.content == WHOLE[:-1]
        broadcast.announce_record(1_000, len(WHOLE))
    await heard.task
    assert heard.content == WHOLE


async def test_end_without_a_record_is_an_error(draft: int) -> None:
    broadcast = Broadcast()
    async with broadcast.on_air(outline(None), draft):
        heard = Heard(broadcast)
        os.write(draft, SOUND)
        await until(lambda: heard.content == WHOLE)
    with pytest.raises(BroadcastBrokenError):
        await heard.task


async def test_record_of_other_sound_than_announced_is_an_error(draft: int) -> None:
    broadcast = Broadcast()
    async with broadcast.on_air(outline(len(WHOLE)), draft):
        heard = Heard(broadcast)
        await until(lambda: heard.content == HEAD)
        broadcast.announce_record(999, len(WHOLE))
    with pytest.raises(BroadcastBrokenError):
        await heard.task


async def test_frames_that_are_cut_off_in_the_end_are_never_shown(draft: int) -> None:
    """The last block of an unknown size may hold more than the record has."""
    broadcast = Broadcast()
    async with broadcast.on_air(outline(None), draft):
        heard = Heard(broadcast)
        os.write(draft, SOUND[:1_000])
        await until(lambda: len(heard.content) == len(HEAD) + 1_000)
        broadcast.hold_back()
        os.write(draft, SOUND[1_000:])
        os.ftruncate(draft, len(HEAD) + 2_000)
        broadcast.announce_record(7, len(HEAD) + 2_000)
    await heard.task
    assert heard.content == WHOLE[: len(HEAD) + 2_000]


async def test_no_more_than_is_certain_is_shown(draft: int) -> None:
    broadcast = Broadcast()
    async with broadcast.on_air(outline(None, certain_size=500), draft):
        heard = Heard(broadcast)
        os.write(draft, SOUND)
        await until(lambda: len(heard.content) == 500)
        await asyncio.sleep(0.15)
        assert heard.content == WHOLE[:500]
        heard.task.cancel()


async def test_listener_far_behind_and_one_at_the_edge_have_the_same_bytes(draft: int) -> None:
    broadcast = Broadcast()
    async with broadcast.on_air(outline(len(WHOLE)), draft):
        first = Heard(broadcast)
        os.write(draft, SOUND[:200_000])
        await until(lambda: len(first.content) == len(HEAD) + 200_000)
        late, part = Heard(broadcast), Heard(broadcast, 30, 150_000)
        await part.task
        assert part.content == WHOLE[30:150_000]
        os.write(draft, SOUND[200_000:])
        broadcast.announce_record(1_000, len(WHOLE))
    await asyncio.gather(first.task, late.task)
    assert first.content == late.content == WHOLE


async def test_descriptor_of_the_listeners_is_closed_after_the_last_one(draft: int) -> None:
    broadcast, before = Broadcast(), open_count()
    async with broadcast.on_air(outline(None), draft):
        for _ in range(2):
            listeners = [Heard(broadcast) for _ in range(3)]
            await until(lambda: all(heard.content == HEAD for heard in listeners))  # noqa: B023 - awaited here
            for heard in listeners:
                heard.task.cancel()
            await asyncio.wait({heard.task for heard in listeners})
            assert open_count() == before
