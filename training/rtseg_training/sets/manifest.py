"""The list of a data set: its cases, whose patients they are by digests, and what was left out."""

import json
from collections.abc import Sequence
from pathlib import Path

from rtseg_training.errors import CaseError

Entry = dict[str, object]
"""One case of a data set, as its manifest lists it."""

MANIFEST = "manifest.json"

FORMAT = 2
"""1 knew no patients."""


def write_manifest(
    folder: Path, entries: Sequence[Entry], source: str, left_out: Sequence[str], key: str = ""
) -> None:  # fmt: skip
    """List the data set: one entry per case, where it came from, and what was left out and why.

    Args:
        key: by which key the digests of its patients were made (`PatientKey.identity`), empty where none were.

    Raises CaseError on a full disk. The list that was there is then still there.
    """
    document = {
        "format": FORMAT, "source": source, "patients": key, "cases": list(entries), "left_out": list(left_out),
    }  # fmt: skip
    partial = folder / (MANIFEST + ".partial")
    try:
        partial.write_text(json.dumps(document, indent=1))
        partial.replace(folder / MANIFEST)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise CaseError(f"{folder / MANIFEST} cannot be written ({error.strerror})") from error


def read_document(folder: Path) -> dict[str, object]:
    """The whole manifest. Raises CaseError if `folder` holds none, a damaged one, or one of a newer version."""
    path = folder / MANIFEST
    if not path.is_file():
        raise CaseError(f"{folder} has no {MANIFEST}; make the data set with `rtseg-train import`")
    try:
        document: dict[str, object] = json.loads(path.read_text())
        number = int(str(document.get("format", 1)))
        whole = isinstance(document["cases"], list)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CaseError(f"{path} is damaged; import the data set again") from error
    if not whole:
        raise CaseError(f"{path} is damaged; import the data set again")
    if number > FORMAT:
        raise CaseError(f"{path} was written by a newer version (format {number}); use that version of rtseg-train")
    return document


def read_manifest(folder: Path) -> list[Entry]:
    """The entries of a data set. Raises CaseError if `folder` holds none, or a damaged list of them."""
    cases = read_document(folder)["cases"]
    assert isinstance(cases, list)
    return cases


def key_of_set(folder: Path) -> str:
    """By which key the digests of the set's patients were made, empty where it knows no patients."""
    return str(read_document(folder).get("patients", ""))


def patient_of(entry: Entry) -> str:
    """The digest of a case's patient, empty where the patient is unknown."""
    return str(entry.get("patient") or "")


def keys_of(entry: Entry) -> set[object]:
    """By what a case is known in another data set: content, CT (where the name is a digest of it), and patient."""
    name = str(entry["name"])
    own = [entry["sha256"], name if name.startswith("ct_") else "", patient_of(entry)]
    return {key for key in own if key}
