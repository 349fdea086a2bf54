"""Threads of their own for each kind of work, and what a cancellation finds there."""

import asyncio
import contextlib
import os
import signal
import threading

import pytest

from service.threads import OPERATORS, PersistentExecutor, Threads, in_thread, interruptibly, using


async def test_result_and_error_come_back() -> None:
    threads = Threads("test", 1)
    assert await threads.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 7, 0)


async def test_cancellation_waits_for_a_function_that_has_begun() -> None:
    threads, has_begun, may_end = Threads("test", 1), threading.Event(), threading.Event()

    def work() -> None:
        has_begun.set()
        may_end.wait(10)

    running = asyncio.create_task(threads.run(work))
    await asyncio.to_thread(has_begun.wait)
    running.cancel()
    await asyncio.wait({running}, timeout=0.05)
    assert not running.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_function_that_has_not_begun_never_does_after_a_cancellation() -> None:
    threads, may_end, ran = Threads("test", 1), threading.Event(), list[int]()
    first = asyncio.create_task(threads.run(may_end.wait, 10))
    second = asyncio.create_task(threads.run(ran.append, 2))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    may_end.set()
    await first
    await threads.run(ran.append, 3)
    assert ran == [3]


async def test_work_keeps_to_the_threads_that_it_was_given() -> None:
    async def name() -> str:
        return (await in_thread(threading.current_thread)).name

    assert (await name()).startswith("uploads")
    with using(OPERATORS):
        begun = asyncio.create_task(name())
    assert (await begun).startswith("operators")
    assert (await name()).startswith("uploads")


async def test_kinds_of_threads_do_not_wait_for_each_other() -> None:
    may_end = threading.Event()
    hanging = [asyncio.create_task(in_thread(may_end.wait, 10)) for _ in range(64)]
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await OPERATORS.run(threading.current_thread)
        await asyncio.to_thread(threading.current_thread)
    may_end.set()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*hanging)


def refuse(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


async def test_work_waits_for_a_thread_that_is_there_if_no_other_can_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads, may_end = Threads("test", 2), threading.Event()
    first = asyncio.create_task(threads.run(may_end.wait, 10))
    await asyncio.sleep(0)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    second = asyncio.create_task(threads.run(divmod, 7, 2))
    await asyncio.wait({second}, timeout=0.05)
    may_end.set()
    assert await first
    assert await second == (3, 1)


async def test_work_without_any_thread_is_an_error_and_is_never_done(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, ran = Threads("test", 1), list[int]()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OSError, match="can't start new thread"):
            await threads.run(ran.append, 1)
    await threads.run(ran.append, 2)
    assert ran == [2]


async def test_event_loop_uses_a_thread_that_is_there_if_no_other_can_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    may_end = threading.Event()
    with PersistentExecutor("test", 2) as executor:
        asyncio.get_running_loop().set_default_executor(executor)
        first = asyncio.create_task(asyncio.to_thread(may_end.wait, 10))
        await asyncio.sleep(0)
        monkeypatch.setattr(threading.Thread, "start", refuse)
        second = asyncio.create_task(asyncio.to_thread(divmod, 7, 2))
        await asyncio.wait({second}, timeout=0.05)
        may_end.set()
        assert await first
        assert await second == (3, 1)
        monkeypatch.undo()


async def test_executor_that_has_ended_takes_no_work() -> None:
    with PersistentExecutor("test", 1) as executor:
        assert executor.submit(divmod, 7, 2).result() == (3, 1)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(divmod, 7, 2)


async def test_kind_of_threads_that_has_started_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads("test", 2)
    await threads.start()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert await threads.run(divmod, 7, 2) == (3, 1)


def test_function_whose_caller_is_interrupted_is_left_alone() -> None:
    may_end, has_ended = threading.Event(), threading.Event()

    def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        may_end.wait(10)
        has_ended.set()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            interruptibly(work)
    finally:
        signal.signal(signal.SIGINT, before)
    may_end.set()
    assert has_ended.wait(10)


def test_result_and_error_of_an_interruptible_function_come_back() -> None:
    assert interruptibly(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        interruptibly(divmod, 7, 0)
