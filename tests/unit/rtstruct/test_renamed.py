"""The structure set as one destination wants it, with the rings of its organs."""

from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydantic import ValidationError
from pydicom.uid import RTStructureSetStorage

from rtseg_daemon.errors import StructureSetError
from rtseg_daemon.rtstruct.renamed import changes_for, for_destination
from rtseg_daemon.rtstruct.writing import build_rtstruct, derive_identity, write_dataset
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


@pytest.mark.peers
def test_the_flag_stands_in_the_name_of_what_is_drawn_and_not_ok(case: Case) -> None:
    case.write(rings=case.organs[:2], rejected="send")
    path = for_destination(case.path, destination(flag_in_name=True))
    # Lens_R is REVIEW and not found: a place to draw in, which keeps its name
    assert names_of(path) == ["Parotid_L", "Brainstem_RVW", "Lens_L_RJT", "Lens_R", "zParotid_L", "zBrainstem_RVW"]
    assert dciodvfy_errors(path) == []


def test_a_rejected_organ_without_contours_keeps_its_plain_name(case: Case) -> None:
    assert "Lens_L" in names_of(for_destination(case.path, destination(flag_in_name=True)))


def test_flags_in_names_follow_the_destinations_own_names_and_stay_unique(case: Case) -> None:
    own = {"Brainstem": "HIRNSTAMM MITTE", "Parotid_L": "HIRNSTAMM_RVW"}
    wishes = destination(flag_in_name=True, roi_names=own, only=["Brainstem", "Parotid_L"])
    names = names_of(for_destination(case.path, wishes))
    assert names == ["HIRNSTAMM_RVW", "HIRNSTAMM MI_RVW", "zHIRNSTAMM_RVW", "zHIRNSTAMM M_RVW"]
    alike = destination(flag_in_name=True, roi_names={"Brainstem": "Stem", "Parotid_L": "Stem_RVW"})
    names = names_of(for_destination(case.path, alike))
    assert names[:2] == ["Stem_RVW", "Stem_2_RVW"]
    assert len({name.casefold() for name in names}) == len(names)


def test_what_is_not_ok_is_painted_in_the_review_colour_before_any_other(case: Case) -> None:
    wishes = destination(review_colour=(255, 255, 0), colours={"Brainstem": (1, 2, 3), "Parotid_L": (4, 5, 6)})
    before, after = (
        [list(item.ROIDisplayColor) for item in pydicom.dcmread(one).ROIContourSequence]
        for one in (case.path, for_destination(case.path, wishes))
    )
    assert after == [[4, 5, 6], [255, 255, 0], *before[2:]]


def test_without_flags_a_destinations_file_is_the_object_that_it_always_was(case: Case) -> None:
    """A result that was sent before an upgrade must not come a second time under another UID."""
    wishes = destination(only=["Brainstem"])
    assert changes_for(wishes) == '[[], [], ["Brainstem"]]'
    assert changes_for(destination()) == ""
    uids = {
        str(pydicom.dcmread(for_destination(case.path, one)).SOPInstanceUID)
        for one in (wishes, wishes.model_copy(update={"flag_in_name": True}))
    }
    assert len(uids) == 2


@pytest.mark.peers
def test_a_destinations_file_names_the_predecessor_that_this_destination_got(case: Case) -> None:
    first = for_destination(case.path, tps := destination(roi_names={"Brainstem": "Stem"}))
    older = pydicom.dcmread(case.path).SOPInstanceUID
    got = pydicom.dcmread(first).SOPInstanceUID
    identity = derive_identity(case.series, case.bundle.digest, 2)
    write_dataset(build_rtstruct(case.series, case.organs, [case.bundle], identity, predecessor=str(older)), case.path)
    for path, uid in ((case.path, older), (for_destination(case.path, tps), got)):
        (item,) = pydicom.dcmread(path).PredecessorStructureSetSequence
        assert item.ReferencedSOPInstanceUID == uid
        assert item.ReferencedSOPClassUID == RTStructureSetStorage
        assert dciodvfy_errors(path) == []
