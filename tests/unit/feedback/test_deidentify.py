"""De-identified DICOM files: nothing of whose they are, and everything that makes a CT with its contours."""

import json
from datetime import datetime
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from rtseg_daemon.ct.series import load_series
from rtseg_daemon.feedback.deidentify import LONGEST_SHIFT_DAYS, Patient
from rtseg_daemon.feedback.export import export
from rtseg_daemon.feedback.patient_key import open_key
from rtseg_daemon.rtstruct.reading import read_structures, structures_on
from tests.clinic import Case, Clinic, moved, saying

SECRETS = {
    "PatientName": "CANARY^Carl", "PatientComments": "CANARY lives next door", "InstitutionName": "CANARY Clinic",
    "ReferringPhysicianName": "CANARY^Doc", "AccessionNumber": "CANARY1", "StudyDescription": "CANARY study",
    "SeriesDescription": "CANARY series", "DeviceSerialNumber": "CANARY9", "OperatorsName": "CANARY^Op",
}  # fmt: skip


def with_secrets(_number: int, dataset: Dataset) -> None:
    """What a scanner and a registration desk write into an image, a private element among it."""
    for keyword, value in SECRETS.items():
        setattr(dataset, keyword, value)
    dataset.StudyDate, dataset.SeriesDate, dataset.AcquisitionDate = "20260110", "20260110", "20260112"
    dataset.StudyTime = "101112"
    block = dataset.private_block(0x0029, "CANARY VENDOR", create=True)
    block.add_new(0x10, "LO", "CANARY private")


@pytest.fixture
def case(clinic: Clinic) -> Case:
    """An edited case, written to `dicom`."""
    case = clinic.deliver(change=with_secrets)
    told = saying(ReviewDate="20260115", ReviewTime="0900", ReviewerName="CANARY^Chief", StructureSetLabel="CANARY")
    clinic.comes_back(case.edited(moved("Parotid_L", x=2.0), told))
    key = open_key(clinic.folder / "patients.key")
    done = export(clinic.loop.desk, clinic.folder / "set", key, None, "anna", clinic.folder / "dicom")
    assert (len(done.added), done.left_out) == (1, [])
    return case


def files(case: Case) -> list[Path]:
    return sorted((case.clinic.folder / "dicom").rglob("*.dcm"))


def test_no_file_holds_a_name_a_number_a_private_element_or_an_identifier(case: Case) -> None:
    header = case.series.header
    uids = [str(header[keyword].value) for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")]
    secrets = [b"CANARY", str(header.PatientID).encode(), b"20260110", b"20260115", *(uid.encode() for uid in uids)]
    secrets += [one.sop_instance_uid.encode() for one in case.series.instances]
    assert len(files(case)) == len(case.series.instances) + 1
    for path in files(case):
        content = path.read_bytes()
        assert not [secret for secret in secrets if secret in content], path.name
        dataset = dcmread(path)
        assert not [element.tag for element in dataset.iterall() if element.tag.is_private]
        assert (dataset.PatientIdentityRemoved, dataset.PatientBirthDate, dataset.PatientName) == ("YES", "", "")
        codes = [item.CodeValue for item in dataset.DeidentificationMethodCodeSequence]
        assert codes == ["113100", "113107"]
        assert path.stat().st_mode & 0o077 == 0


def test_dates_are_shifted_by_the_patients_own_days_so_that_intervals_stay(case: Case) -> None:
    image, approved = dcmread(files(case)[0]), dcmread(files(case)[-1])
    study, acquired, reviewed = (
        datetime.strptime(stated, "%Y%m%d") for stated in (image.StudyDate, image.AcquisitionDate, approved.ReviewDate)
    )
    assert ((acquired - study).days, (reviewed - study).days) == (2, 5)
    assert 1 <= (datetime(2026, 1, 10) - study).days <= LONGEST_SHIFT_DAYS
    assert image.StudyTime == "101112"
    key = open_key(case.clinic.folder / "patients.key")
    shifts = {Patient(key, f"P{number}").days for number in range(20)}
    assert len(shifts) > 15
    assert Patient(key, "P1").date("next week") == ""


def test_the_files_are_one_ct_with_its_contours_where_the_person_drew_them(case: Case) -> None:
    *images, approved = files(case)
    series = load_series(images)
    assert series.volume.shape == case.series.volume.shape
    assert (series.volume.array == case.series.volume.array).all()
    assert series.volume.origin_mm == case.series.volume.origin_mm
    organs, notes = structures_on(series, read_structures(approved))
    assert sorted(organ.name for organ in organs) == ["Brainstem", "Parotid_L", "Parotid_R"]
    assert notes == []
    dataset = dcmread(approved)
    drawn_on = {
        image.ReferencedSOPInstanceUID
        for item in dataset.ROIContourSequence
        for contour in item.ContourSequence
        for image in contour.ContourImageSequence
    }
    assert drawn_on <= {one.sop_instance_uid for one in series.instances}
    assert (dataset.ApprovalStatus, dataset.StructureSetLabel) == ("APPROVED", "approved")


def test_a_patient_has_the_name_of_the_set_and_the_same_identifiers_each_time(case: Case) -> None:
    (entry,) = json.loads((case.clinic.folder / "set" / "manifest.json").read_text())["cases"]
    image = dcmread(files(case)[0])
    assert image.PatientID == entry["patient"]
    assert files(case)[0].parent.name == entry["name"]
    before = image.SOPInstanceUID
    case.clinic.comes_back(case.edited(moved("Parotid_L", x=4.0)))
    key = open_key(case.clinic.folder / "patients.key")
    export(case.clinic.loop.desk, case.clinic.folder / "set", key, None, "anna", case.clinic.folder / "dicom")
    assert dcmread(files(case)[0]).SOPInstanceUID == before
