"""Runs every check once for `wavepress doctor`, and has advice for each."""

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID, uuid4

from service.audio.ffmpegs import Ffmpeg, find_ffmpegs, own_build
from service.audio.speed import measure_speed
from service.database.pool import open_database
from service.database.records import select_sample_of_ids
from service.errors import ServiceError
from service.health import Check, CheckFailed, database_check, encoder_check
from service.parts import choose_ffmpeg, make_encoder, make_storage
from service.settings import Settings
from service.settings.unknown_variables import unknown_variables
from service.settings.values import is_loopback
from service.storage import Storage

_SAMPLE_SIZE = 20
# Other work on the machine changes a speed by less than that.
_CLEARLY_FASTER = 1.1

ADVICE: Mapping[str, str] = {
    "settings": "Correct the name or unset the variable.",
    "database": "Is PostgreSQL up, and WAVEPRESS_DATABASE_URL right? Then run: wavepress migrate",
    "storage": "Is WAVEPRESS_DATA_DIR on a disk with room, and writable by this user? Is WAVEPRESS_STORAGE_URL right?",
    "recordings": "Do the database and the storage belong together? Is one restored from another day's backup?",
    "encoder": "Is WAVEPRESS_FFMPEG an ffmpeg with libmp3lame, and are util-linux' prlimit and setpriv installed?",
    "public URL": "Set WAVEPRESS_PUBLIC_URL to what clients outside call this service.",
}


async def examine(settings: Settings, database_url: str) -> dict[str, str]:
    """Run every check and return what each says: "ok" if it passes."""
    storage = make_storage(settings)
    encoder = make_encoder(settings, storage.draft_directory)

    async def check_database() -> None:
        async with open_database(database_url, max_connections=1) as database:
            await database_check(database)()

    async def check_storage() -> None:
        storage.prepare()
        room = storage.room()
        if not room.is_enough:
            raise CheckFailed(str(room))
        await storage.check()

    async def check_recordings() -> None:
        async with open_database(database_url, max_connections=1) as database:
            sample = await select_sample_of_ids(database, _SAMPLE_SIZE)
        kept = [await _is_kept(storage, record_id) for record_id in sample]
        if not all(kept):
            raise CheckFailed(f"{kept.count(False)} of {len(sample)} records, taken at random, have no MP3 there.")

    async def check_public_url() -> None:
        _require_sane_public_url(settings)

    checks: dict[str, Check] = {
        "settings": _check_names,
        "database": check_database,
        "storage": check_storage,
        "recordings": check_recordings,
        "encoder": encoder_check(encoder, storage),
        "public URL": check_public_url,
    }
    return {name: await _verdict(check) for name, check in checks.items()}


async def compare_ffmpegs(settings: Settings) -> list[str]:
    """Return a line about each ffmpeg of this machine: how fast it encodes here. The one that is used comes first."""
    used, storage = choose_ffmpeg(settings), make_storage(settings)
    others = [found for found in find_ffmpegs() if found.path != used.path]
    speeds = {program: await _speed(settings, storage, program) for program in (used, *others)}
    lines = [_line(program, speed, is_used=program is used) for program, speed in speeds.items()]
    best = max(others, key=lambda program: speeds[program], default=used)
    if not own_build().exists():
        lines.append(
            "Faster: run `make ffmpeg`, which builds one that takes less CPU than the wheel's and the system's."
        )
    elif speeds[best] > speeds[used] * _CLEARLY_FASTER:
        lines.append(f"Faster: WAVEPRESS_FFMPEG={best.path}")
    return lines


async def _speed(settings: Settings, storage: Storage, program: Ffmpeg) -> float:
    """Return how many times real time an ffmpeg encodes; 0 if it cannot."""
    encoder = make_encoder(settings, storage.draft_directory, program.path)
    try:
        async with storage.draft(uuid4(), needs_room=False) as draft:
            return await measure_speed(encoder, draft.fileno())
    except (ServiceError, OSError):
        return 0


def _line(program: Ffmpeg, speed: float, *, is_used: bool) -> str:
    pace = f"encodes {speed:.0f} x real time on one core" if speed else "cannot encode"
    return f"{program.path} ({program.origin}) {pace}{', and is used' if is_used else ''}"


async def _is_kept(storage: Storage, record_id: UUID) -> bool:
    file = storage.locate(record_id)
    if isinstance(file, Path):
        return await asyncio.to_thread(file.is_file)
    try:
        async with contextlib.aclosing(file.read(0, 1)) as pieces:
            await anext(pieces)
    except FileNotFoundError:
        return False
    return True


async def _check_names() -> None:
    if unknown := unknown_variables():
        raise CheckFailed(" ".join(unknown))


async def _verdict(check: Check) -> str:
    try:
        await check()
    except (CheckFailed, ServiceError, OSError) as error:
        return str(error)
    return "ok"


def _require_sane_public_url(settings: Settings) -> None:
    """Raise CheckFailed if others can reach the service, but its links name localhost or depend on the Host header."""
    if settings.public_url is None:
        if not is_loopback(settings.host):
            raise CheckFailed("It is not set, so every link depends on the request's Host header.")
    elif is_loopback(settings.public_url.host or "") and not is_loopback(settings.host):
        raise CheckFailed(f"Clients elsewhere cannot reach {settings.public_url}.")
