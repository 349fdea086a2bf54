"""Takes an upload: every decision about it, in order, from the queue to the record."""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID, uuid4

from service.accounts.totals import TotalLimits
from service.models import IdempotentUpload, Record, RecordWarning, User
from service.storage import Storage
from service.uploads.admission import Admission
from service.uploads.encoder_slot import EncoderSlot
from service.uploads.idempotency import claim, find_replay
from service.uploads.ingest import Ingest
from service.uploads.leases import Leases
from service.uploads.live import LiveUpload, LiveUploads
from service.uploads.pace import Pace
from service.uploads.preparation import preparing
from service.uploads.resumable_body import ResumableBody
from service.uploads.revocation import Revocations
from service.uploads.target import Mp3Wish
from service.uploads.upload import Upload


@dataclass(frozen=True, slots=True)
class UploadTerms:
    """What a client asks for with an upload, known before its body and found acceptable.

    `lifetime_seconds` (of the record) and `key` are None if the client sent none. `warnings` are about what it sent
    without effect. `keeps_incomplete`: what arrives may become a record without the rest.
    """

    wish: Mp3Wish
    lifetime_seconds: int | None
    key: IdempotentUpload | None
    warnings: tuple[RecordWarning, ...]
    keeps_incomplete: bool


@dataclass(frozen=True, slots=True)
class UploadBody:
    """The WAV of an upload: its file name, and its bytes as they arrive.

    If a check is only possible at the end, such as that of a digest, `pieces` raises after its last piece. `length` is
    the byte count of the request's body, or None. `resumable` is None if the bytes come in one request.
    """

    filename: str
    pieces: AsyncIterator[bytes]
    length: int | None = None
    resumable: ResumableBody | None = None


class IncomingUpload(Protocol):
    """An upload that a client offers. `Intake` takes the steps, in this order; each may raise any ServiceError."""

    @property
    def may_be_retry(self) -> bool:
        """Whether an earlier upload may already have made the record. If so, a full queue does not refuse it."""

    async def identify(self) -> User:
        """Return the user who sends it, without reading the body."""

    def terms(self) -> UploadTerms:
        """Check all that can be checked without the body, and return what the client asks for."""

    async def open(self, user: User, upload_id: UUID, slot: EncoderSlot) -> UploadBody:
        """Read the body up to the first byte of the WAV. From now on the upload is under way."""

    def is_abandoned(self) -> bool:
        """Return whether the client has gone away, and cannot come back."""

    def cut(self) -> None:
        """Close the client's connection."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of an upload: its record, and whether an earlier upload with the same key had made it."""

    record: Record
    is_replay: bool


@dataclass(frozen=True, slots=True)
class Intake:
    """Makes every decision about an upload; only this class knows their order.

    The cheapest refusals come first: a full queue costs no SQL statement, and a wrong token costs no byte of the body.
    """

    admission: Admission
    leases: Leases
    storage: Storage
    ingest: Ingest
    totals: TotalLimits
    revocations: Revocations
    live: LiveUploads
    stall_seconds: float
    max_upload_seconds: float

    async def __call__(self, incoming: IncomingUpload) -> Taken:
        """Take one upload and return its record. Raises any ServiceError, and then nothing is left of the upload."""
        self.admission.begin()
        if not incoming.may_be_retry:
            self.admission.require_place()
        user = await incoming.identify()  # a stranger has no place in the queue meanwhile
        terms = incoming.terms()
        if terms.key is None:
            self.admission.arrive()
        upload_id, began_at = uuid4(), time.monotonic()
        async with self.leases.given_back_after(upload_id):
            if terms.key is not None:
                replay = await self._find_replay(user, upload_id, terms.key)
                if replay is not None:
                    return Taken(replay, is_replay=True)
            await self.totals.require_room_for_record()
            async with (
                self.admission.slot(user.id, incoming.is_abandoned) as slot,
                preparing(self.storage, self.ingest.encoder, upload_id) as preparation,
            ):
                await self.leases.take(user, upload_id)
                prepared = await preparation
                body = await incoming.open(user, upload_id, slot)
                live = LiveUpload(
                    upload_id, user, body.filename, body.length, body.resumable, incoming.cut, terms.keeps_incomplete
                )
                pace = self._pace(began_at, body.resumable)
                upload = _upload(live, terms, slot, pace, incoming.is_abandoned)
                async with self.live.entry(live):
                    with self.revocations.watched(upload_id, user):
                        pieces = self.revocations.allowed(upload_id, live.uncancelled(body.pieces))
                        record = await self.ingest(upload, pieces, prepared)
                # The record's statement has given the lease back. An incomplete record's key must still be freed.
                if terms.key is None or record.is_complete:
                    self.leases.forget(upload_id)
        return Taken(record, is_replay=False)

    def _pace(self, began_at: float, body: ResumableBody | None) -> Pace:
        suspended_seconds = (lambda: body.suspended_seconds) if body is not None else float
        return Pace(self.admission.is_crowded, self.stall_seconds, self.max_upload_seconds, began_at, suspended_seconds)

    async def _find_replay(self, user: User, upload_id: UUID, key: IdempotentUpload) -> Record | None:
        """Return the record that the key has made. If there is none, take a place in the queue, then the key."""
        replay = await find_replay(self.leases.database, user, key)
        if replay is not None:
            return replay
        self.admission.arrive()  # a full queue refuses before anything is written
        return await claim(self.leases, user, upload_id, key)


def _upload(
    live: LiveUpload, terms: UploadTerms, slot: EncoderSlot, pace: Pace, is_abandoned: Callable[[], bool]
) -> Upload:
    return Upload(
        id=live.id,
        user_id=live.user.id,
        token_sha256=live.user.token_sha256,
        filename=live.filename,
        wish=terms.wish,
        lifetime_seconds=terms.lifetime_seconds,
        idempotency_key=terms.key,
        keeps_incomplete=terms.keeps_incomplete,
        is_abandoned=lambda: live.is_cancelled or (not terms.keeps_incomplete and is_abandoned()),
        slot=slot,
        warnings=terms.warnings,
        pace=pace,
        progress=live.progress,
        broadcast=live.broadcast,
        body_length=live.body_length,
    )
