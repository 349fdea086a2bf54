"""Which uploads may encode, wait or are refused at once, and what happens to them at a shutdown."""

import asyncio
import random

import pytest

from service.errors import ClientGone, TooManyRequests, Unavailable
from service.uploads.admission import Admission
from service.uploads.places import Places
from tests.support.waiting import until

ANN, BOB = 1, 2


def is_here() -> bool:
    """Return that the client has not gone away."""
    return False


class Upload:
    """An upload that holds a slot, in its own task, until the test ends it."""

    def __init__(self, admission: Admission, log: list[str] | None = None, name: str = "", user_id: int = ANN) -> None:
        self.user_id = user_id
        self.is_inside = False
        self.end = asyncio.Event()
        self.task = asyncio.create_task(self._run(admission, log if log is not None else [], name))

    async def _run(self, admission: Admission, log: list[str], name: str) -> str:
        async with admission.slot(self.user_id, is_here):
            self.is_inside = True
            log.append(name)
            await self.end.wait()
        return "done"


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def start(admission: Admission, count: int = 1) -> list[Upload]:
    uploads = [Upload(admission) for _ in range(count)]
    await settle()
    return uploads


async def code_of_refusal(task: asyncio.Task[str]) -> str:
    with pytest.raises(Unavailable) as error:
        await task
    return error.value.code


async def end(*uploads: Upload) -> None:
    for upload in uploads:
        upload.end.set()
    assert [await upload.task for upload in uploads] == ["done"] * len(uploads)


async def assert_all_free(admission: Admission, max_running: int) -> None:
    """Fail unless as many uploads as at the beginning can run at once, and none is counted twice."""
    assert (admission.running, admission.waiting) == (set(), set())
    uploads = await start(admission, max_running)
    assert all(upload.is_inside for upload in uploads)
    await end(*uploads)


async def test_who_arrives_makes_no_crowd_while_a_slot_is_free() -> None:
    admission = Admission(Places(max_running=2, max_waiting=2))
    (first,) = await start(admission)
    admission.arrive()
    assert not admission.is_crowded()
    (second,) = await start(admission)
    assert admission.is_crowded()
    await end(first, second)
    assert not admission.is_crowded()


async def test_as_many_run_as_there_are_slots_and_the_next_ones_wait() -> None:
    admission = Admission(Places(max_running=2, max_waiting=2))
    uploads = await start(admission, 4)
    assert [upload.is_inside for upload in uploads] == [True, True, False, False]
    assert (len(admission.running), len(admission.waiting)) == (2, 2)
    await end(uploads[0])
    await settle()
    assert [upload.is_inside for upload in uploads] == [True, True, True, False]
    await end(*uploads[1:])
    await assert_all_free(admission, 2)


@pytest.mark.parametrize("max_waiting", [0, 1, 3])
async def test_an_upload_past_the_queue_is_refused_at_once(max_waiting: int) -> None:
    admission = Admission(Places(max_running=1, max_waiting=max_waiting))
    uploads = await start(admission, 1 + max_waiting)
    with pytest.raises(Unavailable) as error:
        # If anything waits, however briefly, TimeoutError is raised.
        async with asyncio.timeout(0), admission.slot(ANN, is_here):
            pytest.fail("there was no slot to be had")
    assert error.value.code == "queue_full"
    await end(*uploads)
    await assert_all_free(admission, 1)


async def test_a_free_slot_is_given_even_if_nobody_may_wait() -> None:
    admission = Admission(Places(max_running=1, max_waiting=0))
    async with asyncio.timeout(0), admission.slot(ANN, is_here):
        pass
    await assert_all_free(admission, 1)


async def test_waiting_uploads_are_served_in_order() -> None:
    admission = Admission(Places(max_running=1, max_waiting=5))
    order: list[str] = []
    uploads = [Upload(admission, order, name) for name in "abcde"]
    await settle()
    for upload in uploads:
        await end(upload)
    assert order == list("abcde")


