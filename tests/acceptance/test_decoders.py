"""The rule: what the decoders agree on is taken whole and no more, or refused by a documented exception."""

import asyncio
from pathlib import Path

import pytest

from tests.support.client import TRANSPORTS, Account, Answer, Service
from tests.support.decoders import EXCEPTIONS, decoders
from tests.support.hostile import outcomes
from tests.support.lies import RATE, Lie, lie

LIES_IN_A_BATCH, BATCHES = 50, 6
ALL_DECODERS = 4
# Where not all agree, each reads as it likes, so any of these is right.
REFUSALS = {*EXCEPTIONS, "empty"} - {"surplus_sound"}


def decoded(told: Lie, path: Path) -> dict[str, int | None]:
    """Return how many samples each decoder plays; None if it plays none of it."""
    path.write_bytes(told.wav)
    return {name: decode(path, told.block_align) for name, decode in decoders(told.codec).items()}


def agreed(counts: dict[str, int | None]) -> int | None:
    """Return how many samples all decoders play that play the file, if these are at least two and agree."""
    played = [count for count in counts.values() if count is not None]
    return played[0] if len(played) > 1 and len(set(played)) == 1 and played[0] else None


def wrong_about(answer: Answer, counts: dict[str, int | None]) -> str | None:
    """Return what is wrong with the answer to a lie; None if it is right."""
    count, code = agreed(counts), (answer.json or {}).get("code")
    if answer.status != 201:
        is_right = answer.status == 422 and code in REFUSALS and (code != "empty" or count is None)
        return None if is_right else f"{answer.status} {code} for {counts}"
    taken = round(answer.json["duration"] * RATE)
    codes = {warning["code"] for warning in answer.json["warnings"]}
    if not answer.json["complete"]:
        return "an incomplete record that nobody asked for"
    if taken < max(filter(None, counts.values()), default=0):
        return f"{taken} taken of {counts}"
    if count is not None and taken > count and "surplus_sound" not in codes:
        return f"{taken} taken, which is more than {counts}"
    return None


@pytest.mark.parametrize("batch", range(BATCHES))
@pytest.mark.timeout(300)
async def test_lie_is_taken_as_far_as_the_decoders_agree_and_no_further(
    service: Service, account: Account, batch: int, tmp_path: Path
) -> None:
    if len(here := decoders("s16le")) < ALL_DECODERS:
        pytest.skip(f"of the decoders, only {', '.join(here)} are here: apt install sox, pip install soundfile")

    async def throw(number: int) -> tuple[str | None, bool, int]:
        told = lie(number)
        counts = await asyncio.to_thread(decoded, told, tmp_path / f"{number}.wav")
        answer = await service.upload(account, told.wav, transport=TRANSPORTS[number % 3])
        return wrong_about(answer, counts), agreed(counts) is not None, answer.status

    first = batch * LIES_IN_A_BATCH
    found = await outcomes({f"lie {number}": number for number in range(first, first + LIES_IN_A_BATCH)}, throw)
    assert {name: wrong for name, (wrong, _, _) in found.items() if wrong} == {}
    assert sum(is_agreed for _, is_agreed, _ in found.values()) > LIES_IN_A_BATCH / 2, "lies all alike test nothing"
    assert sum(status == 201 for _, _, status in found.values()) > LIES_IN_A_BATCH / 3
