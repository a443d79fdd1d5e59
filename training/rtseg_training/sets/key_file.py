"""The department's key file as the import uses it: whose the cases are that it knows, and who an imported one is of.

The file itself is the daemon's (`feedback.patient_key`), which keeps it too. Its errors are told as those of a case.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rtseg_daemon.errors import StorageError
from rtseg_daemon.feedback import patient_key
from rtseg_daemon.feedback.patient_key import NAME as NAME
from rtseg_daemon.feedback.patient_key import PatientKey
from rtseg_training.errors import CaseError
from rtseg_training.sets.patients import Person
from rtseg_training.sets.source import Source


def persons(key: PatientKey) -> list[tuple[str, Person]]:
    """Everyone that the key knows, by case, the first imported first."""
    rows = [(case, row) for cases in key.sets.values() for case, row in cases.items()]
    return [(case, Person(row["patient_id"], row.get("name", ""), row.get("birth_date", ""))) for case, row in rows]


def note(key: PatientKey, data_set: Path, source: Source) -> None:
    """Note who a case is of, its series, its files, and save. Raises CaseError on a full disk."""
    person, files = source.person, [str(path) for path in source.contours]
    key.record(
        data_set, source.name, person.patient_id, source.series_uid, files, name=person.name,
        birth_date=person.birth_date, folders=sorted({str(path.parent) for path in source.files}),
        patient=source.patient,
    )  # fmt: skip
    save(key)


def save(key: PatientKey) -> None:
    """Write it whole or not at all, for its owner alone. Raises CaseError on a full disk."""
    with of_a_case():
        key.save()


def open_key(path: Path) -> PatientKey:
    """The key at `path`, or a new one with a salt of its own. Raises CaseError if it is damaged or open to others."""
    with of_a_case():
        return patient_key.open_key(path)


@contextmanager
def of_a_case() -> Iterator[None]:
    try:
        yield
    except StorageError as error:
        raise CaseError(str(error)) from error
