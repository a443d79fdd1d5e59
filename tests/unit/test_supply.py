"""What the lock, the SOUP list and the installed packages say of each other."""

import importlib.metadata as metadata
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made() -> ModuleType:
    """docs/make_soup.py as a module."""
    spec = importlib.util.spec_from_file_location("make_soup", ROOT / "docs" / "make_soup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_soup_list_is_current(made: ModuleType) -> None:
    assert (ROOT / "docs" / "soup.md").read_text() == made.soup(), "run: make soup"


def test_every_dependency_has_a_purpose_a_reason_for_trust_and_what_is_watched(made: ModuleType) -> None:
    asked = {*made.asked_by_us(), *made.asked_by_us("dev", "training")}
    assert asked == set(made.DIRECT)
    assert all(reason.purpose and reason.trust and reason.watched for reason in made.DIRECT.values())


def test_the_lock_holds_what_we_ask_for_and_what_that_brings_along(made: ModuleType) -> None:
    pinned = made.locked()
    needed = {*made.asked_by_us(), *made.asked_by_us("dev", "training"), *made.brought()}
    assert needed <= set(pinned)


def test_the_tests_run_with_the_locked_versions(made: ModuleType) -> None:
    """Of the daemon's own packages, the build aside: `2.13.0+cpu` and `2.13.0` are one version of torch."""
    needed = {*made.asked_by_us(), *made.brought()}
    for name in sorted(needed):
        assert Version(metadata.version(name)).public == Version(made.locked()[name]).public, name


def test_the_lock_and_the_constraints_name_the_same_versions(made: ModuleType) -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    constrained = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    pinned = made.locked()
    assert {canonicalize_name(name): version for name, version in constrained.items()}.items() <= pinned.items()


def test_every_pinned_package_has_a_digest_and_no_address(made: ModuleType) -> None:
    text = made.LOCK.read_text()
    entries = re.split(r"^(?=\S)", text.split("\n", 2)[2], flags=re.MULTILINE)
    packages = [entry for entry in entries if entry.strip()]
    assert len(packages) == len(made.locked())
    assert all(made.HASHED.search(entry) for entry in packages)
    assert "://" not in text
