"""Pages that name a test as a proof name one that exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = {"docs/reliability.md": 50, "docs/security.md": 50, "docs/risk.md": 20}
"""Each with a number of names that it surely has: the search must find them."""
TESTS = {
    name
    for path in (ROOT / "tests").rglob("*.py")
    for name in (*re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE), path.name)
}


def claimed(page: str) -> list[str]:
    """Every `test_...` in code font; one that ends in an ellipsis is the beginning of a name."""
    return sorted(set(re.findall(r"`(?:tests/[\w/]*)?(test_\w+(?:\.py|…)?)`", (ROOT / page).read_text())))


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_a_page_names_exists(page: str) -> None:
    names = claimed(page)
    assert len(names) > PAGES[page], "the search finds what the page names"
    missing = [
        name
        for name in names
        if not (any(one.startswith(name[:-1]) for one in TESTS) if name.endswith("…") else name in TESTS)
    ]
    assert missing == []
