"""Approved contours as a data set: what gets in, what never does, and that nothing of a patient is in it."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtseg_daemon.errors import ConfigError, FeedbackError, StorageError
from rtseg_daemon.feedback.export import Exported, export
from rtseg_daemon.feedback.patient_key import open_key
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.schema import Event, Series
from tests.clinic import Clinic, moved, renamed

EDITED = moved("Parotid_L", x=2.0)


def exported(clinic: Clinic, only: Path | None = None) -> Exported:
    return export(clinic.loop.desk, clinic.folder / "set", open_key(clinic.folder / "patients.key"), only, "anna")


def manifest(clinic: Clinic) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((clinic.folder / "set" / "manifest.json").read_text())
    return document


def test_an_edited_approved_case_is_written_with_its_untouched_organs_marked(clinic: Clinic) -> None:
    case = clinic.deliver()
    clinic.comes_back(case.edited(EDITED))
    done = exported(clinic)
    (entry,) = manifest(clinic)["cases"]
    assert (done.added, done.left_out, done.untouched) == ([entry["name"]], [], 2)
    assert sorted(entry["structures"]) == ["Brainstem", "Parotid_L", "Parotid_R"]
    assert entry["untouched"] == ["Brainstem", "Parotid_R"]
    with np.load(clinic.folder / "set" / entry["file"]) as data:
        assert data["ct"].shape == case.series.volume.shape
        place = entry["structures"].index("Parotid_L")
        columns = np.flatnonzero(((data["bits"] >> place) & 1).any(axis=(0, 1)))
        assert 27 <= columns.min() < columns.max() <= 37, "where the person put it, 2 mm further left"


def test_nothing_of_the_patient_is_in_the_set_and_the_key_file_lies_beside_it(clinic: Clinic) -> None:
    case = clinic.deliver()
    clinic.comes_back(case.edited(EDITED, renamed(Brainstem="Stem of Mr CANARY")))
    exported(clinic)
    header = case.series.header
    secrets = [str(header.PatientID), str(header.PatientName), str(header.SeriesInstanceUID), "CANARY", "19600101"]
    for path in (clinic.folder / "set").iterdir():
        content = path.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in content], path.name
        assert path.stat().st_mode & 0o077 == 0
    key = clinic.folder / "patients.key"
    assert key.stat().st_mode & 0o077 == 0
    (row,) = json.loads(key.read_text())["sets"][str((clinic.folder / "set").resolve())].values()
    assert row["patient_id"] == str(header.PatientID)
    assert row["patient"] == manifest(clinic)["cases"][0]["patient"] != ""
    assert "annex E" in (clinic.folder / "set" / "export.md").read_text()


@pytest.mark.parametrize("approval", ["UNAPPROVED", "REJECTED"])
def test_what_is_not_approved_is_never_learned_from(clinic: Clinic, approval: str) -> None:
    clinic.comes_back(clinic.deliver().edited(EDITED, approval=approval))
    exported(clinic)
    assert manifest(clinic)["cases"] == []


def test_a_case_that_nobody_edited_is_no_truth_of_its_own(clinic: Clinic) -> None:
    clinic.comes_back(clinic.deliver().edited())
    assert exported(clinic).left_out == ["series 1: every contour was left as it was sent: no person edited any"]


def test_an_organ_whose_name_nobody_explained_is_left_out(clinic: Clinic) -> None:
    clinic.comes_back(clinic.deliver().edited(EDITED, renamed(Brainstem="xyz")))
    exported(clinic)
    assert sorted(manifest(clinic)["cases"][0]["structures"]) == ["Parotid_L", "Parotid_R"]


def test_only_patients_on_the_consent_list_are_exported_and_leave_with_their_consent(clinic: Clinic) -> None:
    case = clinic.deliver()
    clinic.comes_back(case.edited(EDITED))
    only = clinic.folder / "consent.txt"
    only.write_text("# who agreed\n\n")
    assert exported(clinic, only).left_out == ["series 1: its patient is not on the consent list"]
    only.write_text(f"{case.series.header.PatientID}  \n")
    assert len(exported(clinic, only).added) == 1
    only.write_text("# withdrawn\n")
    assert len(exported(clinic, only).removed) == 1
    assert list((clinic.folder / "set").glob("*.npz")) == []
    assert json.loads((clinic.folder / "patients.key").read_text())["sets"] == {
        str((clinic.folder / "set").resolve()): {}
    }
    only.unlink()
    with pytest.raises(ConfigError, match="nobody is exported without it"):
        exported(clinic, only)


def test_a_second_export_keeps_what_is_there_and_takes_a_newer_approval(clinic: Clinic) -> None:
    case = clinic.deliver()
    clinic.comes_back(case.edited(EDITED))
    exported(clinic)
    before = manifest(clinic)["cases"][0]
    assert exported(clinic).kept == [before["name"]]
    clinic.comes_back(case.edited(moved("Parotid_L", x=4.0)))
    assert exported(clinic).added == [before["name"]]
    after = manifest(clinic)["cases"][0]
    assert after["sha256"] != before["sha256"]
    assert [path.name for path in (clinic.folder / "set").glob("*.npz")] == [after["file"]]


def test_a_case_stays_in_the_set_when_retention_takes_its_images_and_none_gets_in_without(clinic: Clinic) -> None:
    first, second = clinic.deliver(0), clinic.deliver(1)
    clinic.comes_back(first.edited(EDITED))
    exported(clinic)
    clinic.comes_back(second.edited(EDITED))
    shutil.rmtree(clinic.layout.series)
    done = exported(clinic)
    assert (len(done.kept), len(done.added)) == (1, 0)
    assert done.left_out[0].startswith(f"series {second.series_id}: ")


def test_a_series_whose_identity_is_in_doubt_is_left_out(clinic: Clinic) -> None:
    case = clinic.deliver()
    clinic.comes_back(case.edited(EDITED))
    with writing(clinic.ledger) as session:
        row = session.get_one(Series, case.series_id)
        row.releasable, row.reasons = False, ["two patients"]
    assert exported(clinic).left_out == ["series 1: whose images these are is in doubt: two patients"]


def test_a_folder_of_something_else_and_another_key_are_refused(clinic: Clinic) -> None:
    clinic.comes_back(clinic.deliver().edited(EDITED))
    exported(clinic)
    with pytest.raises(FeedbackError, match="exported with another key file"):
        export(clinic.loop.desk, clinic.folder / "set", open_key(clinic.folder / "other.key"), None, "anna")
    (clinic.folder / "full").mkdir()
    (clinic.folder / "full" / "thesis.tex").write_text("mine")
    with pytest.raises(FeedbackError, match="is not empty and holds no data set"):
        export(clinic.loop.desk, clinic.folder / "full", open_key(clinic.folder / "patients.key"), None, "anna")
    (clinic.folder / "patients.key").chmod(0o644)
    with pytest.raises(StorageError, match="others may read it"):
        open_key(clinic.folder / "patients.key")


def test_an_export_is_an_event_with_who_and_how_many(clinic: Clinic) -> None:
    clinic.comes_back(clinic.deliver().edited(EDITED))
    exported(clinic)
    with reading(clinic.ledger) as session:
        (event,) = session.query(Event).filter_by(what="exported")
        assert (event.who, event.detail) == ("anna", {"cases": 1, "added": 1, "removed": 0, "to": "set"})
