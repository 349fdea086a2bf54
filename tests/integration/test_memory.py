"""What an upload keeps in memory while it waits for its client, and what glibc keeps of uploads that went by."""

import asyncio
import subprocess
import sys
import tracemalloc

import pytest

from service import memory
from service.background import in_background
from service.web.app_keys import LIVE_UPLOADS
from tests.support.client import EVERY_TRANSPORT, Account, Service, Transport
from tests.support.raw import connect, framed, request_head
from tests.support.waiting import until
from tests.support.wavs import chirp, wav

TALK = wav(chirp(44_100 * 3, 44_100, 2), sample_rate=44_100, channels=2)
# Whatever is larger than this is sound: the peaks, the row of the upload and the rest are smaller.
SMALL_BYTES = 12_000


def large_blocks() -> list[tracemalloc.Trace]:
    """Return what has been allocated since tracemalloc was started, is large, and is not the test's own."""
    own = tracemalloc.Filter(inclusive=False, filename_pattern=__file__)
    traces = tracemalloc.take_snapshot().filter_traces([own]).traces
    return [trace for trace in traces if trace.size > SMALL_BYTES]


@pytest.mark.parametrize("options", ["", "?incomplete=keep"])
@pytest.mark.parametrize("transport", EVERY_TRANSPORT)
async def test_upload_that_waits_for_its_client_keeps_no_sound(
    service: Service, account: Account, transport: Transport, options: str
) -> None:
    body = framed(TALK, transport)
    path = f"/records{options}" if transport == "multipart" else f"/records/{options}"
    head = request_head(account, transport, len(TALK), path=path)
    start, more = body[:150_000], body[150_000:450_000]
    async with connect(service) as client:
        await client.send(head + start)
        await until(lambda: service.app[LIVE_UPLOADS].of_user(account.id))
        (upload,) = service.app[LIVE_UPLOADS].of_user(account.id)
        await until(lambda: upload.progress.peaks is not None)
        tracemalloc.start()
        try:
            await client.send(more)
            # Chunks have their lengths around them.
            await until(lambda: upload.progress.reader.byte_count > 445_000)
            await until(lambda: not large_blocks(), explain=lambda: str(large_blocks()))
        finally:
            tracemalloc.stop()
        await client.send(body[450_000:])
        assert (await client.answer()).status == 201


# In processes of their own, because what other tests have left decides what glibc does.
def test_unused_memory_goes_back_to_the_system() -> None:
    code = """
import asyncio, os
from service import memory
from service.background import in_background
from tests.support import procfs

async def is_given_back():
    pieces, small = [], []
    for _ in range(500):  # so that each piece lies between two objects that live on
        pieces.append(bytearray(b"1" * 100_000))
        small.append(bytes(2_000))
    del pieces
    before = procfs.resident_bytes(os.getpid())
    async with in_background(memory.give_back_for_ever()):
        for _ in range(1_000):
            await asyncio.sleep(0.01)
            if procfs.resident_bytes(os.getpid()) < before - 30_000_000:
                return len(small) == 500
    return False

memory.PAUSE_SECONDS = 0.01
print(asyncio.run(is_given_back()))
"""
    assert output_of(code) == "True\n"


def test_next_pieces_get_the_pages_of_those_before() -> None:
    code = """
import asyncio, resource
from service.background import in_background
from service.memory import give_back_for_ever

async def faults():
    async with in_background(give_back_for_ever()):
        await asyncio.sleep(0)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(100):
            pieces = [b"1" * 256 * 1024 for _ in range(4)]
            del pieces
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(asyncio.run(faults()))
"""
    assert int(output_of(code)) < 100 * 64  # one piece has 64 pages


def output_of(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


async def test_it_goes_on_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = []

    async def fail(*_: object) -> None:
        rounds.append("")
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(memory, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(memory, "in_thread", fail)
    async with in_background(memory.give_back_for_ever()):
        await until(lambda: len(rounds) > 2)


async def test_where_the_c_library_cannot_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _name: object())
    async with asyncio.timeout(1):
        await memory.give_back_for_ever()
