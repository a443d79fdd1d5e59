"""A case that can be imported: whose it is and where it lies, before anything large is read."""

import csv
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rtseg_daemon.anatomy.called import NameTable
from rtseg_daemon.storage import FOLDERS
from rtseg_training.errors import CaseError
from rtseg_training.sets.cases import Case
from rtseg_training.sets.patients import Person

STORAGE = frozenset(FOLDERS) - {"engine-cache", "backup"}
"""Folders that only the daemon's storage directory has side by side."""


PATIENTS = "patients.csv"


@dataclass(frozen=True)
class Rules:
    """What decides which contours are taken: the table of names, and whether those that nobody approved are, too."""

    names: NameTable
    any_status: bool = False

    @property
    def words(self) -> str:
        """The same for the same rules."""
        return repr((sorted(self.names.single.items()), sorted(self.names.sided.items()), self.any_status))


@dataclass(frozen=True)
class Source:
    """One case as it lies in an archive.

    Args:
        name: the case's name in the data set.
        person: who it is of, as the images say.
        patient: the identifier that stands for the patient, empty where unknown.
        series_uid: of its CT, empty for a folder of images.
        images: files of its CT.
        contours: files of what is drawn on it.
        rules: what else decides about the case: the table of names, options.
        build: reads and draws it. Raises CaseError if it cannot be used.
        facts: patient position and manufacturer of its CT, as far as the images say.
    """

    name: str
    person: Person
    patient: str
    series_uid: str
    images: tuple[Path, ...]
    contours: tuple[Path, ...]
    rules: str
    build: Callable[[], Case]
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def files(self) -> tuple[Path, ...]:
        return self.images + self.contours

    @property
    def state(self) -> str:
        """A digest of everything that the case is made of, by the files' names, sizes and times of change."""
        facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in self.files]
        return hashlib.sha256(repr((self.name, self.rules, sorted(facts))).encode()).hexdigest()


def given_patients(root: Path) -> dict[str, str]:
    """Case to patient, by `patients.csv` in an archive. Empty where there is none. Raises CaseError if it is wrong."""
    path = root / PATIENTS
    if not path.is_file():
        return {}
    out: dict[str, str] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file):
                case, patient = (row["case"] or "").strip(), (row["patient"] or "").strip()
                if not case or not patient:
                    raise CaseError(f"{path}: a line has no case or no patient; give both, or take the line out")
                if out.setdefault(case, patient) != patient:
                    raise CaseError(f"{path}: case {case} has two patients; leave one")
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise CaseError(f"{path} is no table of `case,patient` in UTF-8 ({error})") from error
    return out


def refuse_storage(root: Path, below: Iterable[Path] = ()) -> None:
    """Raise CaseError if `root` lies in a storage directory of the daemon, is one, or holds one among `below`."""
    place = root.resolve()
    for folder in (place, *place.parents, *below):
        if all((folder / name).is_dir() for name in STORAGE):
            raise CaseError(
                f"{folder} is the storage directory of the daemon: its structure sets are the daemon's own contours, "
                "and no person approved them. Export the CTs from the planning system together with the structure "
                "sets that were approved there, and import that folder"
            )


def folders_in(root: Path) -> list[Path]:
    """Every folder below `root`, however deep."""
    return [path for path in root.rglob("*") if path.is_dir()]
