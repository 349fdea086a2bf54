"""docs/formats.md has the service's own tables, word for word."""

import re
from pathlib import Path

import pytest

from service import record_warnings
from service.refusals import TABLE
from tests.support.decoders import EXCEPTIONS
from tests.support.formats_document import REFUSED, tables

DOCUMENT = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("heading", tables())
def test_table_is_that_of_the_service(heading: str) -> None:
    [section] = re.findall(rf"^##+ {re.escape(heading)}$(.*?)(?=^##|\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    shown = "\n".join(line for line in section.splitlines() if line.startswith("|"))
    assert shown == tables()[heading]


def test_exceptions_are_codes_that_the_service_gives() -> None:
    assert set(EXCEPTIONS) <= set(REFUSED) | set(record_warnings.TABLE)
    assert set(REFUSED) <= set(TABLE)
