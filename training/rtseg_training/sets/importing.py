"""Cases put into a data set, one after the other. What is in it after each of them stays, whatever happens next."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from rtseg_daemon.anatomy.called import NameTable
from rtseg_daemon.feedback.patient_key import PatientKey
from rtseg_training.errors import CaseError
from rtseg_training.sets import key_file
from rtseg_training.sets.cases import Case, save_case
from rtseg_training.sets.manifest import MANIFEST, Entry, key_of_set, patient_of, read_document, write_manifest
from rtseg_training.sets.report import ImportReport
from rtseg_training.sets.source import Source

REPORT = "import.md"


@dataclass
class Counts:
    """How many cases were added, replaced, and were there already."""

    added: int = 0
    replaced: int = 0
    kept: int = 0


class OpenSet:
    """A data set that is being added to."""

    def __init__(self, folder: Path, key: PatientKey, source: str, report: ImportReport, names: NameTable) -> None:
        """The set in `folder`, new or there already.

        Raises CaseError if it cannot be made, or was made with another key.
        """
        self.folder, self.key, self.source, self.report, self.names = folder, key, source, report, names
        self.entries: dict[str, Entry] = {}
        self.left_out: list[str] = []
        self.earlier = ""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CaseError(f"{folder} cannot be made ({error.strerror}); give another --out") from error
        if (folder / MANIFEST).is_file():
            self._read()
        for path in folder.glob("*.partial"):
            path.unlink()
        key_file.save(key)

    def _read(self) -> None:
        document, known = read_document(self.folder), key_of_set(self.folder)
        if known not in ("", self.key.identity):
            raise CaseError(
                f"{self.folder} was imported with another key file than {self.key.path}; give that one by --key, or a "
                "patient in both imports would count as two"
            )
        cases, left_out = document["cases"], document.get("left_out", [])
        assert isinstance(cases, list)
        assert isinstance(left_out, list)
        self.entries, self.left_out = {str(entry["name"]): entry for entry in cases}, left_out
        report = self.folder / REPORT
        self.earlier = report.read_text() + "\n" if report.is_file() else ""

    def holds(self, source: Source) -> bool:
        """Whether this very case is in the set: the same files by the same rules, of the same patient."""
        entry = self.entries.get(source.name)
        if entry is None or entry.get("state") != source.state or not (self.folder / str(entry["file"])).is_file():
            return False
        return patient_of(entry) == self.key.digest(source.patient)

    def put(self, source: Source, case: Case, replace: bool) -> str:
        """Put a case into the set. Returns `added`, `replaced`, `kept`, or what stands against it.

        Raises CaseError on a full disk.
        """
        old = self.entries.get(source.name)
        entry = save_case(case, self.folder, f"{case.name}.new.npz" if old else "")
        written = self.folder / str(entry["file"])
        same = old is not None and old["sha256"] == entry["sha256"] and old["structures"] == entry["structures"]
        if old is not None and same and (self.folder / str(old["file"])).is_file():
            written.unlink()
            entry["file"] = old["file"]
        elif old is not None:
            if not replace and (self.folder / str(old["file"])).is_file():
                written.unlink()
                return (
                    f"case {source.name} is in the set already, with other images or contours; --replace takes the new "
                    "ones, or import into another set"
                )
            entry["file"] = f"{case.name}-{str(entry['sha256'])[:8]}.npz"
            written.replace(self.folder / str(entry["file"]))
        known = {key: value for key, value in source.facts.items() if value}
        entry |= {"patient": self.key.digest(source.patient), "state": source.state}
        self.entries[source.name] = entry | known
        key_file.note(self.key, self.folder, source)
        self.write()
        if old is not None and old["file"] != entry["file"]:
            (self.folder / str(old["file"])).unlink(missing_ok=True)
        return "added" if old is None else "kept" if same else "replaced"

    def write(self) -> None:
        """The manifest and the report as they are now. Raises CaseError on a full disk."""
        left_out = list(dict.fromkeys([*self.left_out, *self.report.left_out]))
        path = self.folder / REPORT
        partial = path.with_name(REPORT + ".partial")
        try:
            partial.write_text(self.earlier + self.report.markdown(self.names))
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise CaseError(f"{path} cannot be written ({error.strerror})") from error
        write_manifest(self.folder, list(self.entries.values()), self.source, left_out, self.key.identity)


def import_into(target: OpenSet, sources: Iterable[Source], replace: bool, tick: Callable[[str], None]) -> Counts:
    """Put every case of `sources` into the set. Those that cannot be used are left out, with the reason in the report.

    Raises CaseError if something cannot be written. The cases before are in the set, and the same call goes on.
    """
    counts = Counts()
    try:
        for source in sources:
            tick(source.name)
            if target.holds(source):
                counts.kept += 1
                continue
            try:
                case = source.build()
            except CaseError as error:
                target.report.left_out.append(str(error))
                continue
            done = target.put(source, case, replace)
            if done in ("added", "replaced", "kept"):
                setattr(counts, done, getattr(counts, done) + 1)
            else:
                target.report.left_out.append(done)
        target.write()
    except CaseError as error:
        raise CaseError(
            f"{error}; {len(target.entries)} cases are in {target.folder}: make room, give the same command to go on"
        ) from error
    return counts
