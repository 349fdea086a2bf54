"""Writes structured logs: one line per event, short on a terminal, JSON for a collector."""

import json
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from service.durations import clock
from service.ids import shortened

log = structlog.stdlib.get_logger()

# Without the frames' local variables, because one of them may be a token.
_EXCEPTIONS_AS_JSON = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)
_InfoLogger = structlog.make_filtering_bound_logger(logging.INFO)
_LINE_LOST = "line_lost"
_MOMENT_SECONDS = 0.1
_MINUTE = 60
_RESET = "\x1b[0m"
_COLORS = {2: "\x1b[32m", 3: "\x1b[36m", 4: "\x1b[33m", 5: "\x1b[31m"}  # green, cyan, yellow, red, by status


def configure_logs(log_format: Literal["auto", "text", "json"]) -> None:
    """Send every log line of the process, including its libraries', to standard error in one format.

    No line has a whole id or a whole token, except for the request's own id. What Python itself would print, such as
    an exception that nobody catches, becomes a line too.
    """
    is_text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    clock = (
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
        if is_text
        else structlog.processors.TimeStamper(fmt="iso", utc=True)
    )
    begin: list[Processor] = [structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, clock]
    exceptions = structlog.processors.format_exc_info if is_text else _EXCEPTIONS_AS_JSON
    renderer = for_people(colors=sys.stderr.isatty()) if is_text else _as_json
    end: list[Processor] = [exceptions, _shorten_ids, renderer]
    structlog.configure(
        processors=[*begin, *end],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        wrapper_class=_OwnLogger,
        cache_logger_on_first_use=True,
    )
    handler = _LibrariesHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=begin, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *end]
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("yoyo").setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    _log_uncaught_exceptions()


class _OwnLogger(_InfoLogger):  # type: ignore[valid-type, misc]  # structlog makes the class at run time
    """Writes our own lines past `logging`, which took an eighth of the CPU of creating a user."""

    def _proxy_to_logger(self, method_name: str, event: str | None = None, **fields: object) -> None:
        try:
            super()._proxy_to_logger(method_name, event, **fields)
        except Exception:  # noqa: BLE001 - a request must not fail for its line
            if event != _LINE_LOST:  # else this would go on for ever
                _note_lost_line("service", str(event))


class _LibrariesHandler(logging.StreamHandler[TextIO]):
    """Writes the lines of libraries."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        _note_lost_line(record.name, f"{record.module}:{record.lineno}")


def _note_lost_line(logger: str, place: str) -> None:
    """Say of a line that could not be made where it came from; Python would print its parts, which may be ids."""
    log.error("line_lost", logger=logger, place=place, reason=type(sys.exception()).__name__)


def _log_uncaught_exceptions() -> None:
    def log_crash(*exc_info: object) -> None:
        log.critical("crashed", exc_info=exc_info)

    def log_thread(found: threading.ExceptHookArgs) -> None:
        log.error("thread_crashed", exc_info=(found.exc_type, found.exc_value, found.exc_traceback))

    def log_unraisable(found: "sys.UnraisableHookArgs") -> None:
        exc_info = (found.exc_type, found.exc_value, found.exc_traceback)
        log.error("exception_ignored", place=repr(found.object), exc_info=exc_info)

    sys.excepthook, threading.excepthook, sys.unraisablehook = log_crash, log_thread, log_unraisable


def _shorten_ids(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Shorten every id in an event but the request's own, which clients and proxies know by its whole."""
    return {name: value if name == "request_id" else _with_short_ids(value) for name, value in event.items()}


def _with_short_ids(value: object) -> object:
    if isinstance(value, str):
        return shortened(value)
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, Mapping):
        return {name: _with_short_ids(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_with_short_ids(inner) for inner in value]
    return shortened(str(value))


def _as_json(_logger: WrappedLogger, _name: str, event: EventDict) -> str:
    return json.dumps(event)


def for_people(*, colors: bool) -> Callable[[WrappedLogger, str, EventDict], str]:
    """Return the renderer for a terminal: one short line for each event, and a traceback below it for a bug."""
    with_traceback = structlog.dev.ConsoleRenderer(
        colors=colors, exception_formatter=structlog.dev.plain_traceback, sort_keys=False
    )

    def render(logger: WrappedLogger, name: str, event: EventDict) -> str:
        if event["event"] == "request":
            return _request_line(event, colors=colors)
        if "exception" in event:
            return with_traceback(logger, name, event)
        return f"{event['timestamp']} {event['level']}: {event.get('detail') or _facts(event)}"

    return render


def _facts(event: EventDict) -> str:
    """Return an event without a sentence, such as `user created  user_id=1`."""
    is_good = event["level"] == "info"  # then nobody looks for its request
    hidden = {"event", "level", "timestamp"} | ({"request_id"} if is_good else set())
    facts = [f"{name}={_shown(value)}" for name, value in event.items() if name not in hidden and value != ""]
    return "  ".join([event["event"].replace("_", " "), *facts])


def _shown(value: object) -> str:
    """Return a value as text that is one word, or between quotes."""
    text = str(value)
    return text if text.isprintable() and " " not in text else repr(text)


def _request_line(event: EventDict, *, colors: bool) -> str:
    """Return a line like `14:02:11 201 PUT /records/talk.wav  52.9 MB in 2.0 s → 5:00 of sound, 4.8 MB  user 1`."""
    status = str(event["status"])
    color = _COLORS.get(event["status"] // 100, "") if colors else ""
    parts = [
        f"{event['timestamp']} {color}{status}{_RESET if color else ''} {event['method']} {event['path']}",
        "" if event["outcome"] == "ok" else event["outcome"],
        _traffic(event),
        f"user {event['user_id']}" if "user_id" in event else "",
    ]
    return "  ".join(part for part in parts if part)


def _traffic(event: EventDict) -> str:
    """Return how many bytes were received or sent in how much time, and what an upload became."""
    taken = f"{_size(event['bytes_in'] or event['bytes_out'])} in {_seconds(event['seconds'])}"
    if "sound_seconds" not in event:
        return taken
    return f"{taken} → {_length(event['sound_seconds'])} of sound, {_size(event['mp3_bytes'])}"


def _size(byte_count: int) -> str:
    for unit, bytes_in_it in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if byte_count >= bytes_in_it:
            return f"{byte_count / bytes_in_it:.1f} {unit}"
    return f"{byte_count} B"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= _MOMENT_SECONDS else f"{seconds * 1000:.0f} ms"


def _length(seconds: float) -> str:
    """Return a length of sound as a player shows it: 5:00 or 1:02:03, or 4.1 s below a minute."""
    if round(seconds, 1) < _MINUTE:
        return f"{seconds:.1f} s"
    return clock(round(seconds))
