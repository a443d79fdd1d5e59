"""Contours that were drawn on another CT, or are another organ's, are listed; good ones are not."""

import numpy as np
from rtseg_training.measure.audit import audit_case, common_shift
from rtseg_training.sets.cases import Case, make_case

from rtseg_daemon.anatomy.organ import Organ
from rtseg_daemon.anatomy.volume import bounding_box
from rtseg_daemon.bundles import OrganClass
from tests.unit.training.conftest import ORGANS

CLASSES = [OrganClass(name=name) for name in ORGANS]


def found_in(case: Case) -> list[Organ]:
    """A perfect segmentation of `case`."""
    organs = []
    for name in ORGANS:
        mask = case.mask(name)
        box = bounding_box(mask)
        assert box is not None
        organs.append(Organ(name, box, mask[box.slices], None, float(mask.sum()) * case.ct.voxel_ml))
    return organs


def test_a_good_case_is_not_listed(case: Case) -> None:
    assert audit_case(case, found_in(case), CLASSES) == []


def test_contours_of_a_shifted_ct_are_listed_with_their_shift(case: Case) -> None:
    masks = {name: np.roll(case.mask(name), -4, axis=0) for name in ORGANS}
    findings = audit_case(make_case("x", case.ct, masks), found_in(case), CLASSES)
    assert findings[0].what.startswith("all drawn organs lie -10 mm up, +0 mm back, +0 mm to the left")


def test_another_organ_under_the_name_is_listed(case: Case) -> None:
    masks = {name: case.mask(name) for name in ORGANS} | {"SpinalCord": case.mask("Bone_Mandible")}
    classes = [c.model_copy(update={"volume_ml": (10.0, 30.0)}) if c.name == "SpinalCord" else c for c in CLASSES]
    shown = [finding.what for finding in audit_case(make_case("x", case.ct, masks), found_in(case), classes)]
    assert any(text.startswith("SpinalCord is drawn with") for text in shown)
    assert any("SpinalCord as drawn and as found overlap by Dice 0.0" in text for text in shown)


def test_organs_that_differ_in_all_directions_are_no_shift() -> None:
    assert common_shift([np.array([10.0, 0, 0]), np.array([-10.0, 0, 0]), np.array([0, 10.0, 0])]) is None
    assert common_shift([np.array([10.0, 0, 0])]) is None
