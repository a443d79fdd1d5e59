"""How hard pages and docstrings are to read: semicolons, and sentences of more than 25 words.

`python docs/measure_prose.py [PAGE | FOLDER ...]` prints a line per page, and one for the docstrings of each folder of
code. It ends with 1 where one of them is above a limit. Tables, headings, code and links' targets do not count. Pages
that a program writes are left out.
"""

import ast
import re
import sys
from inspect import cleandoc
from pathlib import Path

ROOT = Path(__file__).parent.parent
TREES = ("rtseg_daemon", "training/rtseg_training")
GENERATED = ("docs/map.md", "docs/soup.md", "docs/results.md")
LONG_WORDS = 25
MOST_SEMICOLONS = 5.0
"""For each 100 sentences."""
MOST_LONG = 0.12
"""Share of sentences with more than LONG_WORDS words."""


def pages() -> list[Path]:
    """Every page that a person wrote, and the models' cards, whose sentences a person wrote."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/**/*.md"), *ROOT.glob("models/*/*.md")]
    return sorted(page for page in found if str(page.relative_to(ROOT)) not in GENERATED)


def folders() -> list[Path]:
    """Every folder of code with modules of its own."""
    found = [folder for tree in TREES for folder in (ROOT / tree, *(ROOT / tree).rglob("*/"))]
    return sorted(folder for folder in found if any(folder.glob("*.py")))


def docstrings(source: str) -> list[str]:
    """All docstrings of a module: its own, those of classes and functions, and those below a constant or a field."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(getattr(node, "body", None), list)]
    bare = [line.value for node in nodes for line in node.body if isinstance(line, ast.Expr)]
    return [cleandoc(c.value) for c in bare if isinstance(c, ast.Constant) and isinstance(c.value, str)]


def paragraphs_of(docstring: str) -> str:
    """A docstring as a page: each entry below `Args:` a paragraph, commands of an example left out."""
    lines = [line for line in docstring.splitlines() if not re.match(r"\s*(Args:$|Example: )", line)]
    entries = [re.sub(r"^    (?=\S)(?:[\w`*, ]+: )?", "\n", line).lstrip(" ") for line in lines]
    return "\n".join(entries)


def folder_prose(folder: Path) -> str:
    """The docstrings of a folder's modules, as one page."""
    found = [text for module in sorted(folder.glob("*.py")) for text in docstrings(module.read_text())]
    return "\n\n".join(map(paragraphs_of, found))


def text_of(place: Path) -> str:
    """What is measured of a page or of a folder of code."""
    return folder_prose(place) if place.is_dir() else place.read_text()


def prose(markdown: str) -> str:
    """The running text, a blank line between paragraphs and between items of a list."""
    text = re.sub(r"```.*?```", "", markdown, flags=re.S)
    lines = ["" if re.match(r"    |#|!|<!--| *\|", line) else line for line in text.splitlines()]
    text = "\n".join(re.sub(r"^\s*([-*]|\d+\.)\s+", "\n", line) for line in lines)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"`[^`]*`", "code", text)


def sentences(markdown: str) -> list[str]:
    """Sentences of more than two words."""
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", prose(markdown))]
    found = [sentence for part in paragraphs for sentence in re.split(r"(?<=[.!?])\s+", part)]
    return [sentence for sentence in found if len(sentence.split()) > 2]


def measures(markdown: str) -> tuple[int, float, float]:
    """Number of sentences, semicolons per 100 of them, share of long ones."""
    found = sentences(markdown)
    count = max(1, len(found))
    semicolons = 100 * sum(sentence.count(";") for sentence in found) / count
    return len(found), semicolons, sum(len(sentence.split()) > LONG_WORDS for sentence in found) / count


def too_hard(markdown: str) -> bool:
    """Whether a page is above a limit; pages of a few sentences may have one semicolon and one long sentence."""
    count, semicolons, long = measures(markdown)
    return semicolons * count > max(100.0, MOST_SEMICOLONS * count) or long * count > max(1.0, MOST_LONG * count)


def main(names: list[str]) -> int:
    chosen = [Path(name).resolve() for name in names] or [*pages(), *folders()]
    hard = False
    for page in chosen:
        text = text_of(page)
        count, semicolons, long = measures(text)
        mark = "above the limit" if too_hard(text) else ""
        hard = hard or bool(mark)
        name = page.relative_to(ROOT) if page.is_relative_to(ROOT) else page
        figures = f"{count:4d} sentences, {semicolons:5.1f} semicolons per 100, {long:4.0%} over 25 words"
        sys.stdout.write(f"{name!s:40} {figures}  {mark}".rstrip() + "\n")
    return int(hard)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
