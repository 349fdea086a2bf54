"""docs/security.md lists every event that the service logs, with its fields."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from service.accounts import events

ROOT = Path(__file__).parents[2]
LEVELS = {"info", "warning", "error", "critical", "exception"}
SOURCES = sorted((ROOT / "service").rglob("*.py"))
# Its fields are those of the exception that it is given.
NOT_A_FIELD = {"exc_info"}


def documented() -> dict[str, set[str]]:
    """Return the fields of each event, as the inventory has them."""
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    section = text.partition("\n## What is logged\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?`) \| [\w, ]+ \| (.*?) \|", section, re.MULTILINE)
    return {event: set(re.findall(r"`(\w+)`", row[1])) for row in rows for event in re.findall(r"`(\w+)`", row[0])}


def logged() -> Iterator[tuple[str, set[str]]]:
    """Yield each event in the code, with the fields that the call gives it."""
    for source in SOURCES:
        tree = ast.parse(source.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and is_log_method(node.func):
                for event in names(node.args[0]):
                    yield event, set(fields(node, tree)) - NOT_A_FIELD


def is_log_method(function: ast.expr) -> bool:
    """Whether this is log.info or the like, or a choice between two of them."""
    if isinstance(function, ast.IfExp):
        return is_log_method(function.body)
    return (
        isinstance(function, ast.Attribute)
        and function.attr in LEVELS
        and isinstance(function.value, ast.Name)
        and function.value.id == "log"
    )


def names(event: ast.expr) -> list[str]:
    if isinstance(event, ast.IfExp):
        return [*names(event.body), *names(event.orelse)]
    if isinstance(event, ast.Constant):
        return [str(event.value)]
    assert isinstance(event, ast.Name), ast.unparse(event)
    return list(get_args(events.Event))


def fields(call: ast.Call, module: ast.Module) -> Iterator[str]:
    """Yield the names of the call's keywords, and the keys of the dictionaries that it unpacks."""
    for keyword in call.keywords:
        if keyword.arg is not None:
            yield keyword.arg
        else:
            yield from keys(keyword.value)
            called = {ast.unparse(node.func) for node in ast.walk(keyword.value) if isinstance(node, ast.Call)}
            for node in module.body:
                if isinstance(node, ast.FunctionDef) and node.name in called:
                    yield from keys(node)


def keys(node: ast.AST) -> Iterator[str]:
    for found in ast.walk(node):
        if isinstance(found, ast.Dict):
            yield from (str(key.value) for key in found.keys if isinstance(key, ast.Constant))


CALLS = list(logged())


def test_every_event_is_in_the_inventory_and_no_other() -> None:
    assert len(CALLS) > 30
    assert sorted(documented()) == sorted({event for event, _ in CALLS})


@pytest.mark.parametrize("event", sorted({event for event, _ in CALLS}))
def test_every_field_is_in_the_inventory_and_no_other(event: str) -> None:
    found = set().union(*(fields for name, fields in CALLS if name == event))
    assert documented()[event] == found
