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
    all_three = asyncio.Barrier(3)

    async def meets_the_others() -> None:
        await all_three.wait()

    assert await Health(dict.fromkeys("abc", meets_the_others)).results() == dict.fromkeys("abc", "ok")
