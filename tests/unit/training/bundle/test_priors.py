"""How organs look in the population, learned from true contours."""

import math
from dataclasses import replace

import pytest
from rtseg_training.bundle.priors import ALONG_MM, looks_of, prior_of, with_priors, with_rules
from rtseg_training.errors import CalibrationError
from rtseg_training.sets.cases import Case

from rtseg_daemon.anatomy.organ import Appearance
from rtseg_daemon.bundles import OrganClass
from tests.unit.training.bundle.test_calibrate import bundle_of
from tests.unit.training.conftest import ORGANS


def look(hu: float = 0.0, z: float = 0.0, ml: float = 25.0, at_end: bool = False) -> Appearance:
    return Appearance(ml, (z, 0.0, 0.0), (50.0, 40.0, 35.0), hu, 10.0, 0.9, at_end)


def test_the_looks_of_a_case_are_those_of_its_true_contours(case: Case) -> None:
    fine = bundle_of(ORGANS).model_copy(update={"spacing_mm": (2.5, 3.0, 3.0), "extent_mm": (420.0, 312.0, 250.0)})
    looks = looks_of(case, fine)
    assert set(looks) == set(ORGANS)
    for name, found in looks.items():
        true_ml = float(case.mask(name).sum()) * case.ct.voxel_ml
        assert found.volume_ml == pytest.approx(true_ml, rel=0.35), name
    assert looks["Bone_Mandible"].hu > 200 > looks["Parotid_L"].hu
    assert looks["Brainstem"].centre_mm[0] > looks["SpinalCord"].centre_mm[0]


def test_one_wrong_contour_among_many_does_not_count() -> None:
    patients = [{"Parotid_L": look(hu=h)} for h in (-10.0, -5.0, 0.0, 5.0, 10.0) * 4]
    clean = prior_of(OrganClass(name="Parotid_L"), patients, ())
    spoiled = prior_of(OrganClass(name="Parotid_L"), [*patients, {"Parotid_L": look(hu=900.0, ml=900.0)}], ())
    assert clean is not None
    assert spoiled is not None
    assert clean.hu == spoiled.hu
    assert clean.log_volume[0] == pytest.approx(math.log(25.0), abs=1e-3)


def test_nothing_is_believed_of_an_organ_that_few_patients_have_whole() -> None:
    few = [{"Parotid_L": look()}] * 9
    assert prior_of(OrganClass(name="Parotid_L"), few, ()) is None
    assert prior_of(OrganClass(name="Parotid_L"), [*few, {"Parotid_L": look(at_end=True)}], ()) is None
    assert prior_of(OrganClass(name="Parotid_L"), [*few, {"Parotid_L": look()}], ()) is not None


def test_where_an_organ_that_runs_on_ends_is_the_scans_choice() -> None:
    patients = [{"SpinalCord": look(), "Brainstem": look(z=120.0)}] * 12
    strict = prior_of(OrganClass(name="Brainstem"), patients, ())
    loose = prior_of(OrganClass(name="Brainstem"), patients, {"SpinalCord"})
    assert strict is not None
    assert loose is not None
    assert strict.offsets["SpinalCord"][0][1] < ALONG_MM
    assert loose.offsets["SpinalCord"][0] == (120.0, ALONG_MM)
    assert loose.offsets["SpinalCord"][1:] == strict.offsets["SpinalCord"][1:]


def test_the_difference_between_the_sides_is_the_largest_that_patients_show() -> None:
    patients = [{"Parotid_L": look(hu=float(d)), "Parotid_R": look()} for d in range(26)]
    prior = prior_of(OrganClass(name="Parotid_L"), patients, ())
    assert prior is not None
    assert prior.pair_hu == pytest.approx(25, abs=0.5)


def test_a_set_that_tells_too_little_leaves_what_was_known(case: Case) -> None:
    known = prior_of(OrganClass(name="Brainstem"), [{"Brainstem": look()}] * 12, ())
    bundle = bundle_of(ORGANS)
    classes = [c.model_copy(update={"prior": known}) if c.name == "Brainstem" else c for c in bundle.classes]
    seen: list[str] = []
    after = with_priors(bundle.model_copy(update={"classes": classes}), [replace(case, name="one")], seen.append)
    assert seen == ["one"]
    assert [c.prior for c in after.classes] == [known, None, None, None, None]


def test_limits_are_the_usual_ones_or_a_persons_own() -> None:
    after = with_rules(bundle_of([*ORGANS, "Larynx"]), {"SpinalCord": 0.75})
    limits = {organ.name: organ.acceptable for organ in after.classes}
    assert limits["SpinalCord"] == 0.75
    assert (limits["Parotid_L"], limits["Larynx"]) == (0.6, 0.5)
    assert [organ.name for organ in after.classes if organ.runs_on] == ["SpinalCord"]


def test_a_limit_for_an_organ_that_the_bundle_lacks_is_refused() -> None:
    with pytest.raises(CalibrationError, match="--acceptable names Cochlea_L, which bundle tiny does not contour"):
        with_rules(bundle_of(ORGANS), {"Cochlea_L": 0.5})
