"""Random sequences of requests for resumable uploads, in both languages, against a model of what each must do.

What an upload must become is what a plain upload of the same bytes becomes. Each request goes to the process that has
the upload, or to another one that passes it on.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from service.web.app_keys import ADMISSION
from tests.support import wavs
from tests.support.client import Account, Answer, Service, StartService, in_pieces
from tests.support.database import query
from tests.support.invariants import invariants_hold
from tests.support.raw import connect
from tests.support.resumable import Resumable, create
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Coroutine

STEPS = 12
SEQUENCES_IN_MAKE_TEST = 25
BATCHES_IN_MAKE_FUZZ = 20
SEQUENCES_IN_A_BATCH = 100  # 2,000 in all
STALL_SECONDS, RESUME_SECONDS = 0.8, 1.6
PATIENCE_SECONDS = 30.0

TALKS = {
    "declared": wavs.wav(wavs.chirp(20_000, 8000, 1), sample_rate=8000, channels=1),
    "streamed": wavs.wav(
        wavs.chirp(3001, 8000, 1),
        sample_rate=8000,
        channels=1,
        data_size=wavs.UNKNOWN_SIZE,
        riff_size=wavs.UNKNOWN_SIZE,
    ),
    "large": wavs.wav(wavs.chirp(100_000, 44_100, 2), sample_rate=44_100, channels=2),
    "no WAV": b"no WAV at all" * 500,
}
KEEP = {"incomplete": "keep"}


@dataclass(frozen=True)
class Outcome:
    """What an upload becomes: a record with that MP3, or a refusal with that code."""

    status: int
    code: str | None = None
    sha256: str | None = None
    is_complete: bool | None = None

    @classmethod
    def of(cls, answer: Answer) -> Outcome:
        if answer.status in {200, 201}:
            return cls(201, None, answer.json["sha256"], answer.json["complete"])
        return cls(answer.status, answer.json["code"])


@dataclass(eq=False)
class Model:
    """What is known of an upload under way. `content` is what its client means to send."""

    upload: Resumable
    content: bytes
    length: int | None
    keeps: bool
    lives_until: float
    offset: int = 0

    def is_whole_at(self, end: int, *, is_last: bool) -> bool:
        return end == self.length if self.upload.language == "tus" else is_last

    def is_contradicted_by(self, end: int, *, is_last: bool) -> bool:
        is_end = is_last and self.upload.language == "ietf"
        return self.length is not None and (end > self.length or (is_end and end != self.length))

    def until(self, share: float) -> int:
        """Return where a request ends that brings that share of the rest; more than all is that many bytes."""
        rest = len(self.content) - self.offset
        return self.offset + (min(rest, int(share)) if share > 1 else int(rest * share))


@dataclass
class World:
    """Two processes of the service with one database, and their users."""

    services: list[Service]
    account: Account
    stranger: Account
    loop: asyncio.AbstractEventLoop
    outcomes: dict[tuple[bytes, bool], Outcome] = field(default_factory=dict)

    def run(self, steps: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(steps, self.loop).result(120)

    async def outcome(self, content: bytes, *, keeps: bool) -> Outcome:
        """Return what becomes of a plain upload of these bytes."""
        key = (content, keeps)
        if key not in self.outcomes:
            answer = await self.services[0].upload(self.account, content, params=KEEP if keeps else None)
            self.outcomes[key] = Outcome.of(answer)
            if answer.status == 201:
                await self.delete_record(answer.json["id"])
        return self.outcomes[key]

    async def delete_record(self, record_id: str) -> None:
        path = f"/records/{record_id}"
        assert (await self.services[0].request("DELETE", path, headers=self.account.headers)).status == 204

    async def until_quiet(self) -> None:
        """Wait until no connection is open, and so no request is under way."""
        await until(lambda: not any(map(connections, self.services)))


def connections(service: Service) -> list[Any]:
    runner = service.client.server.runner
    assert runner is not None
    assert runner.server is not None
    return list(runner.server.connections)


shares = st.one_of(st.sampled_from([0.0, 2, 12, 43, 44, 45, 46, 47, 1000, 1.0]), st.floats(0.01, 0.99))
languages = st.sampled_from(["tus", "ietf"])
process = st.sampled_from([0, 0, 1])
which = st.integers(0, 2)
rarely = st.sampled_from([False] * 6 + [True])


class Sequence(RuleBasedStateMachine):
    """One sequence of requests."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.live: list[Model] = []
        self.records: dict[str, Outcome] = {}
        self.waits = 0

    # Rules: each is one thing that clients do.

    @rule(
        language=languages,
        talk=st.sampled_from(sorted(TALKS)),
        more=st.sampled_from([None, 0, 0, -10, 10]),
        share=shares,
        is_whole=rarely,
        keeps=st.booleans(),
    )
    def creates(self, language: str, talk: str, more: int | None, share: float, *, is_whole: bool, keeps: bool) -> None:
        content = TALKS[talk] if more is None else (TALKS[talk] + bytes(10))[: len(TALKS[talk]) + more]
        self.world.run(
            self._create(
                language, content, None if more is None else len(content), share, is_whole=is_whole, keeps=keeps
            )
        )

    @rule(number=which, share=shares, is_last=rarely, is_chunked=st.booleans(), via=process)
    def appends(self, number: int, share: float, via: int, *, is_last: bool, is_chunked: bool) -> None:
        model = self._pick(number)
        self.world.run(self._append(model, model.until(share), via, is_last=is_last, is_chunked=is_chunked))

    @rule(number=which, via=process)
    def completes(self, number: int, via: int) -> None:
        model = self._pick(number)
        self.world.run(self._append(model, len(model.content), via, is_last=True, tells_length=True))

    @rule(number=which, wrong=st.sampled_from([-1, 1, -1000, 1000, 10**17]), via=process)
    def appends_elsewhere(self, number: int, wrong: int, via: int) -> None:
        model = self._pick(number)
        self.world.run(self._append_elsewhere(model, max(0, model.offset + wrong), via))

    @rule(number=which, share=shares, part=st.floats(0, 0.99), ending=st.sampled_from(["FIN", "RST"]), via=process)
    def breaks_off(self, number: int, share: float, part: float, ending: str, via: int) -> None:
        model = self._pick(number)
        self.world.run(self._break_off(model, model.until(share), part, ending, via))

    @rule(number=which, one=shares, other=shares, via=process)
    def sends_two_at_once(self, number: int, one: float, other: float, via: int) -> None:
        model = self._pick(number)
        self.world.run(self._send_two(model, [model.until(one), model.until(other)], via))

    @rule(number=which, via=process)
    def asks(self, number: int, via: int) -> None:
        self.world.run(self._ask(self._pick(number), via))

    @rule(number=which, via=process)
    def cancels(self, number: int, via: int) -> None:
        self.world.run(self._cancel(self._pick(number), via))

    @rule(number=which, via=process)
    def strangers_try(self, number: int, via: int) -> None:
        self.world.run(self._stranger_tries(self._pick(number), via))

    @rule(number=which, is_patient=rarely, waits=rarely)
    def waits_until_suspended(self, number: int, *, is_patient: bool, waits: bool) -> None:
        if waits and not self.waits:
            self.waits += 1
            self.world.run(self._wait(self._pick(number), is_patient=is_patient))

    @invariant()
    def list_is_right(self) -> None:
        self.world.run(self._check_list())

    def teardown(self) -> None:
        self.world.run(self._end())

    # What they do.

    def _pick(self, number: int) -> Model:
        """Return one of the uploads under way. What a rule may do must not depend on how races end."""
        if not self.live:
            content = TALKS["declared"]
            self.world.run(self._create("tus", content, len(content), 0.0, is_whole=False, keeps=False))
        return self.live[number % len(self.live)]

    def _seen(self, model: Model, via: int) -> Resumable:
        return replace(model.upload, service=self.world.services[via])

    async def _create(
        self, language: str, content: bytes, length: int | None, share: float, *, is_whole: bool, keeps: bool
    ) -> None:
        began_at = time.monotonic()
        service, account = self.world.services[0], self.world.account
        in_metadata = KEEP if keeps and language == "tus" else None
        path = "/uploads?incomplete=keep" if keeps and language == "ietf" else "/uploads"
        model = Model(
            Resumable(service, account, "", language), content, length, keeps, lives_until=began_at + RESUME_SECONDS
        )
        end = model.until(share)
        answer = await create(
            service, account, language, length, data=content[:end], is_whole=is_whole, metadata=in_metadata, path=path
        )
        if language == "ietf" and is_whole and answer.status == 201:
            location = f"/uploads/{answer.json['id']}"
        else:
            location = answer.headers.get("Location", "").removeprefix(str(service.url).rstrip("/"))
        if location:
            model.upload = replace(model.upload, path=location)
            self.live.append(model)
            is_ended = answer.status == 201 and (language == "ietf" or "Content-Location" in answer.headers)
            await self._judge(model, answer, end, began_at, is_last=is_whole, is_creation=not is_ended)
        else:  # nobody knows its address, and so it must be gone
            await self._judge_refused_creation(model, answer, end, is_last=is_whole)

    async def _judge_refused_creation(self, model: Model, answer: Answer, end: int, *, is_last: bool) -> None:
        if model.is_contradicted_by(end, is_last=is_last):
            assert (answer.status, answer.json["code"]) == (400, "inconsistent_upload_length")
        elif answer.status == 408:  # a busy machine's delays
            await self._cancel_unknown()
        else:
            assert Outcome.of(answer) == await self.world.outcome(model.content[:end], keeps=model.keeps)

    async def _cancel_unknown(self) -> None:
        """Cancel an upload of whose address the client has heard nothing."""
        own = {model.upload.id for model in self.live}
        for one in (await self.world.services[0].get("/uploads", headers=self.world.account.headers)).json["uploads"]:
            if one["id"] not in own:
                path = f"/uploads/{one['id']}"
                await self.world.services[0].request("DELETE", path, headers=self.world.account.headers)

    async def _append(
        self,
        model: Model,
        end: int,
        via: int,
        *,
        is_last: bool = False,
        is_chunked: bool = False,
        tells_length: bool = False,
    ) -> None:
        piece = model.content[model.offset : end]
        length = len(model.content) if tells_length else None
        began_at = time.monotonic()
        data = in_pieces(piece) if is_chunked else piece
        answer = await self._seen(model, via).append(data, model.offset, is_last=is_last, length=length)
        if tells_length and answer.status != 404:
            model.length = length
        await self._judge(model, answer, end, began_at, is_last=is_last, is_chunked=is_chunked)

    async def _judge(
        self,
        model: Model,
        answer: Answer,
        end: int,
        began_at: float,
        *,
        is_last: bool,
        is_chunked: bool = False,
        is_creation: bool = False,
    ) -> None:
        """Compare the answer to a request that brought the bytes up to `end` with the model."""
        if answer.status == 408 or (answer.status == 404 and time.monotonic() > model.lives_until):
            await self._look(model, end, began_at)
        elif model.is_contradicted_by(end, is_last=is_last):
            assert (answer.status, answer.json["code"]) == (400, "inconsistent_upload_length"), answer
            await self._look(model, min(end, model.length or end) if is_chunked else model.offset, began_at)
        elif model.is_whole_at(end, is_last=is_last) and not (is_creation and end == 0 < len(model.content)):
            assert answer.status < 400 or Outcome.of(answer) == await self.world.outcome(
                model.content[:end], keeps=model.keeps
            )
            await self._check_end(model, end)
        elif answer.status in {201, 204}:
            if answer.status == 204:
                assert int(answer.headers["Upload-Offset"]) == end
            await self._look(model, end, began_at)
            assert model not in self.live or model.offset == end
        else:
            assert Outcome.of(answer) == await self.world.outcome(model.content[:end], keeps=model.keeps)
            await self._check_end(model, end)

    async def _append_elsewhere(self, model: Model, offset: int, via: int) -> None:
        if offset == model.offset:
            return
        answer = await self._seen(model, via).append(b"x" * 100, offset)
        if answer.status == 404 and time.monotonic() > model.lives_until:
            await self._look(model, model.offset)
            return
        assert (answer.status, answer.json["code"]) == (409, "mismatching_upload_offset"), answer
        assert int(answer.headers["Upload-Offset"]) == model.offset

    async def _break_off(self, model: Model, end: int, part: float, ending: str, via: int) -> None:
        began_at = time.monotonic()
        upload = self._seen(model, via)
        brought = int((end - model.offset) * part)
        async with connect(upload.service) as client:
            head = upload.append_head(model.offset, end - model.offset + 1)
            await client.send(head + model.content[model.offset : model.offset + brought])
            if ending == "RST":
                client.reset()
        await self.world.until_quiet()
        answer = await upload.head()
        if answer.status in {200, 204}:
            assert model.offset <= int(answer.headers["Upload-Offset"]) <= model.offset + brought
        await self._look(model, model.offset + brought, began_at)

    async def _send_two(self, model: Model, ends: list[int], via: int) -> None:
        began_at = time.monotonic()
        uploads = [self._seen(model, via), self._seen(model, 0)]
        sending = (
            upload.append(model.content[model.offset : end], model.offset)
            for upload, end in zip(uploads, ends, strict=True)
        )
        answers = await asyncio.gather(*sending, return_exceptions=True)
        await self.world.until_quiet()
        for answer in answers:
            if isinstance(answer, BaseException):
                assert isinstance(answer, aiohttp.ClientConnectionError), answer  # it was cut
            else:
                assert answer.status < 500, answer
        await self._look(model, max(ends), began_at)

    async def _ask(self, model: Model, via: int) -> None:
        answer = await self._seen(model, via).head()
        if answer.status == 404:
            await self._look(model, model.offset)
            return
        assert int(answer.headers["Upload-Offset"]) == model.offset
        assert answer.headers.get("Upload-Length") == (None if model.length is None else str(model.length))

    async def _cancel(self, model: Model, via: int) -> None:
        answer = await self._seen(model, via).cancel()
        if answer.status != 204:
            await self._look(model, model.offset)
            assert model not in self.live
            return
        upload = self._seen(model, via)
        assert [(await asked()).status for asked in (upload.look, upload.head, upload.record)] == [404] * 3
        self.live.remove(model)

    async def _stranger_tries(self, model: Model, via: int) -> None:
        upload = replace(self._seen(model, via), account=self.world.stranger)
        answers = [await upload.look(), await upload.head(), await upload.append(b"x", model.offset)]
        assert {answer.status for answer in [*answers, await upload.cancel()]} == {404}

    async def _wait(self, model: Model, *, is_patient: bool) -> None:
        """Wait until it is suspended or, if that is asked for, until it has ended."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                answer = await model.upload.look()
                if answer.status != 200 or (not is_patient and answer.json["state"] == "suspended"):
                    break
                await asyncio.sleep(0.02)
        await self._look(model, model.offset)
        assert not (is_patient and model in self.live)

    async def _look(self, model: Model, most: int, brought_at: float = 0.0) -> None:
        """Bring the model up to date with an upload that has at most so many bytes now, brought from that time on."""
        answer = await model.upload.look()
        if answer.status == 200:
            assert model.offset <= answer.json["offset"] <= most
            assert answer.json["length"] == model.length
            if answer.json["offset"] > model.offset:
                model.offset, model.lives_until = answer.json["offset"], brought_at + RESUME_SECONDS
        elif answer.status == 303 and model.length is not None and most >= model.length:
            await self._check_end(model, model.length)
        elif answer.status not in {303, 404} or time.monotonic() < model.lives_until:
            await self._check_end(model, most)
        else:
            await self._check_expired(model, answer, most)

    async def _check_end(self, model: Model, end: int) -> None:
        """Check that it has become what a plain upload of its bytes becomes."""
        outcome = await self.world.outcome(model.content[:end], keeps=model.keeps)
        answer = await model.upload.look()
        if outcome.status == 201:
            record = await model.upload.record()
            assert (answer.status, Outcome.of(record), record.json["source_size"]) == (303, outcome, end)
            self.records[model.upload.id] = outcome
        else:
            assert Outcome.of(answer) == outcome
        self.live.remove(model)

    async def _check_expired(self, model: Model, answer: Answer, most: int) -> None:
        """Check that it has ended without a further request, and has kept what it should."""
        self.live.remove(model)
        if answer.status == 404:
            assert answer.json["code"] == "upload_expired"
            kept = await self.world.outcome(model.content[: model.offset], keeps=True)
            assert not model.keeps or kept.status != 201
            return
        record = (await model.upload.record()).json
        assert model.keeps
        assert model.offset <= record["source_size"] <= most
        kept = await self.world.outcome(model.content[: record["source_size"]], keeps=True)
        assert (record["sha256"], record["complete"]) == (kept.sha256, False)
        self.records[model.upload.id] = replace(kept, is_complete=False)

    async def _check_list(self) -> None:
        answer = await self.world.services[1].get("/uploads", headers=self.world.account.headers)
        listed = {one["id"]: one["offset"] for one in answer.json["uploads"]}
        for model in list(self.live):
            if model.upload.id not in listed:
                assert time.monotonic() > model.lives_until, model
                await self._look(model, model.offset)
        assert listed == {model.upload.id: model.offset for model in self.live}

    async def _end(self) -> None:
        for model in list(self.live):
            await self._cancel(model, 0)
        answer = await self.world.services[0].get("/records", headers=self.world.account.headers)
        kept = {record["id"]: record["sha256"] for record in answer.json["records"]}
        for record_id in kept:
            await self.world.delete_record(record_id)
        assert kept == {record_id: outcome.sha256 for record_id, outcome in self.records.items()}
        admission, url = self.world.services[0].app[ADMISSION], self.world.services[0].database_url
        await until(lambda: not admission.running and not admission.suspended)
        await until(lambda: not query(url, "SELECT 1 FROM upload_leases"))
        assert not self.world.services[0].files()


def play(world: World, number: int, sequences: int) -> None:
    """Play so many sequences, always the same ones for a number."""

    @seed(number)
    class OfWorld(Sequence): ...

    OfWorld.world = world
    run_state_machine_as_test(
        OfWorld,
        settings=settings(
            max_examples=sequences,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "batch", [0, *(pytest.param(number, marks=pytest.mark.long) for number in range(1, BATCHES_IN_MAKE_FUZZ + 1))]
)
async def test_every_sequence_ends_as_the_model_says_and_leaves_nothing(
    start_service: StartService, caplog: pytest.LogCaptureFixture, batch: int
) -> None:
    timing = {"stall_seconds": STALL_SECONDS, "resume_seconds": RESUME_SECONDS}
    services = [await start_service(**timing), await start_service(**timing)]
    account, stranger = await services[0].create_user("ann"), await services[0].create_user("bob")
    world = World(services, account, stranger, asyncio.get_running_loop())
    async with invariants_hold(services[0], caplog):
        await asyncio.to_thread(play, world, batch, SEQUENCES_IN_A_BATCH if batch else SEQUENCES_IN_MAKE_TEST)
