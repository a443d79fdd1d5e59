"""Several data sets as one: what a command is given as `--data A --data B`, and what two such groups may not share."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rtseg_training.errors import CaseError
from rtseg_training.sets.cases import Case, load_case, without
from rtseg_training.sets.manifest import Entry, key_of_set, keys_of, patient_of, read_manifest


@dataclass(frozen=True)
class Listed:
    """One case in a list: the folder of its data set, and its entry there."""

    folder: Path
    entry: Entry

    @property
    def name(self) -> str:
        return str(self.entry["name"])

    @property
    def digest(self) -> str:
        """SHA-256 of the case's file."""
        return str(self.entry["sha256"])

    @property
    def patient(self) -> str:
        """Digest of the patient, empty where unknown."""
        return patient_of(self.entry)

    def load(self) -> Case:
        """The case itself. Raises CaseError if its file was altered or is damaged."""
        return load_case(self.folder, self.entry)

    def independent(self) -> Case:
        """The case without contours that a person left as a bundle had drawn them: these measure nothing.

        Raises CaseError as `load` does.
        """
        untouched = self.entry.get("untouched", [])
        assert isinstance(untouched, list)
        return without(self.load(), untouched)


def listed(*folders: Path) -> list[Listed]:
    """Every case of these data sets, in their order, one that is in two of them once.

    Raises CaseError if two of them hold different cases of one name.
    """
    known: dict[str, Listed] = {}
    for folder in folders:
        for entry in read_manifest(folder):
            one = Listed(folder, entry)
            first = known.setdefault(one.name, one)
            if first.digest != one.digest:
                raise CaseError(
                    f"case {one.name} of {folder} is another one than that of {first.folder}: other images or other "
                    "contours; leave one of the two sets out, or import one again under another folder name"
                )
    return list(known.values())


def loaded(cases: Iterable[Listed]) -> Iterator[Case]:
    """These cases one after the other: only the one at work is in memory."""
    return (one.load() for one in cases)


def independent(cases: Iterable[Listed]) -> Iterator[Case]:
    """The same, to measure on: without contours that are no truth of their own."""
    return (one.independent() for one in cases)


def load_cases(*folders: Path) -> list[Case]:
    """Every case of these data sets, in the manifests' order."""
    return [one.load() for one in listed(*folders)]


def cut_by_import(cases: Sequence[Listed]) -> str:
    """A sentence on cases of which an earlier version kept only the body, empty where there are none."""
    cut = sum(not one.entry.get("as_received") for one in cases)
    if not cut:
        return ""
    return (
        f"{cut} of {len(cases)} cases were cut to the body by an earlier version's import: what is found in them may "
        "differ from what the daemon finds in the CT as received; import the set again"
    )


def called(folders: Sequence[Path]) -> str:
    """These data sets in a sentence."""
    return " and ".join(str(folder) for folder in folders)


def refuse_shared(learned: Sequence[Path], held_out: Sequence[Path]) -> list[str]:
    """Sentences on what cannot be told of the patients of both groups, empty where all is known.

    Raises CaseError if a case, or another case of the same patient, is in both: what it measures would be no news.
    """
    ours, theirs = listed(*learned), listed(*held_out)
    known = {key: one for one in ours for key in keys_of(one.entry)}
    for other in theirs:
        for key in keys_of(other.entry) & known.keys():
            one = known[key]
            if {one.digest, one.name} & {other.digest, other.name}:
                what = f"case {other.name} is in {one.folder} and in {other.folder}; a case"
            else:
                what = (
                    f"case {other.name} of {other.folder} is of the same patient as case {one.name} of {one.folder}; "
                    "a patient"
                )
            raise CaseError(
                f"{what} that was learned cannot be held out; `rtseg-train split` divides a set by its patients"
            )
    return doubts([*learned, *held_out])


def doubts(folders: Sequence[Path]) -> list[str]:
    """Sentences on what is not known of the patients in these data sets."""
    out = []
    for folder in dict.fromkeys(folders):
        cases = listed(folder)
        unknown = sum(not one.patient for one in cases)
        if unknown:
            out.append(
                f"{folder}: the patient of {unknown} of {len(cases)} cases is unknown, so nobody can tell whether "
                "other cases are of the same patient; import the set again to know"
            )
    keys = {key_of_set(folder) for folder in folders} - {""}
    if len(keys) > 1:
        out.append(
            f"{called(list(dict.fromkeys(folders)))} were imported with different key files, so nobody can tell "
            "whether a patient is in more than one of them; import them with one --key to know"
        )
    return out


def check_drawn(folders: Sequence[Path], organs: Sequence[str], what: str, limit: int = 0) -> None:
    """Raise CaseError if no case of the data sets (of their first `limit`, 0: all) has one of `what`'s organs drawn."""
    cases = listed(*folders)
    for one in cases[:limit] if limit else cases:
        status = one.entry["status"]
        untouched = one.entry.get("untouched", [])
        assert isinstance(status, dict)
        assert isinstance(untouched, list)
        if any(status.get(organ) == "drawn" and organ not in untouched for organ in organs):
            return
    place = called(folders)
    some = f"no case among the first {limit} of {place}" if 0 < limit < len(cases) else f"no case of {place}"
    raise CaseError(
        f"{some} has an organ of {what} drawn ({', '.join(organs)}): nothing could be measured; give a data set with "
        "contours of them, or look into its import.md for names that were not mapped"
    )
