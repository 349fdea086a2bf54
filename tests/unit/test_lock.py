"""The lock files pin what requirements.txt and setup.py ask for, with hashes, and name no machine."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
ASKED = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
SETUP = (ROOT / "setup.py").read_text(encoding="utf-8")
EXTRAS = re.findall(r'^    "([a-z].*)",$', SETUP, re.MULTILINE)
EXTRAS += re.findall(r'"([^"]+)"', re.findall(r"^EMBEDDED = (.+)$", SETUP, re.MULTILINE)[0])
LOCKS = ["requirements.lock", "requirements-dev.lock"]


def entries(lock: str) -> Iterator[tuple[Requirement, list[str]]]:
    """Yield each pinned requirement with its hashes."""
    text = re.sub(r"^ *#.*\n", "", (ROOT / lock).read_text(encoding="utf-8"), flags=re.MULTILINE)
    for entry in text.replace("\\\n", "").splitlines():
        requirement, *hashes = entry.split("--hash=")
        yield Requirement(requirement), [each.strip() for each in hashes]


def versions(lock: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for requirement, _ in entries(lock):
        found.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier).removeprefix("=="))
    return found


@pytest.mark.parametrize(("lock", "asked"), [(LOCKS[0], ASKED), (LOCKS[1], ASKED + EXTRAS)])
def test_lock_pins_what_is_asked_for(lock: str, asked: list[str]) -> None:
    pinned = versions(lock)
    assert len(asked) >= len(ASKED) > 0
    for requirement in map(Requirement, asked):
        found = pinned.get(canonicalize_name(requirement.name), set())
        assert found, f"{requirement.name} is not in {lock}. Run: make lock"
        assert all(requirement.specifier.contains(each) for each in found), f"{requirement}: {found}. Run: make lock"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_entry_is_pinned_and_has_hashes(lock: str) -> None:
    for requirement, hashes in entries(lock):
        assert re.fullmatch(r"==[0-9][0-9a-z.+]*", str(requirement.specifier)), requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes), requirement


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_names_no_machine_and_no_index(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert not re.search(r"://|^--|/(?!py\b)[a-z]+/", text, re.MULTILINE)


def test_development_uses_the_images_versions() -> None:
    image, development = versions(LOCKS[0]), versions(LOCKS[1])
    assert {name: development[name] for name in image} == image
