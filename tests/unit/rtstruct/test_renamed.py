"""The structure set as one destination wants it, with the rings of its organs."""

from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydantic import ValidationError

from rtseg_daemon.errors import StructureSetError
from rtseg_daemon.rtstruct.renamed import for_destination
from tests.structure_sets import Case, case_with_rings, dciodvfy_errors, destination


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return case_with_rings(tmp_path)


def names_of(path: Path) -> list[str]:
    ds = pydicom.dcmread(path)
    names = [str(roi.ROIName) for roi in ds.StructureSetROISequence]
    assert [str(item.ROIObservationLabel) for item in ds.RTROIObservationsSequence] == names
    return names


def test_who_wishes_nothing_gets_the_file_itself(case: Case) -> None:
    assert for_destination(case.path, destination()) == case.path


@pytest.mark.peers
def test_a_ring_follows_its_organs_name(case: Case) -> None:
    path = for_destination(case.path, destination(roi_names={"Parotid_L": "OHRSPDR LI"}))
    assert names_of(path) == ["OHRSPDR LI", "Brainstem", "Lens_L", "Lens_R", "zOHRSPDR LI", "zBrainstem"]
    assert dciodvfy_errors(path) == []


@pytest.mark.peers
def test_a_ring_is_left_out_with_its_organ(case: Case) -> None:
    path = for_destination(case.path, destination(only=["Brainstem", "Lens_R"]))
    assert names_of(path) == ["Brainstem", "Lens_R", "zBrainstem"]
    assert dciodvfy_errors(path) == []


def test_a_structure_set_without_any_wanted_organ_is_refused(case: Case) -> None:
    with pytest.raises(StructureSetError, match="destination tps wants `only` organs that this structure set lacks"):
        for_destination(case.path, destination(only=["SpinalCrod"]))


def test_a_destination_paints_organs_and_no_rings(case: Case) -> None:
    path = for_destination(case.path, destination(colours={"Brainstem": (1, 2, 3)}))
    before, after = (
        [list(item.ROIDisplayColor) for item in pydicom.dcmread(one).ROIContourSequence] for one in (case.path, path)
    )
    assert after == [before[0], [1, 2, 3], *before[2:]]
    uids = {pydicom.dcmread(one).SOPInstanceUID for one in (case.path, path)}
    assert len(uids) == 2


@pytest.mark.parametrize("colour", [[0, 0, 256], [0, 0], "red"])
def test_a_colour_that_is_none_is_refused(colour: Any) -> None:
    with pytest.raises(ValidationError):
        destination(colours={"Brainstem": colour})
