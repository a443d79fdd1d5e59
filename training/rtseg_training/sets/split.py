"""A data set divided by its patients: all CTs of one patient on one side. The parts are lists of cases."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from rtseg_training.errors import CaseError
from rtseg_training.sets.joined import Listed, called, listed
from rtseg_training.sets.manifest import key_of_set, write_manifest


def shuffled(patients: Sequence[str], seed: int) -> list[str]:
    """The patients in an order that depends on `seed` and on themselves alone."""
    return sorted(set(patients), key=lambda one: hashlib.sha256(f"{seed} {one}".encode()).hexdigest())


def in_folds(patients: Sequence[str], folds: int, seed: int) -> list[set[str]]:
    """The patients of each fold. Raises CaseError if there are fewer patients than folds."""
    order = shuffled(patients, seed)
    if folds < 2 or len(order) < folds:
        raise CaseError(f"{len(order)} patients cannot be divided into {folds} folds; give 2 to {len(order)} folds")
    return [set(order[k::folds]) for k in range(folds)]


def kept_aside(patients: Sequence[str], share: float, seed: int) -> set[str]:
    """The patients that are held out. Raises CaseError if that leaves nobody on one side."""
    order = shuffled(patients, seed)
    if not 0 < share < 1 or len(order) < 2:
        raise CaseError(
            f"a share of {share:g} of {len(order)} patients cannot be held out; give a share between 0 and 1, and two "
            "patients at least"
        )
    return set(order[: min(len(order) - 1, max(1, round(share * len(order))))])


def steadily_aside(patients: Sequence[str], share: float, seed: int) -> set[str]:
    """The patients that are held out, each by itself: nobody changes sides as a set grows.

    Raises CaseError if nobody is left on one side.
    """
    place = {one: int(hashlib.sha256(f"{seed} {one}".encode()).hexdigest()[:8], 16) / 2**32 for one in patients}
    aside = {one for one, where in place.items() if where < share}
    if not 0 < len(aside) < len(place):
        raise CaseError(
            f"a steady share of {share:g} of {len(place)} patients leaves nobody on one side; wait for more patients, "
            "or give another --seed from the first time on"
        )
    return aside


def cases_to_split(folders: Sequence[Path]) -> list[Listed]:
    """Every case, with its patient known. Raises CaseError naming the set in which one is not, or sets of two keys."""
    cases = listed(*folders)
    for folder in folders:
        own = [one for one in cases if one.folder == folder]
        unknown = [one for one in own if not one.patient]
        if unknown:
            raise CaseError(
                f"{folder}: the patient of {len(unknown)} of {len(own)} cases is unknown ({unknown[0].name} is the "
                "first), so it cannot be divided by patients; import it again, with a patients.csv in the archive "
                "where the images name none"
            )
    if len({key_of_set(folder) for folder in folders}) > 1:
        raise CaseError(
            f"{called(folders)} were imported with different key files, so nobody can tell whether a patient is in "
            "both; import them with one --key, then divide them"
        )
    return cases


def parts_of(
    cases: Sequence[Listed], folds: int, share: float, seed: int, steady: bool = False
) -> dict[str, list[Listed]]:
    """The parts by their folder's name: `folds` of them, or `train` and `held-out` where `folds` is 0.

    `steady`: each patient's side depends on nobody else.
    """
    whose = groups_of(cases)
    if not folds:
        aside = (steadily_aside if steady else kept_aside)(whose, share, seed)
        return both(cases, whose, aside, "train", "held-out")
    out: dict[str, list[Listed]] = {}
    for number, aside in enumerate(in_folds(whose, folds, seed), 1):
        out |= both(cases, whose, aside, f"fold-{number}/train", f"fold-{number}/validation")
    return out


def groups_of(cases: Sequence[Listed]) -> list[str]:
    """For each case the patient that stands for it. Two patients with the very same case are one: it has two names."""
    stands: dict[str, str] = {}
    first: dict[str, str] = {}

    def root(patient: str) -> str:
        while stands.get(patient, patient) != patient:
            patient = stands[patient]
        return patient

    for one in cases:
        stands[root(one.patient)] = root(first.setdefault(one.digest, one.patient))
    return [root(one.patient) for one in cases]


def both(
    cases: Sequence[Listed], whose: Sequence[str], aside: set[str], learned: str, held_out: str
) -> dict[str, list[Listed]]:  # fmt: skip
    return {
        learned: [one for one, who in zip(cases, whose, strict=True) if who not in aside],
        held_out: [one for one, who in zip(cases, whose, strict=True) if who in aside],
    }


def write_parts(out: Path, parts: Mapping[str, Sequence[Listed]], source: str, key: str) -> None:
    """A manifest for each part, whose entries name the files where they lie.

    Raises CaseError if there is something in `out`, or on a full disk.
    """
    if out.exists() and any(out.iterdir()):
        raise CaseError(f"{out} is not empty; a set that was divided stays as it is, give another --out")
    for name, cases in parts.items():
        folder = out / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CaseError(f"{folder} cannot be made ({error.strerror}); give another --out") from error
        entries = [one.entry | {"file": where(one, folder)} for one in cases]
        write_manifest(folder, entries, source, [], key)


def where(one: Listed, folder: Path) -> str:
    """The way from `folder` to a case's file."""
    return os.path.relpath((one.folder / str(one.entry["file"])).resolve(), folder.resolve())
