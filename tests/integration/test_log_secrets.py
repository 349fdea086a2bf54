"""No line of the log has a whole id or a whole token, no matter who writes it."""

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

ROOT = Path(__file__).parents[2]
RECORD_ID = UUID("0b7c1c5e-1f2a-4b3c-8d4e-5f6a7b8c9d0e")
TOKEN = UUID("9ae1d2c3-b4a5-4968-8776-655443322110")
REQUEST_ID = "5ad0e6b1c2d3441f9e8d7c6b5a493827"
PATH = f"/data/records/0b/{RECORD_ID}.mp3"

# Each function writes with another part of the process; its name is also the event, if the writer has no own.
WRITERS = """
import asyncio, gc, logging, sys, threading, traceback, warnings
from uuid import UUID
import structlog
from gunicorn.config import Config
from service import workers
from service.logs import configure_logs

PATH, TOKEN, REQUEST_ID = sys.argv[2:]
log = structlog.stdlib.get_logger()

def fail():
    raise FileNotFoundError(2, "No such file or directory", PATH) from ValueError(f"token {TOKEN}")

def caught(write):
    try:
        fail()
    except OSError as error:
        write(error)

def value():
    log.error("value", path=PATH, token=UUID(TOKEN), nested={"all": [(PATH,), TOKEN.upper()]}, raw=TOKEN.encode())

def event():
    log.info(f"event {PATH} {TOKEN.replace('-', '')} {TOKEN.replace('-', '%2D')} urn:uuid:{TOKEN}")

def exception():
    caught(lambda error: log.error("exception", exc_info=error))

def foreign():
    logging.getLogger("uvicorn.access").info('%s - "GET %s HTTP/1.1" foreign', TOKEN, PATH)

def foreign_exception():
    caught(lambda error: logging.getLogger("aiohttp.server").exception("foreign_exception of %s", TOKEN))

def foreign_stack():
    logging.getLogger("foreign").warning("foreign_stack", extra={"path": PATH}, stack_info=True)

def gunicorn():
    caught(lambda error: workers._Logger(Config()).exception("gunicorn of %s", PATH))

def asyncio_task():
    async def forgotten():
        fail()

    async def main():
        task = asyncio.create_task(forgotten(), name=f"asyncio_task {TOKEN}")
        await asyncio.wait({task})
        del task
        gc.collect()

    asyncio.run(main())

def asyncio_callback():
    async def main():
        asyncio.get_running_loop().call_soon(fail)
        await asyncio.sleep(0)

    asyncio.run(main())

def warning():
    warnings.warn(f"warning {PATH} {TOKEN}", UserWarning)

def broken_line():
    logging.getLogger("broken_line").error("%d of %s", TOKEN, PATH)

def broken_event():
    class Broken:
        def __str__(self):
            return f"{1 / 0} {TOKEN}"

    log.error("broken_event", path=PATH, token=Broken())

def thread():
    running = threading.Thread(target=fail, name=PATH)
    running.start()
    running.join()

def unraisable():
    class Ends:
        def __del__(self):
            fail()

    Ends()

def request_id():
    with structlog.contextvars.bound_contextvars(request_id=REQUEST_ID):
        log.error("request_id", path=PATH)
        logging.getLogger("foreign").error("request_id of %s", TOKEN)

configure_logs(sys.argv[1])
for write in (value, event, exception, foreign, foreign_exception, foreign_stack, gunicorn, asyncio_task,
              asyncio_callback, warning, broken_line, broken_event, thread, unraisable, request_id):
    write()
fail()
"""

EVENTS = [
    "value",
    "event",
    "exception",
    "foreign",
    "foreign_exception",
    "foreign_stack",
    "gunicorn",
    "asyncio_task",
    "Exception in callback fail",
    "warning",
    "line_lost",
    "thread_crashed",
    "exception_ignored",
    "request_id",
    "crashed",
]


@cache
def written(log_format: str) -> str:
    """Return what a process logs that has an id and a token in every line."""
    process = subprocess.run(
        [sys.executable, "-c", WRITERS, log_format, PATH, str(TOKEN), REQUEST_ID],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (process.returncode, process.stdout) == (1, "")
    return process.stderr


def lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in written("json").splitlines()]


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize("secret", [RECORD_ID, TOKEN])
def test_neither_id_nor_token_is_whole(log_format: str, secret: UUID) -> None:
    found = written(log_format).lower()
    assert secret.hex not in found.replace("%2d", "").replace("-", "")
    assert secret.hex[:8] in found


@pytest.mark.parametrize("event", EVENTS)
def test_each_part_of_the_process_writes_json(event: str) -> None:
    found = [line for line in lines() if event in line["event"]]
    assert found
    for line in found:
        assert {"event", "level", "timestamp"} <= set(line)


def test_traceback_still_says_what_was_wrong() -> None:
    (line,) = [line for line in lines() if line["event"] == "exception"]
    assert line["exception"][0]["exc_value"].endswith("'/data/records/0b/0b7c1c5e….mp3'")
    assert "FileNotFoundError: [Errno 2] No such file or directory: '/data/records/0b/0b7c1c5e….mp3'" in written("text")


def test_line_that_cannot_be_made_says_where_it_came_from() -> None:
    lost = [line for line in lines() if line["event"] == "line_lost"]
    assert [(line["logger"], line["reason"]) for line in lost] == [
        ("broken_line", "TypeError"),
        ("service", "ZeroDivisionError"),
    ]
    assert [re.sub(r"\d+", "…", line["place"]) for line in lost] == ["<string>:…", "broken_event"]


@pytest.mark.parametrize("logger", ["structlog.get_logger()", "logging.getLogger()"])
def test_service_goes_on_if_its_lines_cannot_be_written(logger: str) -> None:
    program = f"""
import logging, structlog
from service.logs import configure_logs

configure_logs("json")
{logger}.error("lost")
print("goes on")
"""
    with Path("/dev/full").open("wb") as full:
        process = subprocess.run([sys.executable, "-c", program], cwd=ROOT, stdout=-1, stderr=full, check=False)
    assert (process.returncode, process.stdout) == (0, b"goes on\n")


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_request_id_is_whole(log_format: str) -> None:
    assert written(log_format).count(REQUEST_ID) == 2
