"""The documents for people: what they name exists, and what they list is complete."""

import re
import subprocess
from pathlib import Path

import pytest

from service.refusals import CLIENT_GONE, TABLE
from service.web.curl_lines import curl_lines
from tests.support.tools import require_tool

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
CHANGES = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def proofs(document: str) -> list[str]:
    """Return the names of test files, and of tests, that a document gives as proof."""
    return re.findall(r"`((?:tests/)?\w+(?:/\w+)*\.py|test_\w+)`", text_of(document))


def sources_of_tests() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))


@pytest.mark.parametrize("document", ["docs/guarantees.md", "docs/security.md"])
def test_every_proof_that_a_document_names_exists(document: str) -> None:
    named, sources = proofs(document), sources_of_tests()
    assert len(named) > 30
    files = [name for name in named if name.endswith(".py")]
    tests = [name for name in named if not name.endswith(".py")]
    assert [name for name in files if not (TESTS / name.removeprefix("tests/")).is_file()] == []
    assert [name for name in tests if f"def {name}(" not in sources] == []


def test_every_promise_has_a_proof() -> None:
    promises, heading, _results = text_of("docs/guarantees.md").partition("\n## Under attack\n")
    assert heading
    rows = re.findall(r"^\| (?!promise|what breaks)(.+) \|$", promises, re.MULTILINE)
    assert len(rows) > 20
    assert [row for row in rows if "`" not in row.rpartition(" | ")[2]] == []


def test_every_requirement_of_asvs_has_a_proof_or_a_reason() -> None:
    rows = re.findall(r"^\| (\d+\.\d.*?) \| ([\w ]+) \| (.+) \|$", text_of("docs/security.md"), re.MULTILINE)
    assert len(rows) > 35
    for requirement, state, reason in rows:
        assert state in {"met", "partly", "not met"}, requirement
        assert re.search(r"`[\w/]+\.py`|`test_\w+`|\]\(|the same tests", reason), requirement
        assert state == "met" or len(reason) > 80, requirement


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_to_one(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text(encoding="utf-8"))
    assert [target for target in targets if not (document.parent / target).exists()] == []


def slug(heading: str) -> str:
    """Return the anchor that a heading has on a page."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_within_a_document_leads_to_a_heading(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    anchors = {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors


def test_documents_say_why_each_dependency_is_there() -> None:
    (embedded,) = re.findall(r"^EMBEDDED = \[(.+)\]$", text_of("setup.py"), re.MULTILINE)
    required = re.findall(r"^[\w-]+", text_of("requirements.txt"), re.MULTILINE) + re.findall(r'"([\w-]+)', embedded)
    cells = re.findall(r"^\| ([a-z][^|]*?)(?: \(.*?\))? \|", text_of("docs/dependencies.md"), re.MULTILINE)
    explained = [name for cell in cells if cell != "package" for name in cell.split(", ")]
    assert sorted(explained) == sorted(required)


def test_changelog_has_each_heading_once_in_each_release() -> None:
    releases = re.split(r"^## .*$", text_of("CHANGELOG.md"), flags=re.MULTILINE)[1:]
    assert releases
    for release in releases:
        headings = re.findall(r"^### (.+)$", release, re.MULTILINE)
        assert set(headings) <= CHANGES
        assert len(set(headings)) == len(headings)


def test_readme_shows_the_lines_that_the_terminal_shows() -> None:
    (lines,) = re.findall(r"^```sh\n(TOKEN=.*?)\n```$", text_of("README.md"), re.DOTALL | re.MULTILINE)
    assert lines == curl_lines("http://127.0.0.1:8001", wav="examples/talk.wav")


def shell_blocks(document: Path) -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", document.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [text for language, text in blocks if language in {"", "sh"}]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_shell_lines_can_be_pasted_into_any_shell(document: Path) -> None:
    for block in shell_blocks(document):
        # In zsh, a # that is typed begins no comment, and a ? outside of quotes is a pattern that matches no file.
        assert re.findall(r"^.*(?<!\S)#.*$", block, re.MULTILINE) == []
        unquoted = re.sub(r'"[^"]*"|\'[^\']*\'', "", block)
        assert re.findall(r"\w+://\S*[?*\[]\S*", unquoted) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_zsh_understands_the_shell_lines(document: Path) -> None:
    zsh = require_tool("zsh")
    for block in shell_blocks(document):
        if "→" not in block:  # a line of the log
            checked = subprocess.run([zsh, "-fn"], input=block, capture_output=True, text=True, check=False)
            assert (checked.returncode, checked.stderr) == (0, "")


def test_readme_explains_every_status_that_is_sent() -> None:
    rows = re.findall(r"^\| (\d{3}(?:, \d{3})*) \|", text_of("README.md"), re.MULTILINE)
    explained = [int(status) for row in rows for status in row.split(", ")]
    sent = {refusal.kind.status for refusal in TABLE.values() if refusal is not CLIENT_GONE}
    assert sorted(explained) == sorted(sent)