async def test_nobody_overtakes_an_upload_that_has_a_slot_and_has_not_begun() -> None:
    admission = Admission(Places(max_running=1, max_waiting=5))
    async with admission.slot(ANN, is_here):
        (waiting,) = await start(admission)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0), admission.slot(ANN, is_here):
            pytest.fail("the slot was another's")
    assert waiting.is_inside
    await end(waiting)
    await assert_all_free(admission, 1)


async def test_an_exception_gives_the_slot_back_and_passes() -> None:
    admission = Admission(Places(max_running=1, max_waiting=0))
    with pytest.raises(ZeroDivisionError):
        async with admission.slot(ANN, is_here):
            raise ZeroDivisionError
    await assert_all_free(admission, 1)


async def test_a_cancelled_upload_gives_its_slot_back_and_stays_cancelled() -> None:
    admission = Admission(Places(max_running=1, max_waiting=1))
    running, waiting = await start(admission, 2)
    running.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running.task
    await settle()
    assert waiting.is_inside
    await end(waiting)
    await assert_all_free(admission, 1)


async def test_a_cancelled_wait_gives_its_place_back_and_stays_cancelled() -> None:
    admission = Admission(Places(max_running=1, max_waiting=1))
    running, waiting = await start(admission, 2)
    waiting.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting.task
    (next_one,) = await start(admission)
    await end(running, next_one)
    assert next_one.is_inside
    await assert_all_free(admission, 1)


async def test_a_wait_that_is_cancelled_just_as_it_ends_loses_no_slot() -> None:
    admission = Admission(Places(max_running=1, max_waiting=2))
    async with admission.slot(ANN, is_here):
        waiting, last = await start(admission, 2)
    waiting.task.cancel()  # the slot now belongs to this one, which has not run since
    await settle()
    assert waiting.task.cancelled()
    assert last.is_inside
    await end(last)
    await assert_all_free(admission, 1)


