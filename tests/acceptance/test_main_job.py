"""The main job: a PACS forwards a planning CT, the planning system receives organs that are where they should be.

The daemon runs as a process with the bundle that ships; dcmtk plays PACS and planning system, and plastimatch and
rt-utils read what arrived. Where the real patients are absent the phantom stands in.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import Dataset
from rt_utils import RTStructBuilder

from rtseg_daemon.anatomy.volume import Array
from rtseg_daemon.bundles import installed_models
from tests.peers import Storescp, program, storescu
from tests.world import ROOT, Daemon, wait_for, write_config

SHARED = ROOT.parent / "shared"
PATIENT = SHARED / "data" / "openkbp" / "validation" / "pt_201"
EASY = ("Brainstem", "SpinalCord", "Parotid_L", "Parotid_R")

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


@dataclass(frozen=True)
class Case:
    """A CT as DICOM files, and the organs that somebody drew on it as images."""

    folder: Path
    truth: dict[str, sitk.Image]


@dataclass(frozen=True)
class Done:
    """What one run of the daemon left."""

    case: Case
    job: dict[str, Any]
    series: dict[str, Any]
    structure_set: Dataset
    file: Path


def real_patient(folder: Path) -> Case:
    """A validation patient, 512 x 512."""
    tool = SHARED / "tools" / "nifti_to_dicom.py"
    command = [sys.executable, str(tool), str(PATIENT / "ct.nii.gz"), str(folder), "--matrix", "512", "--seed", "201"]
    subprocess.run(command, check=True, capture_output=True)
    drawn = {path.name.removesuffix(".nii.gz"): path for path in (PATIENT / "segmentations").glob("*.nii.gz")}
    return Case(folder, {name: sitk.ReadImage(str(path)) for name, path in drawn.items()})


def phantom(folder: Path) -> Case:
    """The demo's made-up patient."""
    from rtseg_daemon.anatomy.image import to_image
    from rtseg_daemon.demo.phantom import make_phantom, write_series

    ct, masks = make_phantom(7)
    write_series(ct, folder, 7)
    return Case(folder, {name: to_image(ct.with_array(mask.astype(np.uint8))) for name, mask in masks.items()})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """One CT through the whole daemon."""
    program("storescu")
    program("storescp")
    if not (installed_models() / "han-oar" / "bundle.yaml").is_file():
        pytest.skip("the bundle han-oar is not installed")
    folder = tmp_path_factory.mktemp("main-job")
    case = real_patient(folder / "ct") if PATIENT.is_dir() else phantom(folder / "ct")
    tps = Storescp(folder / "tps")
    route = {"name": "head-neck", "match": {"modality": "CT"}, "bundle": "han-oar", "destinations": ["tps"]}
    changes = {"routes": [route], "models": {}, "series": {"quiet_seconds": 2}}
    daemon = Daemon(write_config(folder, tps.port, **changes), folder / "daemon.log", module=("rtseg_daemon",))
    with tps.running():
        daemon.start()
        try:
            storescu(daemon.port, sorted(case.folder.iterdir()))
            job = daemon.wait_for_state("DELIVERED", 150)
            series = daemon.ask("series", "show", job["series_instance_uid"])
        finally:
            daemon.stop()
    (structure_set,) = tps.structure_sets
    return Done(case, job, series, structure_set, tps.files[0])


def test_the_planning_system_has_the_jobs_structure_set(done: Done) -> None:
    assert str(done.structure_set.SOPInstanceUID) == done.job["rtstruct_sop_instance_uid"]
    assert done.structure_set.ApprovalStatus == "UNAPPROVED"
    assert done.series["jobs"] == [done.job["id"]]
    assert len(done.series["instances"]) == len(list(done.case.folder.iterdir()))


def test_every_roi_states_its_uncertainty(done: Done) -> None:
    comments = {str(roi.ROIName): str(roi.ROIDescription) for roi in done.structure_set.StructureSetROISequence}
    assert set(comments) == set(done.job["flags"])
    for name, comment in comments.items():
        assert comment.split(" ")[0] == done.job["flags"][name]
        assert "vvc=" in comment
        assert "entropy=" in comment


def test_it_conforms_to_the_standard(done: Done) -> None:
    report = subprocess.run([program("dciodvfy"), str(done.file)], capture_output=True, text=True, check=False)
    assert [line for line in report.stderr.splitlines() if line.startswith("Error")] == []


def test_plastimatch_finds_the_organs_where_they_were_drawn(done: Done, tmp_path: Path) -> None:
    command = [program("plastimatch"), "convert", "--input", str(done.file), "--referenced-ct", str(done.case.folder)]
    command += ["--output-prefix", str(tmp_path / "read"), "--prefix-format", "nrrd"]
    subprocess.run(command, check=True, capture_output=True)
    scores = {name: dice(tmp_path / "read" / f"{name}.nrrd", truth) for name, truth in done.case.truth.items()}
    easy = [scores[name] for name in EASY if name in scores]
    assert np.mean(easy) >= 0.66, scores
    assert scores.get("Bone_Mandible", 1.0) >= 0.75, scores


def dice(path: Path, truth: sitk.Image) -> float:
    """Overlap of a mask that plastimatch read with what was drawn, on the mask's grid; 0 for a missing organ."""
    if not path.is_file():
        return 0.0
    found = sitk.ReadImage(str(path))
    drawn = sitk.Resample(truth, found, sitk.Transform(), sitk.sitkNearestNeighbor)
    a, b = array(found), array(drawn)
    return 2.0 * float((a & b).sum()) / max(1.0, float(a.sum() + b.sum()))


def array(image: sitk.Image) -> Array:
    return np.asarray(sitk.GetArrayFromImage(image) > 0)


def test_rt_utils_opens_it_with_the_same_names(done: Done) -> None:
    read = RTStructBuilder.create_from(str(done.case.folder), str(done.file))
    assert set(read.get_roi_names()) == set(done.job["flags"])
    assert read.get_roi_mask_by_name("Bone_Mandible").sum() > 1000


def test_the_log_names_no_patient(done: Done) -> None:
    log = (done.case.folder.parent / "daemon.log").read_text()
    assert done.job["patient_id"] not in log
    wait_for(lambda: "stopped" in log, 1)
