"""One case with rings, from the members' votes to the file on disk and the gate on it; only the network is played."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import yaml

from rtseg_daemon.anatomy.volume import Array, Volume, grid_of
from rtseg_daemon.bundles import Bundle, Limits, load_bundle
from rtseg_daemon.segment.ensemble import combine
from rtseg_daemon.segment.pipeline import Report, Segmentation, Segmenter, Stages, to_network_grid
from rtseg_daemon.work import case
from tests.structure_sets import dciodvfy_errors
from tests.tiny import make_bundle
from tests.world import patient

RADII_MM = (24.0, 24.0, 24.0, 24.0, 24.0, 40.0)
"""What six members think of the first organ's size; they agree about the second."""


class Played(Segmenter):
    """Six members that see balls: everything but the network is the daemon's own."""

    def segment_volume(self, ct: Volume, report: Report = print) -> Segmentation:
        network = to_network_grid(ct, self.bundle)
        ensemble = combine((answer(network, radius) for radius in RADII_MM), self.weights)
        return self.describe(grid_of(ct), network, ensemble, Stages(report))


def answer(network: Volume, radius_mm: float) -> Array:
    """Probabilities `(classes, z, y, x)` of one member: two balls, 70 mm apart."""
    axes = [(np.arange(n) - n / 2) * s for n, s in zip(network.shape, network.spacing_mm, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    near = [np.sqrt(z**2 + y**2 + (x - dx) ** 2) < r for dx, r in ((-35.0, radius_mm), (35.0, 24.0))]
    p = np.full((4, *network.shape), 0.02, np.float32)
    p[1][near[0]] = 0.94
    p[2][near[1] & ~near[0]] = 0.94
    p[0] = 1 - p[1:].sum(axis=0)
    return p


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    make_bundle(tmp_path / "models", members=len(RADII_MM))
    return load_bundle(tmp_path / "models", "tiny")


def done(tmp_path: Path, bundle: Bundle, rings: bool) -> tuple[case.CaseResult, Path]:
    options = case.Options(rings=rings)
    engine: Any = None
    files = patient(tmp_path / "ct")
    result = case.process_case(files, [bundle], lambda one: Played(one, engine), options, lambda _stage: None)
    path = tmp_path / "rs.dcm"
    case.write_case(result, path)
    return case.checked(result, path, options), path


@pytest.mark.peers
def test_rings_pass_the_gate_and_the_strictest_checker(tmp_path: Path, bundle: Bundle) -> None:
    result, path = done(tmp_path, bundle, rings=True)
    assert not result.held, result.reasons
    ds = pydicom.dcmread(path)
    names = [str(roi.ROIName) for roi in ds.StructureSetROISequence]
    assert names == ["Brainstem", "SpinalCord", "Parotid_L", "zBrainstem"]
    assert ds.RTROIObservationsSequence[-1].RTROIInterpretedType == "CONTROL"
    assert len(ds.ROIContourSequence[-1].ContourSequence) > 3
    assert set(result.flags) == {"Brainstem", "SpinalCord", "Parotid_L"}
    assert dciodvfy_errors(path) == []


def test_without_being_asked_there_are_none_and_the_object_is_another(tmp_path: Path, bundle: Bundle) -> None:
    plain, path = done(tmp_path, bundle, rings=False)
    names = [str(roi.ROIName) for roi in pydicom.dcmread(path).StructureSetROISequence]
    assert names == ["Brainstem", "SpinalCord", "Parotid_L"]
    assert plain.sop_instance_uid != done(tmp_path, bundle, rings=True)[0].sop_instance_uid


@pytest.fixture
def targets(tmp_path: Path) -> Bundle:
    """A research bundle whose target is the ball that the other bundle calls brainstem, and that draws a cord too."""
    folder = make_bundle(tmp_path / "models", "targets", members=len(RADII_MM), intended_use="research")
    document = yaml.safe_load((folder / "bundle.yaml").read_text())
    document["classes"][0] |= {"name": "PTV_7000", "interpreted_type": "PTV"}
    document["limits"] = {"minimum_organs": 1}
    (folder / "bundle.yaml").write_text(yaml.safe_dump(document))
    return load_bundle(tmp_path / "models", "targets")


def both(tmp_path: Path, *bundles: Bundle, rings: bool = False) -> tuple[case.CaseResult, Path]:
    engine: Any = None
    options = case.Options(rings=rings)
    files = patient(tmp_path / "ct")
    result = case.process_case(files, bundles, lambda one: Played(one, engine), options, lambda _stage: None)
    path = tmp_path / "joined.dcm"
    case.write_case(result, path)
    return case.checked(result, path, options), path


@pytest.mark.peers
def test_a_target_over_an_organ_of_another_bundle_is_written_beside_it(
    tmp_path: Path, bundle: Bundle, targets: Bundle
) -> None:
    result, path = both(tmp_path, bundle, targets, rings=True)
    assert not result.held, result.reasons
    gates = ["series (tiny)", "series (targets)", "voxels", "organs (tiny)", "organs (targets)", "written file"]
    assert [gate["gate"] for gate in result.gates] == gates
    ds = pydicom.dcmread(path)
    names = [str(roi.ROIName) for roi in ds.StructureSetROISequence]
    assert names[:6] == ["Brainstem", "SpinalCord", "Parotid_L", "PTV_7000", "SpinalCord^2", "Parotid_L^2"]
    assert names[6:] == ["zBrainstem", "zPTV_7000"]
    kinds = [str(one.RTROIInterpretedType) for one in ds.RTROIObservationsSequence]
    assert kinds == ["ORGAN"] * 3 + ["PTV"] + ["ORGAN"] * 2 + ["CONTROL"] * 2
    assert dciodvfy_errors(path) == []
    organ, target = result.organs[0], result.organs[3]
    assert organ.volume_ml == target.volume_ml > 10


def test_only_the_research_bundles_rois_are_review_at_best_and_say_why(
    tmp_path: Path, bundle: Bundle, targets: Bundle
) -> None:
    result, _ = both(tmp_path, bundle, targets)
    alone, _ = done(tmp_path, bundle, rings=False)
    assert {name: result.flags[name] for name in alone.flags} == alone.flags
    assert result.flags["PTV_7000"] == "REVIEW"
    comment = next(roi["comment"] for roi in result.rois if roi["name"] == "PTV_7000")
    assert "bundle=targets" in comment
    assert "this bundle is for research only" in comment


def test_a_joined_structure_set_is_another_object_than_each_alone_and_the_same_when_made_again(
    tmp_path: Path, bundle: Bundle, targets: Bundle
) -> None:
    orders = [(bundle,), (bundle, targets), (targets, bundle)]
    uids = [both(tmp_path, *order)[0].sop_instance_uid for order in orders]
    assert len(set(uids)) == len(orders)
    assert both(tmp_path, bundle, targets)[0].sop_instance_uid == uids[1]


def test_each_bundle_holds_by_its_own_limits(tmp_path: Path, bundle: Bundle, targets: Bundle) -> None:
    strict = targets.model_copy(update={"limits": Limits(minimum_slices=1000)})
    result = case.process_case(patient(tmp_path / "ct"), [bundle, strict], never, case.Options(), lambda _stage: None)
    assert result.held
    assert [gate["verdict"] for gate in result.gates] == ["pass", "hold"]
    assert result.dataset is None


def never(_bundle: Bundle) -> Any:
    raise AssertionError("a held series loads no model")