@pytest.mark.parametrize("seed", range(5))
async def test_no_slot_is_lost_however_uploads_come_and_go(seed: int) -> None:
    source = random.Random(seed)
    admission = Admission(Places(max_running=3, max_waiting=4))
    uploads: list[Upload] = []
    for _ in range(600):
        action = source.choice(["come", "end", "cancel", "pause"])
        if action == "come":
            uploads.append(Upload(admission))
        elif action == "pause":
            await asyncio.sleep(0)
        elif uploads:
            upload = source.choice(uploads[-7:])
            upload.end.set() if action == "end" else upload.task.cancel()
        assert len(admission.running) <= 3
        assert len(admission.running) + len(admission.waiting) <= 3 + 4  # one of them may be about to run
    for upload in uploads:
        upload.end.set()
    outcomes = await asyncio.gather(*(upload.task for upload in uploads), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {str, Unavailable, asyncio.CancelledError}
    await assert_all_free(admission, 3)


async def test_closing_refuses_new_and_waiting_uploads_and_lets_running_ones_go_on() -> None:
    admission = Admission(Places(max_running=1, max_waiting=2))
    running, *waiting = await start(admission, 3)
    admission.close()
    assert not admission.is_open
    for upload in waiting:
        assert await code_of_refusal(upload.task) == "shutting_down"
    (late,) = await start(admission)
    assert await code_of_refusal(late.task) == "shutting_down"
    assert not any(upload.is_inside for upload in [*waiting, late])
    assert running.is_inside
    await end(running)


async def test_closing_refuses_an_upload_that_has_a_slot_and_has_not_begun() -> None:
    admission = Admission(Places(max_running=1, max_waiting=1))
    async with admission.slot(ANN, is_here):
        (waiting,) = await start(admission)
    admission.close()
    assert await code_of_refusal(waiting.task) == "shutting_down"
    assert not waiting.is_inside
    assert (admission.running, admission.waiting) == (set(), set())


async def test_closing_refuses_at_once_even_if_slots_are_free() -> None:
    admission = Admission(Places(max_running=5, max_waiting=5))
    admission.close()
    with pytest.raises(Unavailable) as error:
        async with asyncio.timeout(0), admission.slot(ANN, is_here):
            pytest.fail("the service shuts down")
    assert error.value.code == "shutting_down"


async def test_draining_waits_for_the_running() -> None:
    admission = Admission(Places(max_running=2, max_waiting=0))
    first, second = await start(admission, 2)
    admission.close()
    drained = asyncio.create_task(admission.drain(60))
    await settle()
    await end(first)
    await settle()
    assert not drained.done()
    await end(second)
    await drained


@pytest.mark.parametrize("count", [0, 2])
async def test_draining_an_idle_service_takes_no_time(count: int) -> None:
    admission = Admission(Places(max_running=2, max_waiting=1))
    await end(*await start(admission, count))
    admission.close()
    async with asyncio.timeout(0):
        await admission.drain(60)


async def test_draining_cancels_what_still_runs_after_the_grace() -> None:
    admission = Admission(Places(max_running=2, max_waiting=0))
    cancelled = []

    async def upload(name: str) -> str:
        async with admission.slot(ANN, is_here):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(name)
                raise
        return "done"

    tasks = [asyncio.create_task(upload(name)) for name in "ab"]
    await settle()
    admission.close()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await admission.drain(0.05)
    assert 0.04 < loop.time() - begun < 1
    assert [await code_of_refusal(task) for task in tasks] == ["shutting_down"] * 2
    assert sorted(cancelled) == ["a", "b"]
    assert admission.running == set()


async def test_a_drained_upload_can_answer_the_client() -> None:
    admission = Admission(Places(max_running=1, max_waiting=0))

    async def handler() -> str:
        try:
            async with admission.slot(ANN, is_here):
                await asyncio.Event().wait()
        except Unavailable as error:
            await asyncio.sleep(0)  # a cancellation that is still pending would be raised here
            task = asyncio.current_task()
            assert task is not None
            assert not task.cancelling()
            return error.code
        return "done"

    task = asyncio.create_task(handler())
    await settle()
    admission.close()
    await admission.drain(0)
    assert await task == "shutting_down"


async def test_a_block_that_succeeds_despite_the_cancellation_is_not_refused() -> None:
    admission = Admission(Places(max_running=1, max_waiting=0))

    async def upload() -> str:
        async with admission.slot(ANN, is_here):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "kept"
        return "done"

    task = asyncio.create_task(upload())
    await settle()
    admission.close()
    await admission.drain(0)
    assert await task == "kept"


async def test_an_upload_that_is_drained_twice_may_clean_up() -> None:
    admission = Admission(Places(max_running=1, max_waiting=0))
    clean = []

    async def upload() -> str:
        async with admission.slot(ANN, is_here):
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.01)  # for example, it reaps a process or removes a file
                clean.append("clean")
        return "done"

    task = asyncio.create_task(upload())
    await settle()
    admission.close()
    await admission.drain(0.001)
    await admission.drain(0)
    assert await code_of_refusal(task) == "shutting_down"
    assert clean == ["clean"]


async def test_an_upload_keeps_its_place_until_it_takes_a_slot_or_ends() -> None:
    admission = Admission(Places(max_running=1, max_waiting=0))
    is_known = asyncio.Event()

    async def arrive(*, stays: bool) -> str:
        admission.arrive()
        await is_known.wait()
        if not stays:
            return "gone"
        async with admission.slot(ANN, is_here):
            return "done"

    gone = asyncio.create_task(arrive(stays=False))
    await settle()
    assert await code_of_refusal(asyncio.create_task(arrive(stays=True))) == "queue_full"
    is_known.set()
    assert await gone == "gone"
    assert await asyncio.create_task(arrive(stays=True)) == "done"
    await assert_all_free(admission, 1)


async def test_user_with_half_of_the_slots_gets_no_further_one_while_others_wait() -> None:
    admission = Admission(Places(max_running=4, max_waiting=8))
    order: list[str] = []
    anns = [Upload(admission, order, f"ann {number}", user_id=ANN) for number in range(4)]
    await settle()
    ann_waits = Upload(admission, order, "ann waits", user_id=ANN)
    bob = Upload(admission, order, "bob", user_id=BOB)
    await settle()
    refused = Upload(admission, order, "ann again", user_id=ANN)
    with pytest.raises(TooManyRequests):
        await refused.task
    await end(anns[0])
    await settle()
    assert (bob.is_inside, ann_waits.is_inside) == (True, False)  # she came first, but has three of four
    await end(*anns[1:], bob, ann_waits)
    await assert_all_free(admission, 4)


