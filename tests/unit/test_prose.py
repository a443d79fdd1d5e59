"""Pages and docstrings are easy to read, links lead somewhere, and the files that are named exist."""

import importlib.util
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BASES = (ROOT, ROOT / "rtseg_daemon", ROOT / "training" / "rtseg_training", ROOT / "training")
"""Where a path in code font may begin: `segment/pipeline.py` is short for `rtseg_daemon/segment/pipeline.py`."""

PAST = ROOT / "CHANGELOG.md"
"""It may name files that are gone."""


def measure_prose():
    """docs/measure_prose.py as a module."""
    spec = importlib.util.spec_from_file_location("measure_prose", ROOT / "docs" / "measure_prose.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MEASURE = measure_prose()
WRITTEN_BY_PEOPLE = MEASURE.pages()
EVERY_PAGE = sorted({*WRITTEN_BY_PEOPLE, *(ROOT / name for name in MEASURE.GENERATED), *ROOT.glob("models/*/*.md")})


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def without_code_blocks(markdown: str) -> str:
    """The page without fenced and indented blocks of commands; continued list items stay."""
    fenced = re.sub(r"^```.*?^```", "", markdown, flags=re.S | re.M)
    return re.sub(r"(?:\A|(?<=\n\n))(?:(?: {4}|\t).*\n?|\n(?= {4}))+", "", fenced)


def links(markdown: str) -> list[str]:
    """Targets of links and pictures within the repository."""
    text = re.sub(r"`[^`\n]*`", "", without_code_blocks(markdown))
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(markdown: str) -> set[str]:
    """The anchors that GitHub gives a page's headings: lower case, no punctuation, hyphens; `-1` for the second."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ +(.*?)\s*#*$", re.sub(r"^```.*?^```", "", markdown, flags=re.S | re.M), flags=re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def missing_links(page: Path) -> list[str]:
    """Links of a page whose file or heading does not exist."""
    missing = []
    for target in links(page.read_text()):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in anchors(file.read_text())):
            missing.append(target)
    return missing


def paths_in_code_font(markdown: str) -> set[str]:
    """`folder/file.py` and the like: names with a folder and an ending that the repository's files have."""
    spans = re.findall(r"`([^`\n]+)`", without_code_blocks(markdown))
    pattern = r"[\w.-]+(?:/[\w.-]+)+\.(?:py|md|yaml|toml|npz|png|service|txt|lock)"
    return {word for span in spans for word in span.split() if re.fullmatch(pattern, word)}


def missing_paths(page: Path) -> list[str]:
    """Paths in code font that look like the repository's and are not there."""
    bases = (*BASES, page.parent)
    named_here = paths_in_code_font(page.read_text())
    return sorted(path for path in named_here if not any((base / path).exists() for base in bases))


@pytest.mark.parametrize("page", WRITTEN_BY_PEOPLE, ids=named)
def test_a_page_is_easy_to_read(page):
    text = page.read_text()
    count, semicolons, long = MEASURE.measures(text)
    hard = MEASURE.too_hard(text)
    assert not hard, f"{count} sentences, {semicolons:.1f} semicolons per 100, {long:.0%} over 25 words"


@pytest.mark.parametrize("folder", MEASURE.folders(), ids=named)
def test_the_docstrings_of_a_folder_are_easy_to_read(folder):
    text = MEASURE.text_of(folder)
    count, semicolons, long = MEASURE.measures(text)
    hard = MEASURE.too_hard(text)
    assert not hard, f"{count} sentences, {semicolons:.1f} semicolons per 100, {long:.0%} over 25 words"


@pytest.mark.parametrize("page", EVERY_PAGE, ids=named)
def test_the_links_of_a_page_lead_somewhere(page):
    assert missing_links(page) == []


@pytest.mark.parametrize("page", [page for page in EVERY_PAGE if page != PAST], ids=named)
def test_the_files_that_a_page_names_exist(page):
    assert missing_paths(page) == []


def test_a_link_to_a_file_or_heading_that_is_gone_is_found(tmp_path):
    (tmp_path / "other.md").write_text("# Twice\n\n## 2.4 Accepted and `discarded`\n\n## Twice\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md#24-accepted-and-discarded) [b](other.md#twice-1) [c](other.md) [d](https://example.org)\n"
        "[e](gone.md) [f](other.md#gone) [g](#gone)\n\n    [in a command](gone.md)\n"
    )
    assert missing_links(page) == ["gone.md", "other.md#gone", "#gone"]


def test_a_file_that_is_gone_is_found_by_its_short_and_its_long_name(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "`segment/pipeline.py`, `rtseg_daemon/errors.py`, `python docs/make_map.py`, `learn/trainer.py`\n"
        "`segment/gone.py`, `rtseg_daemon/gone.py`, `python docs/gone.py`\n\n    in/a/command.py\n"
    )
    assert missing_paths(page) == ["docs/gone.py", "rtseg_daemon/gone.py", "segment/gone.py"]


def test_tables_headings_and_commands_are_no_prose():
    page = "# A; b; c\n\n| a; b |\n|---|\n\n1. One idea here.\n\n   | c; d |\n   |---|\n\n    command; other\n"
    assert MEASURE.sentences(page) == ["One idea here."]


def test_a_page_of_semicolons_is_too_hard_to_read():
    assert MEASURE.too_hard("One idea here; another one here. " * 20)
    assert not MEASURE.too_hard("One idea here. Another one here. " * 20)
    assert MEASURE.too_hard(("word " * 26 + "end. ") * 20)


MODULE = '''"""What it is; why it is so."""

MOST = 5
"""Of what; for what."""


class Thing:
    """One line of it.

    Args:
        first: one thing; another thing.
        second, third: they follow.

    Example: run a; run b
    """

    size: int
    """How large; in mm."""

    def run(self) -> str:
        """It runs here; it ends there."""
        return "no; docstring"
'''


def test_the_docstrings_of_modules_classes_functions_and_constants_are_measured(tmp_path):
    (tmp_path / "module.py").write_text(MODULE)
    assert set(MEASURE.sentences(MEASURE.text_of(tmp_path))) == {
        "What it is; why it is so.",
        "Of what; for what.",
        "One line of it.",
        "one thing; another thing.",
        "How large; in mm.",
        "It runs here; it ends there.",
    }


def test_a_folder_of_semicolons_is_too_hard_to_read(tmp_path):
    (tmp_path / "module.py").write_text('"""One idea here; another one here."""\n' * 2)
    (tmp_path / "other.py").write_text('"""One idea here; another one here."""\n')
    assert MEASURE.too_hard(MEASURE.text_of(tmp_path))
