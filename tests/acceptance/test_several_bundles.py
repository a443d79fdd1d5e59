"""Routes of two bundles through the whole daemon: their ROIs land in two structure sets, or in one."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydicom import Dataset

from tests.tiny import make_bundle
from tests.world import Daemon, Tps, patient, send, wait_for, write_config

# pynetdicom leaves sockets to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

BUNDLES = ["tiny", "targets"]


def route(caller: str, structure_sets: str, **more: Any) -> dict[str, Any]:
    match = {"modality": "CT", "calling_ae": caller}
    return {"name": caller, "match": match, "bundle": BUNDLES, "structure_sets": structure_sets, **more}


def make_targets(models: Path) -> None:
    """A research bundle whose only target lies where the other bundle's brainstem is."""
    folder = make_bundle(models, "targets", intended_use="research")
    document = yaml.safe_load((folder / "bundle.yaml").read_text())
    document["classes"] = [document["classes"][0] | {"name": "PTV_7000", "interpreted_type": "PTV"}]
    (folder / "bundle.yaml").write_text(yaml.safe_dump(document))


@pytest.fixture(scope="module")
def arrived(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Dataset]]:
    """What the planning system has of two patients, by the route that took them."""
    folder, tps = tmp_path_factory.mktemp("several"), Tps()
    make_bundle(folder / "models")
    make_targets(folder / "models")
    modes = {"ONE": "joined", "EACH": "separate"}
    routes = [route(caller, mode, research=True, destinations=["tps"]) for caller, mode in modes.items()]
    config = write_config(folder, tps.port, routes=routes, series={"quiet_seconds": 4})
    daemon = Daemon(config, folder / "daemon.log")
    with tps.running():
        try:
            daemon.start()
            for seed, caller in enumerate(modes):
                assert set(send(daemon.port, patient(folder / caller, seed), caller)) == {0}
            wait_for(lambda: len(tps.structure_sets) == 3, 120, daemon.tail)
            wait_for(lambda: all(job["state"] == "DELIVERED" for job in daemon.jobs()), 60, daemon.tail)
            names = {job["rtstruct_sop_instance_uid"]: job["route"] for job in daemon.jobs()}
            assert sorted(job["bundle"] for job in daemon.jobs()) == ["targets", "tiny", "tiny+targets"]
        finally:
            daemon.stop()
    return {caller: [d for d in tps.structure_sets if names[str(d.SOPInstanceUID)] == caller] for caller in modes}


def rois(dataset: Dataset) -> list[str]:
    return [str(roi.ROIName) for roi in dataset.StructureSetROISequence]


def test_joined_the_rois_of_both_lie_in_one_structure_set(arrived: dict[str, list[Dataset]]) -> None:
    (dataset,) = arrived["ONE"]
    assert rois(dataset) == ["Brainstem", "SpinalCord", "Parotid_L", "PTV_7000"]
    assert dataset.StructureSetLabel == "tiny+targets"
    kinds = [str(one.RTROIInterpretedType) for one in dataset.RTROIObservationsSequence]
    assert kinds == ["ORGAN", "ORGAN", "ORGAN", "PTV"]
    words = [str(roi.ROIDescription).split(" ")[0] for roi in dataset.StructureSetROISequence]
    assert words == ["OK", "OK", "OK", "REVIEW"]
    assert all(item.get("ContourSequence") for item in dataset.ROIContourSequence)


def test_separate_each_bundle_has_its_own(arrived: dict[str, list[Dataset]]) -> None:
    sets = sorted(arrived["EACH"], key=lambda dataset: len(rois(dataset)))
    assert [rois(dataset) for dataset in sets] == [["PTV_7000"], ["Brainstem", "SpinalCord", "Parotid_L"]]
    assert [str(dataset.StructureSetLabel) for dataset in sets] == ["targets 1.0", "tiny 1.0"]
    assert not any("bundle=" in str(roi.ROIDescription) for one in sets for roi in one.StructureSetROISequence)


def test_serve_does_not_start_with_a_research_bundle_in_another_route(tmp_path: Path) -> None:
    make_bundle(tmp_path / "models")
    make_targets(tmp_path / "models")
    daemon = Daemon(write_config(tmp_path, 1, routes=[route("ONE", "joined")]), tmp_path / "daemon.log")
    refused = daemon.command("serve")
    assert refused.returncode == 2
    assert "bundle targets is for research only and route 'ONE' does not say `research: true`" in refused.stderr