async def test_single_user_may_have_every_slot() -> None:
    admission = Admission(Places(max_running=4, max_waiting=4))
    uploads = [Upload(admission, user_id=ANN) for _ in range(6)]
    await settle()
    assert [upload.is_inside for upload in uploads] == [True] * 4 + [False] * 2
    await end(*uploads)
    await assert_all_free(admission, 4)


async def test_users_who_both_have_half_go_on_in_their_order() -> None:
    admission = Admission(Places(max_running=2, max_waiting=2))
    ann, bob = Upload(admission, user_id=ANN), Upload(admission, user_id=BOB)
    await settle()
    ann_waits = Upload(admission, user_id=ANN)
    await settle()
    await end(bob)
    await settle()
    assert ann_waits.is_inside
    await end(ann, ann_waits)


async def test_client_that_goes_away_leaves_the_queue() -> None:
    admission = Admission(Places(max_running=1, max_waiting=1))
    (running,) = await start(admission)
    gone = False

    async def wait() -> None:
        async with admission.slot(BOB, lambda: gone):
            pytest.fail("the slot was taken")

    waiting = asyncio.create_task(wait())
    await settle()
    assert len(admission.waiting) == 1
    gone = True
    with pytest.raises(ClientGone):
        await waiting
    (next_one,) = await start(admission)  # its place is free
    await end(running, next_one)
    await assert_all_free(admission, 1)


async def test_slot_that_another_process_gives_back_is_found() -> None:
    places = Places(max_running=1, max_waiting=1, rows=2)
    places.row = 1
    places.take_slot()
    places.row = 0
    admission = Admission(places)
    (waiting,) = await start(admission)
    assert not waiting.is_inside
    places.clear(1)
    await until(lambda: waiting.is_inside)
    await end(waiting)


async def test_queue_knows_since_when_it_is_full() -> None:
    admission = Admission(Places(max_running=1, max_waiting=1))
    assert admission.full_seconds == 0
    running, waiting = await start(admission, 2)
    (refused,) = await start(admission)
    assert await code_of_refusal(refused.task) == "queue_full"
    assert admission.full_seconds > 0
    await end(running, waiting)
    assert admission.full_seconds == 0


async def test_user_waits_for_no_more_than_one_user_may_have() -> None:
    admission = Admission(Places(max_running=2, max_waiting=8), max_uploads_per_user=3)
    uploads = [Upload(admission, user_id=ANN) for _ in range(3)]
    await settle()
    refused = Upload(admission, user_id=ANN)
    with pytest.raises(TooManyRequests):
        await refused.task
    await end(*uploads)
    await assert_all_free(admission, 2)


async def test_admission_is_settled_when_each_upload_that_has_begun_has_a_slot_or_has_ended() -> None:
    admission = Admission(Places(max_running=1, max_waiting=2))
    is_known = asyncio.Event()

    async def begin(name: str) -> str:
        admission.begin()
        await is_known.wait()
        if name == "stranger":
            return "refused"
        async with admission.slot(ANN, is_here):
            await asyncio.Event().wait()
        return "done"

    tasks = [asyncio.create_task(begin(name)) for name in ("stranger", "user")]
    await settle()
    settled = asyncio.create_task(admission.until_settled(60))
    await settle()
    assert not settled.done()
    is_known.set()
    await settled
    assert await tasks[0] == "refused"
    assert admission.running == {tasks[1]}
    tasks[1].cancel()


async def test_admission_does_not_wait_for_ever_until_it_is_settled() -> None:
    admission = Admission(Places(max_running=1, max_waiting=2))

    async def begin() -> None:
        admission.begin()
        await asyncio.Event().wait()

    task = asyncio.create_task(begin())
    await settle()
    async with asyncio.timeout(5):
        await admission.until_settled(0.01)
    task.cancel()
