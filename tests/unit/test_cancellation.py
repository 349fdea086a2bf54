"""The last step of a use case is done completely or not at all, even if its caller is cancelled."""

import asyncio

import pytest

from service.cancellation import to_the_end


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Work:
    """A step in two halves, with a wait between them."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.go_on = asyncio.Event()

    async def run(self) -> str:
        self.done.append("first half")
        await self.go_on.wait()
        self.done.append("second half")
        return "result"


async def test_the_result_is_returned() -> None:
    work = Work()
    work.go_on.set()
    assert await to_the_end(work.run()) == "result"


async def test_an_exception_passes() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await to_the_end(work())


@pytest.mark.parametrize("times", [1, 2, 5])
async def test_a_cancelled_caller_sees_the_work_to_its_end(times: int) -> None:
    work = Work()
    caller = asyncio.create_task(to_the_end(work.run()))
    await settle()
    for _ in range(times):
        caller.cancel()
        await settle()
    assert work.done == ["first half"]
    assert not caller.done()
    work.go_on.set()
    assert await caller == "result"
    assert work.done == ["first half", "second half"]


async def test_a_cancellation_that_was_due_before_comes_too_late() -> None:
    work = Work()
    work.go_on.set()

    async def caller() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return await to_the_end(work.run())

    assert await asyncio.create_task(caller()) == "result"


@pytest.mark.parametrize(("before", "meanwhile"), [(1, 0), (0, 1), (0, 2)])
async def test_a_dropped_cancellation_is_taken_back(before: int, meanwhile: int) -> None:
    """If a cancellation is left, a timeout of Python 3.11.2 raises CancelledError instead of TimeoutError."""

    async def caller() -> int:
        task = asyncio.current_task()
        assert task is not None
        for _ in range(before):
            task.cancel()
        await to_the_end(cancelling_its_caller(task, meanwhile))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.sleep(60)
        return task.cancelling()

    assert await asyncio.create_task(caller()) == 0


async def cancelling_its_caller(caller: "asyncio.Task[int]", times: int) -> None:
    for _ in range(times):
        caller.cancel()
        await settle()


async def test_a_cancellation_that_was_delivered_before_stays() -> None:
    """Cleanup may commit while its task is being cancelled; the task must stay cancelled."""

    async def caller() -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            await asyncio.sleep(60)
        finally:
            await to_the_end(cancelling_its_caller(task, 1))
            counts.append(task.cancelling())

    counts: list[int] = []
    task = asyncio.create_task(caller())
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counts == [1]


async def test_a_timeout_comes_too_late() -> None:
    work = Work()
    asyncio.get_running_loop().call_later(0.02, work.go_on.set)
    async with asyncio.timeout(0.005):
        assert await to_the_end(work.run()) == "result"


async def test_an_exception_reaches_a_cancelled_caller() -> None:
    async def work() -> None:
        await asyncio.sleep(0.005)
        raise ZeroDivisionError

    caller = asyncio.create_task(to_the_end(work()))
    await settle()
    caller.cancel()
    with pytest.raises(ZeroDivisionError):
        await caller


async def test_work_that_cancels_itself_is_cancelled() -> None:
    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await to_the_end(work())


async def test_no_task_is_left_when_the_caller_goes_on() -> None:
    work = Work()
    before = asyncio.all_tasks()
    caller = asyncio.create_task(to_the_end(work.run()))
    await settle()
    caller.cancel()
    work.go_on.set()
    await caller
    assert asyncio.all_tasks() == before
