"""Checks that fail, hang and come back."""

import asyncio

from service.health import CheckFailed, Health


async def passes() -> None:
    pass


async def fails() -> None:
    raise CheckFailed("Mend it.")


async def test_each_check_says_what_is_wrong() -> None:
    assert await Health({"one": passes, "other": fails}).results() == {"one": "ok", "other": "Mend it."}


async def test_check_that_hangs_fails_in_time_and_is_not_begun_again_meanwhile() -> None:
    begun, may_end = list[int](), asyncio.Event()

    async def hangs() -> None:
        begun.append(1)
        await may_end.wait()

    health = Health({"one": passes, "hanging": hangs}, check_seconds=0.05, fresh_seconds=0)
    async with asyncio.timeout(5):
        for _ in range(3):
            assert await health.results() == {"one": "ok", "hanging": "No answer within 0.05 seconds."}
        assert len(begun) == 1
        may_end.set()
        await asyncio.sleep(0)
        assert await health.results() == {"one": "ok", "hanging": "ok"}


async def test_checks_are_asked_side_by_side() -> None:
    async def hangs() -> None:
        await asyncio.Event().wait()

    health = Health(dict.fromkeys("abc", hangs), check_seconds=0.2)
    async with asyncio.timeout(0.5):
        assert len(await health.results()) == 3
