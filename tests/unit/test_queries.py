"""Each statement in sql/queries has exactly one reader, and each reader its statement."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import service

PACKAGE = Path(service.__file__).parent
QUERIES = PACKAGE / "sql" / "queries"


def read_names() -> Iterator[str]:
    """Yield the name that each call of read_query in the service passes."""
    for source in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("read_query"):
                assert not node.keywords
                (name,) = node.args
                yield ast.literal_eval(name)


def test_every_statement_has_one_reader_and_every_reader_has_a_statement() -> None:
    files = [path.relative_to(QUERIES) for path in QUERIES.rglob("*") if path.is_file()]
    assert files
    assert {path.suffix for path in files} == {".sql"}
    assert Counter(read_names()) == Counter(str(path.with_suffix("")) for path in files)
