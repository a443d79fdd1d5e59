"""Whose a case is: identifiers that are one patient, and one identifier that is two. Pure.

Sentences speak of cases, never of names.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

MOST_IDENTIFIERS = 3
"""Name and birth date under more identifiers are a placeholder of de-identification, and say nothing."""


@dataclass(frozen=True)
class Person:
    """Who a case is of, as all spellings compare (`dicom.charsets`). Empty where the images do not say.

    Never in a log.
    """

    patient_id: str = field(default="", repr=False)
    name: str = field(default="", repr=False)
    birth_date: str = field(default="", repr=False)


@dataclass(frozen=True)
class Persons:
    """What is known of all persons together.

    Args:
        same: PatientID to the one that stands for the patient.
        two: PatientID that two patients have, to what is wrong.
        notes: sentences on identifiers that count as one patient.
    """

    same: dict[str, str]
    two: dict[str, str]
    notes: list[str]

    def patient(self, person: Person) -> str:
        """The identifier that stands for the patient, empty where unknown."""
        return self.same.get(person.patient_id, person.patient_id)


def persons_among(cases: Iterable[tuple[str, Person]]) -> Persons:
    """Which identifiers belong together, from cases and who they are of, those that are known longest first."""
    by_id: dict[str, list[tuple[str, Person]]] = defaultdict(list)
    for case, person in cases:
        if person.patient_id:
            by_id[person.patient_id].append((case, person))
    two = {key: fault for key, group in by_id.items() if (fault := two_patients(group))}
    same: dict[str, str] = {}
    notes: list[str] = []
    for group in by_name(by_id, two).values():
        first = next((same[key] for key in group if key in same), group[0])
        if len(group) > MOST_IDENTIFIERS:
            notes.append(
                f"{len(group)} PatientIDs share name and birth date: taken for placeholders, each counts as a patient"
            )
            continue
        for key in group:
            if same.setdefault(key, first) != key:
                notes.append(
                    f"{by_id[key][0][0]} and {by_id[first][0][0]}: one patient under two PatientIDs (name and birth "
                    "date are the same), they count as one"
                )
    return Persons(same, two, notes)


def two_patients(group: list[tuple[str, Person]]) -> str:
    """What is wrong with cases of one PatientID: the birth dates of two differ. Empty if nothing."""
    dated = [(case, person.birth_date) for case, person in group if person.birth_date]
    for case, date in dated[1:]:
        if date != dated[0][1]:
            return (
                f"two patients under one PatientID: the birth dates of {dated[0][0]} and {case} differ; correct the "
                "PatientID in the archive, import again"
            )
    return ""


def by_name(by_id: dict[str, list[tuple[str, Person]]], two: dict[str, str]) -> dict[tuple[str, str], list[str]]:
    """Identifiers by name and birth date, where both are given."""
    out: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key, group in by_id.items():
        if key in two:
            continue
        for said in dict.fromkeys((p.name, p.birth_date) for _, p in group if p.name and p.birth_date):
            out[said].append(key)
    return {said: keys for said, keys in out.items() if len(keys) > 1}
