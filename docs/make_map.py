"""The map of files, docs/map.md, from each module's first docstring line.

`python docs/make_map.py` writes it anew; with `--check` it writes nothing and ends with 1 where the map is out of date.
"""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
MAP = ROOT / "docs" / "map.md"
TREES = ("rtseg_daemon", "training/rtseg_training", "bench")
INTRODUCTION = """# Map of files

One line per file, from its own first line. `python docs/make_map.py` writes this page, and a test compares it with the
code. `docs/architecture.md` tells how the folders belong together.
"""


def purpose(path: Path) -> str:
    """The first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0].rstrip(".")


def modules(folder: Path) -> list[Path]:
    """The modules in a folder that do something of their own."""
    return [path for path in sorted(folder.glob("*.py")) if not path.name.startswith("__")]


def folders() -> list[Path]:
    """Every folder of code, a parent before its children; migrations speak for themselves."""
    found = [folder for tree in TREES for folder in (ROOT / tree, *sorted((ROOT / tree).rglob("*/")))]
    return [folder for folder in found if modules(folder) and "migrations" not in folder.parts]


def section(folder: Path) -> str:
    """One folder: its purpose, and a line per module."""
    init = folder / "__init__.py"
    about = purpose(init) if init.is_file() else ""
    lines = [f"- `{path.name}` {purpose(path)}" for path in modules(folder)]
    return "\n".join([f"## {folder.relative_to(ROOT)}/", "", *([f"{about}.", ""] if about else []), *lines, ""])


def file_map() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *map(section, folders())])


def main() -> int:
    text = file_map()
    if "--check" in sys.argv[1:]:
        same = MAP.is_file() and MAP.read_text() == text
        sys.stderr.write("" if same else "docs/map.md is out of date: python docs/make_map.py\n")
        return 0 if same else 1
    MAP.write_text(text)
    sys.stdout.write(f"{MAP.relative_to(ROOT)}: {text.count('- `')} modules\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
