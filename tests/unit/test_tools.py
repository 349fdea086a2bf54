"""A test whose tool is missing is skipped, except where all tools are promised."""

import shutil
from pathlib import Path

import pytest

from tests.support import tools


def test_first_tool_that_is_there_is_taken() -> None:
    assert tools.require_tool("no-such-tool", "sh") == shutil.which("sh")


def test_missing_tool_skips_the_test_and_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "REQUIRED", False)
    with pytest.raises(pytest.skip.Exception, match="no-such-tool is not installed: apt install no-such-tool"):
        tools.require_tool("no-such-tool")


def test_missing_tool_fails_the_test_if_all_are_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "REQUIRED", True)
    with pytest.raises(pytest.fail.Exception, match="WAVEPRESS_TEST_TOOLS=required, but no-such-tool is not"):
        tools.require_tool("no-such-tool")


def test_continuous_integration_promises_them() -> None:
    script = (Path(__file__).parents[2] / ".ci" / "run").read_text(encoding="utf-8")
    assert "\nexport WAVEPRESS_TEST_TOOLS=required\n" in script
