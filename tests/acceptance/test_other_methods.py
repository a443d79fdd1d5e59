"""Every bundle that ships: `rtseg-daemon segment --bundle NAME` on a patient that no bundle learned from.

What is looked at is the file, read back by `rtseg-daemon convert`, against what the clinicians drew.
"""

import csv
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import Dataset, dcmread

from rtseg_daemon.anatomy.volume import Array
from rtseg_daemon.bundles import Bundle, bundle_names, installed_models, load_bundle
from tests.structure_sets import patients
from tests.world import ROOT

NAMES = bundle_names(installed_models())
LARGEST_MB = 120
WORSE_THAN_USUAL = 0.15
"""One patient may lie this much (mean Dice) below the bundle's own mean over all validation patients."""

MEAN_FOUND_AGAIN, ORGAN_FOUND_AGAIN = 0.03, 0.1
"""Dice. A report tells of a patient by weights and thresholds that others chose. The bundle has those of all."""


def run(*arguments: str) -> str:
    """What `rtseg-daemon` prints; it must succeed."""
    command = [sys.executable, "-m", "rtseg_daemon", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def drawn_in(patient: Path, bundle: Bundle) -> bool:
    return all((patient / "segmentations" / f"{organ.name}.nii.gz").is_file() for organ in bundle.classes)


@dataclass(frozen=True)
class Segmented:
    """One bundle's answer to one patient: what was printed, what was written, and what is true."""

    bundle: Bundle
    patient: str
    printed: dict[str, Any]
    dataset: Dataset
    found: dict[str, sitk.Image]
    truth: dict[str, sitk.Image]

    @property
    def dice(self) -> dict[str, float]:
        return {name: overlap(self.found.get(name), image) for name, image in self.truth.items()}


def overlap(found: sitk.Image | None, truth: sitk.Image) -> float:
    """Dice on the grid of `found`; 0 where nothing was found."""
    if found is None:
        return 0.0
    a = array(found)
    b = array(sitk.Resample(truth, found, sitk.Transform(), sitk.sitkNearestNeighbor))
    return 2.0 * float((a & b).sum()) / float(a.sum() + b.sum())


def array(image: sitk.Image) -> Array:
    return np.asarray(sitk.GetArrayFromImage(image) > 0)


def volume_ml(image: sitk.Image) -> float:
    return float(array(image).sum() * np.prod(image.GetSpacing()) / 1000.0)


@pytest.fixture(scope="module", params=NAMES)
def segmented(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Segmented:
    """The first validation patient in whom every class of the bundle is drawn, on the scan's own grid."""
    bundle = load_bundle(installed_models(), request.param)
    folders = sorted(patients("openkbp", "validation").iterdir())
    patient = next(folder for folder in folders if drawn_in(folder, bundle))
    work = tmp_path_factory.mktemp(bundle.name)
    tool = ROOT.parent / "shared" / "tools" / "nifti_to_dicom.py"
    command = [sys.executable, str(tool), str(patient / "ct.nii.gz"), str(work / "ct"), "--seed", "8"]
    subprocess.run(command, check=True, capture_output=True)
    rtstruct = work / "rs.dcm"
    printed = json.loads(run("segment", str(work / "ct"), "--out", str(rtstruct), "--bundle", bundle.name, "--json"))
    run("convert", str(work / "ct"), "--rtstruct", str(rtstruct), "--out", str(work / "masks"))
    found = {path.name.removesuffix(".nii.gz"): sitk.ReadImage(str(path)) for path in (work / "masks").glob("*.nii.gz")}
    drawn = {o.name: sitk.ReadImage(str(patient / "segmentations" / f"{o.name}.nii.gz")) for o in bundle.classes}
    return Segmented(bundle, patient.name, printed, dcmread(rtstruct), found, drawn)


@pytest.mark.patients
def test_every_class_of_the_bundle_is_a_roi_of_its_type(segmented: Segmented) -> None:
    classes = segmented.bundle.classes
    ds = segmented.dataset
    assert [str(roi.ROIName) for roi in ds.StructureSetROISequence] == [organ.name for organ in classes]
    kinds = [str(one.RTROIInterpretedType) for one in ds.RTROIObservationsSequence]
    assert kinds == [organ.interpreted_type for organ in classes]
    assert [roi["name"] for roi in segmented.printed["rois"]] == [organ.name for organ in classes]
    assert segmented.printed["gate"]["verdict"] != "hold"


@pytest.mark.patients
def test_the_contours_fit_the_patient_as_well_as_the_bundle_says(segmented: Segmented) -> None:
    figures = segmented.bundle.figures
    usual = float(np.mean([figures[name]["dice"] for name in segmented.dice]))
    assert np.mean(list(segmented.dice.values())) >= usual - WORSE_THAN_USUAL, segmented.dice


def reported(bundle: str) -> list[dict[str, str]]:
    """What the report of the bundle's calibration says of each case and organ."""
    with (ROOT / "training" / "runs" / bundle / "report" / "cases.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", NAMES)
def test_the_report_of_each_case_is_that_of_the_bundle_that_ships(name: str) -> None:
    bundle, rows = load_bundle(installed_models(), name), reported(name)
    for organ in bundle.classes:
        mean = np.mean([float(row["dice"]) for row in rows if row["organ"] == organ.name])
        assert mean == pytest.approx(bundle.figures[organ.name]["dice"], abs=5e-4), organ.name


@pytest.mark.patients
def test_the_figures_of_the_report_are_found_again(segmented: Segmented) -> None:
    """Those of this patient, measured without DICOM when the bundle was made."""
    rows = [row for row in reported(segmented.bundle.name) if row["case"] == segmented.patient]
    known = {row["organ"]: float(row["dice"]) for row in rows}
    assert known.keys() == segmented.dice.keys()
    assert segmented.dice == pytest.approx(known, abs=ORGAN_FOUND_AGAIN)
    assert np.mean(list(segmented.dice.values())) == pytest.approx(np.mean(list(known.values())), abs=MEAN_FOUND_AGAIN)


@pytest.mark.patients
def test_the_volumes_that_are_printed_are_those_in_the_file(segmented: Segmented) -> None:
    for roi in segmented.printed["rois"]:
        if roi["flag"] == "REJECT":
            assert roi["name"] not in segmented.found
        else:
            written = volume_ml(segmented.found[roi["name"]])
            assert written == pytest.approx(roi["volume_ml"], rel=0.03, abs=0.3), roi["name"]


@pytest.mark.patients
def test_what_is_for_research_is_review_at_best_and_says_so(segmented: Segmented) -> None:
    comments = [str(roi.ROIDescription) for roi in segmented.dataset.StructureSetROISequence]
    if segmented.bundle.research:
        assert all(comment.split(" ")[0] in ("REVIEW", "REJECT") for comment in comments)
        assert all("this bundle is for research only" in comment for comment in comments)
        assert "use=research" in segmented.dataset.StructureSetDescription
    else:
        assert not any("research" in comment for comment in comments)


@pytest.mark.parametrize("name", NAMES)
def test_targets_ship_for_research_alone_and_every_class_has_its_measured_figures(name: str) -> None:
    bundle = load_bundle(installed_models(), name)
    assert bundle.research or not any(organ.target for organ in bundle.classes)
    assert {organ.name for organ in bundle.classes} <= set(bundle.figures)


def test_all_bundles_together_are_small_enough_for_the_repository() -> None:
    assert NAMES
    total = sum(path.stat().st_size for path in installed_models().rglob("*") if path.is_file())
    assert total <= LARGEST_MB * 1e6, f"{total / 1e6:.1f} MB"
