"""Recorders that are killed at random moments: with `?incomplete=keep`, what had reached the service is a record."""

import asyncio
import json
import random
import subprocess
from pathlib import Path

import pytest

from tests.support.serving import RATE, Headers, Serving, noise, serve
from tests.support.tools import require_tool
from tests.support.waiting import until

HEADER = noise(1)[:4] + b"\xff\xff\xff\xff" + noise(1)[8:40] + b"\xff\xff\xff\xff"  # as a recorder writes it
SECOND = noise(1)[44:]
SECOND_BYTES = 4 * RATE
AT_ONCE = 8
# The recorders are this much faster than sound, so that the test is.
SPEED = 4
# What may wait in the pipe to curl, and in curl itself.
UNSENT_BYTES = 2 * 64 * 1024


async def record_until_killed(serving: Serving, user: Headers, number: int) -> int:
    """Record into curl, kill it at a random moment, and return how many bytes of the WAV it was given."""
    url = f"http://127.0.0.1:{serving.port}/records/{number}.wav?incomplete=keep"
    command = [require_tool("curl"), "-sS", "-o", "/dev/null", "-T", "-", url]
    for name, value in user.items():
        command += ["-H", f"{name}: {value}"]
    process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(HEADER)
    given, piece = len(HEADER), SECOND_BYTES // 20
    for _ in range(random.Random(number).randrange(10, 60)):
        process.stdin.write(SECOND[:piece])
        await process.stdin.drain()
        given += piece
        await asyncio.sleep(1 / 20 / SPEED)
    await asyncio.sleep(random.Random(-number).uniform(0, 0.1))
    process.kill()
    await process.wait()
    return given


@pytest.mark.parametrize("recorder_count", [8, pytest.param(100, marks=pytest.mark.long)])
@pytest.mark.timeout(300)
async def test_killed_recorder_loses_less_than_a_second_of_what_had_arrived(
    tmp_path: Path, recorder_count: int
) -> None:
    with serve(tmp_path / "data") as serving:
        user = await asyncio.to_thread(serving.create_user)
        places = asyncio.Semaphore(AT_ONCE)

        async def record(number: int) -> int:
            async with places:
                return await record_until_killed(serving, user, number)

        given = await asyncio.gather(*(record(number) for number in range(recorder_count)))
        await until(lambda: len(received(serving)) == recorder_count, explain=serving.log)
        _, _, body = await asyncio.to_thread(serving.request, "GET", "/records?limit=100", None, user)
        records = {record["filename"]: record for record in json.loads(body)["records"]}
        assert set(records) == {f"{number}.wav" for number in range(recorder_count)}
        for number in range(recorder_count):
            kept = records[f"{number}.wav"]
            assert kept["complete"] is False
            assert kept["duration"] == round((kept["source_size"] - len(HEADER)) // 4 / RATE, 6)
            assert given[number] >= received(serving)[number] >= kept["source_size"]
            assert received(serving)[number] - kept["source_size"] <= SECOND_BYTES
            assert given[number] - kept["source_size"] <= SECOND_BYTES + UNSENT_BYTES


def received(serving: Serving) -> dict[int, int]:
    """Return how many bytes the service has read of each recorder, by its log."""
    lines = (json.loads(line) for line in serving.log().splitlines() if '"event": "request"' in line)
    return {int(Path(line["path"]).stem): line["bytes_in"] for line in lines if line["method"] == "PUT"}
