"""The rooms of the package: each module imports only from those before it, and uses only its own libraries."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import service

PACKAGE = Path(service.__file__).parent

# From the ground up: a module may import what stands before it. A new module needs its place here.
ORDER = [
    "service",
    "service.interruption",
    "service.errors",
    "service.refusals",
    "service.models",
    "service.record_warnings",
    "service.names",
    "service.ids",
    "service.durations",
    "service.metrics",
    "service.shared_metrics",
    "service.cancellation",
    "service.background",
    "service.threads",
    "service.memory",
    "service.session_share",
    "service.ownership",
    "service.socket_places",
    "service.relay_socket",
    "service.settings.database_url",
    "service.settings.values",
    "service.settings.complaints",
    "service.settings.accounts",
    "service.settings.uploads",
    "service.settings",
    "service.settings.unknown_variables",
    "service.logs",
    "service.audio",
    "service.audio.block_codecs",
    "service.audio.wav_format",
    "service.audio.wav_tags",
    "service.audio.chunks",
    "service.audio.other_formats",
    "service.audio.placeholders",
    "service.audio.header_chunks",
    "service.audio.wav_header",
    "service.audio.wav_sizes",
    "service.audio.wav_surplus",
    "service.audio.wav",
    "service.audio.mp3",
    "service.audio.mp3_length",
    "service.audio.info_frame",
    "service.audio.mp3_outline",
    "service.audio.ffmpegs",
    "service.audio.native",
    "service.audio.native_peaks",
    "service.audio.peaks",
    "service.audio.sealing",
    "service.audio.id3",
    "service.audio.starting",
    "service.audio.ffmpeg_command",
    "service.audio.sample_range",
    "service.audio.system_calls",
    "service.audio.confinement",
    "service.audio.encode_failures",
    "service.audio.decoded_sound",
    "service.audio.spawner",
    "service.audio.ffmpeg_process",
    "service.audio.encoding",
    "service.audio.encoder",
    "service.audio.speed",
    "service.database",
    "service.database.aiopg_guards",
    "service.database.host_addresses",
    "service.database.guarded_pool",
    "service.database.pool",
    "service.database.migrations",
    "service.database.cluster",
    "service.database.embedded",
    "service.database.users",
    "service.database.name_search",
    "service.database.records",
    "service.database.leases",
    "service.database.ended_uploads",
    "service.database.idempotency_keys",
    "service.database.removal_turns",
    "service.database.revocations",
    "service.accounts",
    "service.accounts.events",
    "service.accounts.tokens",
    "service.accounts.address_limits",
    "service.accounts.totals",
    "service.accounts.registration",
    "service.storage",
    "service.storage.draft_files",
    "service.storage.reading",
    "service.storage.disk",
    "service.storage.s3_location",
    "service.storage.s3_errors",
    "service.storage.s3_file",
    "service.storage.s3",
    "service.uploads",
    "service.uploads.places",
    "service.uploads.encoder_slot",
    "service.uploads.fair_queue",
    "service.uploads.suspensions",
    "service.uploads.admission",
    "service.uploads.pace",
    "service.uploads.target",
    "service.uploads.progress",
    "service.uploads.broadcast",
    "service.uploads.keeping",
    "service.uploads.resumable_body",
    "service.uploads.live",
    "service.uploads.leases",
    "service.uploads.revocation",
    "service.uploads.removal",
    "service.uploads.upload",
    "service.uploads.preparation",
    "service.uploads.ingest",
    "service.uploads.idempotency",
    "service.uploads.intake",
    "service.uploads.resumption",
    "service.uploads.sweep",
    "service.health",
    "service.web",
    "service.web.connection_limit",
    "service.web.aiohttp_guards",
    "service.web.body",
    "service.web.app_keys",
    "service.web.accept",
    "service.web.addresses",
    "service.web.request_log",
    "service.web.digests",
    "service.web.auth",
    "service.web.presentation",
    "service.web.hosts",
    "service.web.security_headers",
    "service.web.html_page",
    "service.web.cors",
    "service.web.client_presence",
    "service.web.errors",
    "service.web.conditions",
    "service.web.pieces",
    "service.web.sending",
    "service.web.byte_range",
    "service.web.page_files",
    "service.web.malformed",
    "service.web.connection",
    "service.web.runner",
    "service.web.openapi",
    "service.web.disposition",
    "service.web.media_types",
    "service.web.form_part",
    "service.web.part_reader",
    "service.web.multipart",
    "service.web.upload_body",
    "service.web.listening",
    "service.web.curl_lines",
    "service.web.upload_parameters",
    "service.web.incoming_upload",
    "service.web.record_answers",
    "service.web.upload_outcome",
    "service.web.relay",
    "service.web.record_or_upload",
    "service.web.waveform_picture",
    "service.web.resumable_protocols",
    "service.web.resumable_answers",
    "service.web.resumable_upload",
    "service.web.routes",
    "service.web.routes.front_page",
    "service.web.routes.page",
    "service.web.routes.listen_page",
    "service.web.routes.operations",
    "service.web.routes.docs",
    "service.web.routes.downloads",
    "service.web.routes.waveforms",
    "service.web.routes.uploads",
    "service.web.routes.records",
    "service.web.routes.users",
    "service.web.routes.older_apis",
    "service.web.routes.table",
    "service.parts",
    "service.app",
    "service.stop_signals",
    "service.server",
    "service.workers",
    "service.doctor",
    "service.operators",
    "service.command_line",
    "service.commands",
    "service.__main__",
]

WEB = {module for module in ORDER if module.startswith("service.web")}
DATABASE = {
    "service.database.aiopg_guards",
    "service.database.host_addresses",
    "service.database.guarded_pool",
    "service.database.pool",
    "service.database.migrations",
}
PROCESSES = {"service.audio.starting", "service.database.cluster"}

# Which modules may use a library, or one of its names.
ROOMS: dict[str, set[str]] = {
    "aiohttp": WEB | {"service.app", "service.server", "service.workers"},
    "aiopg": DATABASE,
    "psycopg2": DATABASE,
    "yoyo": DATABASE,
    "subprocess": PROCESSES,
    "multiprocessing": set(),
    "concurrent.futures.ProcessPoolExecutor": set(),
    "asyncio.subprocess": PROCESSES,
    "asyncio.create_subprocess_exec": PROCESSES,
    "asyncio.create_subprocess_shell": set(),
    "os.system": set(),
    "os.popen": set(),
    "os.fork": set(),
    "os.posix_spawn": set(),
    # prometheus-client's own variable decides at import how it counts; it is not a setting of ours.
    "os.environ": {
        "service.settings",
        "service.settings.unknown_variables",
        "service.metrics",
        "service.workers",
        "service.shared_metrics",
    },
    "os.getenv": set(),
    "pydantic_settings": {"service.settings"},
    "ffmpeg": {"service.audio.ffmpeg_command"},
    "imageio_ffmpeg": {"service.audio.ffmpegs"},
}


def module_name(source: Path) -> str:
    parts = source.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(source): source for source in sorted(PACKAGE.rglob("*.py"))}


@cache
def names_in(module: str) -> frozenset[str]:
    """Return the dotted names that a module imports, or reaches through an imported module."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    return frozenset(name for node in ast.walk(tree) for name in names_of(node))


