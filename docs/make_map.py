"""The map of files in README.md, from each module's first docstring line: `python docs/make_map.py` writes it anew."""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = (
    "rtseg_daemon",
    "rtseg_daemon/segment",
    "rtseg_daemon/networks",
    "rtseg_daemon/dicom",
    "rtseg_daemon/ledger",
    "rtseg_daemon/daemon",
    "rtseg_daemon/cli",
    "training/rtseg_training",
    "bench",
)
BEGIN, END = "<!-- map: docs/make_map.py -->\n", "<!-- end of map -->\n"


def purpose(path: Path) -> str:
    """The first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0].rstrip(".")


def file_map() -> str:
    """A list per folder, one line per module."""
    parts = []
    for folder in FOLDERS:
        lines = [
            f"- `{path.name}` {purpose(path)}"
            for path in sorted((ROOT / folder).glob("*.py"))
            if not path.name.startswith("__")
        ]
        about = purpose(ROOT / folder / "__init__.py") if (ROOT / folder / "__init__.py").is_file() else ""
        heading = f"**{folder}/**" + (f" {about}" if about else "")
        parts.append("\n".join([heading, "", *lines, ""]))
    return "\n".join(parts)


def renewed(readme: str) -> str:
    """README.md with the map as it must be now."""
    before, rest = readme.split(BEGIN)
    return before + BEGIN + "\n" + file_map() + "\n" + END + rest.split(END)[1]


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(renewed(path.read_text()))
    sys.stdout.write(f"{path.name}: {file_map().count('- `')} modules\n")
