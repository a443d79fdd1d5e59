"""What `feedback export` writes is a data set here: read, measured on what a person drew alone, same patients."""

from pathlib import Path

import pytest
from rtseg_training.errors import CaseError
from rtseg_training.sets.import_dicom import case_name
from rtseg_training.sets.joined import check_drawn, listed, refuse_shared
from rtseg_training.sets.key_file import open_key
from sqlalchemy import Engine

from rtseg_daemon.feedback.export import export
from rtseg_daemon.feedback.patient_key import open_key as open_daemons_key
from tests.clinic import Case, Clinic, moved


@pytest.fixture
def case(tmp_path: Path, ledger: Engine) -> Case:
    """A case whose left parotid gland a person moved, exported to `set`."""
    clinic = Clinic(tmp_path, ledger)
    case = clinic.deliver()
    clinic.comes_back(case.edited(moved("Parotid_L", x=2.0)))
    export(clinic.loop.desk, tmp_path / "set", open_daemons_key(tmp_path / "patients.key"), None, "anna")
    return case


def test_an_exported_case_is_read_with_its_organs_and_under_the_name_of_an_import(case: Case, tmp_path: Path) -> None:
    (one,) = listed(tmp_path / "set")
    found = one.load()
    assert found.name == case_name(case.series.series_uid)
    assert sorted(found.structures) == ["Brainstem", "Parotid_L", "Parotid_R"]
    assert found.ct.spacing_mm == case.series.volume.spacing_mm
    assert all(found.mask(name).sum() > 100 for name in found.structures)
    assert not (found.mask("Parotid_L") & found.mask("Parotid_R")).any()


def test_untouched_contours_are_learned_from_and_measure_nothing(case: Case, tmp_path: Path) -> None:
    (one,) = listed(tmp_path / "set")
    measured = one.independent()
    assert measured.structures == ("Parotid_L",)
    assert (measured.mask("Parotid_L") == one.load().mask("Parotid_L")).all()
    check_drawn([tmp_path / "set"], ["Parotid_L"], "bundle x")
    with pytest.raises(CaseError, match="nothing could be measured"):
        check_drawn([tmp_path / "set"], ["Brainstem"], "bundle x")


def test_a_patient_has_one_digest_in_imports_and_exports_of_one_key(case: Case, tmp_path: Path) -> None:
    key = open_key(tmp_path / "patients.key")
    (one,) = listed(tmp_path / "set")
    assert one.patient == key.digest(str(case.series.header.PatientID))
    with pytest.raises(CaseError, match="cannot be held out"):
        refuse_shared([tmp_path / "set"], [tmp_path / "set"])