def names_of(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert not node.level, "a relative import"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Attribute):
        yield ast.unparse(node)


def knows(module: str, name: str) -> bool:
    return any(found == name or found.startswith(f"{name}.") for found in names_in(module))


def imported_from_service(module: str) -> set[str]:
    """Return the service's modules that a module imports, in any form of import."""
    names = {name for name in names_in(module) if name.split(".")[0] == "service"}
    return {name if name in MODULES else name.rpartition(".")[0] for name in names} - {module}


def test_every_module_has_its_place() -> None:
    assert sorted(ORDER) == sorted(MODULES)


@pytest.mark.parametrize("module", ORDER)
def test_a_module_imports_only_from_those_above_it(module: str) -> None:
    assert imported_from_service(module) <= set(ORDER[: ORDER.index(module)])


@pytest.mark.parametrize("name", ROOMS)
def test_a_library_is_known_only_where_it_belongs(name: str) -> None:
    assert {module for module in MODULES if knows(module, name)} <= ROOMS[name]


def top_level(module: str) -> str:
    """Return the room that a module belongs to."""
    return module.split(".")[1]


def test_contributing_names_every_room_above_what_it_imports() -> None:
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rooms = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    with_modules = {top_level(module) for module in MODULES if "." in module}
    assert sorted(rooms) == sorted(with_modules | {"page"})
    assert "page" not in with_modules
    for module in MODULES:
        for imported in imported_from_service(module) - {"service"}:
            assert rooms.index(top_level(module)) <= rooms.index(top_level(imported)), (module, imported)


WALLS = [
    ("service.audio", {"service.database", "service.storage", "service.uploads", "service.web"}),
    ("service.database", {"service.storage", "service.uploads", "service.web"}),
    ("service.storage", {"service.database", "service.uploads", "service.web"}),
    ("service.uploads", {"service.web"}),
    ("service.health", {"service.web"}),
]


@pytest.mark.parametrize(("room", "others"), WALLS)
def test_a_room_does_not_know_what_is_behind_its_walls(room: str, others: set[str]) -> None:
    modules = [module for module in MODULES if module == room or module.startswith(f"{room}.")]
    assert modules
    for module in modules:
        assert not [other for other in others if knows(module, other)], module
