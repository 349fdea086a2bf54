"""Tests share code through tests/support only."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SOURCES = sorted(set(TESTS.rglob("*.py")) - {Path(__file__)})  # this one has wrong imports as examples
SHARED = re.compile(r"tests\.support(\.\w+)*")


def imports_in(code: str) -> Iterator[str]:
    """Yield the modules that a program imports, and those of ours that a program in one of its strings imports."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ["." * node.level + (node.module or "")]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"^\s*(?:from|import) +((?:tests|benchmarks)\S*)", node.value, re.MULTILINE)


def is_allowed(module: str) -> bool:
    is_ours = re.match(r"(\.|(tests|benchmarks|conftest)(\.|$))", module)
    return not is_ours or SHARED.fullmatch(module) is not None


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: str(source.relative_to(TESTS)))
def test_nothing_is_imported_from_a_test_module_or_a_benchmark(source: Path) -> None:
    assert [module for module in imports_in(source.read_text(encoding="utf-8")) if not is_allowed(module)] == []


@pytest.mark.parametrize(
    "line",
    [
        "from tests.unit.test_wav import header",
        "from tests.conftest import service",
        "from tests import conftest",
        "from .test_wav import header",
        "import benchmarks.client",
        "PROGRAM = 'from tests.unit.test_wav import header'",
        "PROGRAM = '''\\nimport sys\\nimport benchmarks.client\\n'''",
    ],
)
def test_each_form_of_such_an_import_is_found(line: str) -> None:
    assert [module for module in imports_in(line) if not is_allowed(module)]
