"""A real CT and the structure set that Aria wrote for it: paired, named and measured as a clinic's would be."""

import hashlib
from pathlib import Path

from pydicom import dcmread
from sqlalchemy import Engine

from rtseg_daemon.ct.geometry import geometry_of_files
from rtseg_daemon.dicom.files import read_dataset
from rtseg_daemon.feedback.compare import Ours, Task, measured
from rtseg_daemon.feedback.names import Roi, named
from rtseg_daemon.feedback.said import read_said
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.feedback_tables import SeriesGeometry
from tests.arrivals import receive
from tests.clinic import Clinic
from tests.structure_sets import patients
from tests.unit.ledger.test_jobs import arrival


def files() -> tuple[list[Path], Path]:
    """The CT's images, and the structure set."""
    found: dict[str, list[Path]] = {"CT": [], "RTSTRUCT": []}
    for path in sorted(patients("dicom", "thorax_lung1_003_aria").glob("*.dcm")):
        found[str(read_dataset(path, pixels=False, keywords=["Modality"]).Modality)].append(path)
    return found["CT"], found["RTSTRUCT"][0]


def test_arias_contours_lie_on_the_slices_of_their_ct_and_are_named(tmp_path: Path) -> None:
    images, structure_set = files()
    said = read_said(structure_set, 10**9)
    wanted = ("Spinal-Cord", "Esophagus", "Heart")
    structures = [one for one in said.structures if one.name in wanted]
    rois = [Roi(k, one.name, len(one.contours)) for k, one in enumerate(structures)]
    found = named(rois, ("SpinalCord", "Esophagus"), [], {})
    organs = {one.roi.name: one.organ for one in found}
    assert organs == {"Spinal-Cord": "SpinalCord", "Esophagus": "Esophagus", "Heart": "Heart"}
    ours = [one.__class__(**(vars(one) | {"name": organs[one.name]})) for one in structures if one.name != "Heart"]
    result = Ours(geometry_of_files(images), tuple(ours))
    tasks = [Task(one.roi.number, one.organ, 1 if one.organ != "Heart" else None) for one in found]
    for task, one in zip(tasks, measured(tasks, structures, {1: result}, 1).values(), strict=True):
        assert one.fit, one.reasons
        assert one.reasons == ()
        assert (one.difference is None) == (task.organ == "Heart")
        if one.difference:
            assert (one.difference["dsc"], one.difference["untouched"]) == (1.0, 1.0)
            assert 5.0 < one.difference["volume_ml"] < 200.0


def test_arias_set_is_paired_with_its_ct_in_a_ledger(tmp_path: Path, ledger: Engine) -> None:
    images, structure_set = files()
    clinic = Clinic(tmp_path, ledger)
    geometry = geometry_of_files(images)
    with writing(ledger) as session:
        for number, uid in enumerate(geometry.sop_instance_uids):
            facts = {"sop_instance_uid": uid, "series_instance_uid": geometry.series_uid, "path": f"series/{number}"}
            facts["study_instance_uid"] = geometry.study_uid
            series_id = receive(session, arrival(number, **facts)).series_id
        session.add(SeriesGeometry(series_id=series_id, last_instance_id=1, geometry=geometry.document()))
    row = clinic.comes_back(structure_set.read_bytes())
    assert (row.series_id, row.state) == (series_id, "APART")
    assert row.reasons == ["it is UNAPPROVED: contours count once they are approved"]
    assert row.sha256 == hashlib.sha256(structure_set.read_bytes()).hexdigest()
    assert row.patient_id == str(dcmread(structure_set).PatientID)
    assert {roi.name for roi in row.rois} > {"Heart", "Lung-Left", "GTV-1"}
