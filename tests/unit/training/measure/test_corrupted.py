"""Each faulty copy has the fault that it is named after, and its contours lie where they belong."""

import numpy as np
import pytest
from rtseg_training.measure.corrupted import FAULTS, Fault, corrupted
from rtseg_training.sets.cases import Case

from rtseg_daemon.anatomy.volume import AIR_HU


def fault(name: str) -> Fault:
    return next(one for one in FAULTS if one.name == name)


def copy_of(case: Case, name: str) -> Case:
    made = corrupted(case, fault(name), seed=1)
    assert made is not None
    return made


def test_every_fault_can_be_made_of_a_whole_patient_and_says_its_name(case: Case) -> None:
    for one in FAULTS:
        made = corrupted(case, one, seed=1)
        if one.name in ("slices of 5 mm", "chest alone"):
            continue  # they depend on the phantom's slices
        assert made is not None, one.name
        assert made.name == f"{case.name}: {one.name}"
        assert made.ct.array.dtype == np.int16
        assert made.bits.shape == made.ct.shape


def test_a_copy_can_be_made_again(case: Case) -> None:
    first, second = copy_of(case, "noise of 60 HU"), copy_of(case, "noise of 60 HU")
    assert np.array_equal(first.ct.array, second.ct.array)
    other = corrupted(case, fault("noise of 60 HU"), seed=2)
    assert other is not None
    assert not np.array_equal(first.ct.array, other.ct.array)


@pytest.mark.parametrize("sigma", [20, 60, 150])
def test_noise_has_its_standard_deviation_and_leaves_the_contours(case: Case, sigma: int) -> None:
    made = copy_of(case, f"noise of {sigma} HU")
    inside = (case.ct.array > -500) & (case.ct.array < 500)
    difference = made.ct.array[inside].astype(float) - case.ct.array[inside]
    assert difference.std() == pytest.approx(sigma, rel=0.05)
    assert abs(difference.mean()) < 1
    assert made.bits is case.bits


@pytest.mark.parametrize("name", ["turned by 15 degrees", "pixels turned by 90 degrees", "slices in reversed order"])
def test_contours_move_with_the_patient(case: Case, name: str) -> None:
    """The mandible is bone before and after."""
    made = copy_of(case, name)
    before = np.median(case.ct.array[case.mask("Bone_Mandible")])
    assert np.median(made.ct.array[made.mask("Bone_Mandible")]) == pytest.approx(before, rel=0.25)
    ratio = made.mask("Bone_Mandible").sum() / case.mask("Bone_Mandible").sum()
    assert ratio == pytest.approx(1, abs=0.1)


def test_a_zoom_changes_millimetres_alone(case: Case) -> None:
    made = copy_of(case, "1.3 times as large")
    assert made.ct.array is not None
    assert np.allclose(np.divide(made.ct.spacing_mm, case.ct.spacing_mm), 1.3)
    assert made.ct.voxel_ml == pytest.approx(1.3**3 * case.ct.voxel_ml)


@pytest.mark.parametrize(("name", "organ", "hu"), [("Parotid_L filled with muscle", "Parotid_L", 50),
                                                   ("Parotid_R filled with fat", "Parotid_R", -100)])  # fmt: skip
def test_a_gland_that_was_taken_out_leaves_its_bed_and_no_contour(case: Case, name: str, organ: str, hu: int) -> None:
    made = copy_of(case, name)
    assert made.status[organ] == "empty"
    assert not made.mask(organ).any()
    assert np.median(made.ct.array[case.mask(organ)]) == pytest.approx(hu, abs=8)
    twin = "Parotid_R" if organ == "Parotid_L" else "Parotid_L"
    assert np.array_equal(made.mask(twin), case.mask(twin))


def test_an_organ_of_which_nothing_is_left_is_outside(case: Case) -> None:
    made = copy_of(case, "brain alone")
    assert made.ct.shape[0] < case.ct.shape[0] / 2
    assert made.status["Bone_Mandible"] == "outside"
    assert made.status["Brainstem"] == "drawn"
    assert made.ct.origin_mm[0] > case.ct.origin_mm[0]


def test_no_organ_no_fault_of_it(case: Case) -> None:
    bare = Case(case.name, case.ct, case.bits, case.structures, dict.fromkeys(case.status, "empty"))
    for name in ("streaks", "Parotid_L filled with muscle", "brain alone"):
        assert corrupted(bare, fault(name), seed=1) is None


def test_air_around_the_patient_stays_air(case: Case) -> None:
    air = case.ct.array <= AIR_HU
    for name in ("noise of 150 HU", "60 HU brighter", "streaks"):
        assert (copy_of(case, name).ct.array[air] <= AIR_HU).all(), name
