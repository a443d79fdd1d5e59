"""What became of the names and files of an archive: the report beside a new data set."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rtseg_daemon.anatomy.called import NameTable


@dataclass
class ImportReport:
    """What became of the names and files of a tree.

    Args:
        mapped: ROI name to TG-263 name, with the number of cases.
        unmapped: ROI names the table does not know, with the number of cases.
        notes: sentences about single ROIs and cases.
        choices: which contour was taken before which others, and why.
        left_out: sentences about cases and files that could not be used.
        unapproved: cases of which no organ comes from an approved structure set.
        files: what a file or folder is called in these sentences, to its path: paths often hold patients' names.
    """

    mapped: Counter[tuple[str, str]] = field(default_factory=Counter)
    unmapped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    choices: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    unapproved: list[str] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)

    def called(self, path: Path) -> str:
        """A name for `path` that says nothing of the patient."""
        alias = "file_" + hashlib.sha256(str(path).encode()).hexdigest()[:8]
        self.files[alias] = path
        return alias

    def told(self, line: str) -> str:
        """A sentence of the report with the real paths, for the person at the screen alone."""
        for alias, path in self.files.items():
            line = line.replace(alias, str(path))
        return line

    def markdown(self, names: NameTable) -> str:
        """The report as tables. `names` suggests what an unmapped name may have been meant for."""
        lines = ["# Import", "", "| ROI name | TG-263 | cases |", "|---|---|---|"]
        lines += [f"| {cell(raw)} | {name} | {n} |" for (raw, name), n in sorted(self.mapped.items())]
        lines += ["", "## Not mapped", "", "| ROI name | cases | perhaps |", "|---|---|---|"]
        lines += [f"| {cell(raw)} | {n} | {names.suggest(raw)} |" for raw, n in sorted(self.unmapped.items())]
        lines += ["", "## Chosen", "", *(f"- {choice}" for choice in self.choices)]
        lines += ["", "## No approved set", "", *(f"- {case}" for case in self.unapproved)]
        lines += ["", "## Notes", "", *(f"- {note}" for note in self.notes)]
        lines += ["", "## Left out", "", *(f"- {reason}" for reason in self.left_out)]
        return "\n".join(lines) + "\n"


def cell(name: str) -> str:
    """A name of a stranger in a cell of a table."""
    return name.replace("\n", " ").replace("|", "\\|")
