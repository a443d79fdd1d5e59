"""What becomes of faulty copies, with a segmenter that finds the truth, nothing, or what was taken out."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from rtseg_training.measure.corrupted import FAULTS, Fault, corrupted
from rtseg_training.measure.stress import UNALTERED, Outcome, chosen_faults, copy_rows, outcome, stress_table
from rtseg_training.sets.cases import Case

from rtseg_daemon.anatomy.organ import Organ
from rtseg_daemon.anatomy.volume import bounding_box
from rtseg_daemon.bundles import Bundle
from rtseg_daemon.errors import SeriesError
from rtseg_daemon.segment.ensemble import Ensemble
from rtseg_daemon.segment.pipeline import Segmentation
from tests.unit.training.bundle.test_calibrate import bundle_of
from tests.unit.training.conftest import ORGANS

MUSCLE = next(fault for fault in FAULTS if fault.name == "Parotid_L filled with muscle")


def organs_of(truth: Case) -> list[Organ]:
    """The true contours of a case as a network would give them."""
    found = []
    for name in ORGANS:
        box = bounding_box(truth.mask(name))
        mask = None if box is None else truth.mask(name)[box.slices]
        volume = 0.0 if mask is None else float(mask.sum()) * truth.ct.voxel_ml
        found.append(Organ(name, box, mask, None, volume, predicted_dice=0.9, interval=(0.8, 1.0)))
    return found


def says(truth: Case) -> Callable[[Case], Segmentation]:
    """A segmenter that finds the true contours of one case whatever it is shown."""

    def answer(shown: Case) -> Segmentation:
        nothing = np.zeros((1, 1, 1, 1), np.float32)
        ensemble = Ensemble(nothing, nothing[0], nothing, nothing[0])
        return Segmentation(organs_of(truth), ensemble, nothing[0], shown.ct, {})

    return answer


def bundle() -> Bundle:
    return bundle_of(ORGANS)


def test_over_the_cases_every_fault_comes_equally_often() -> None:
    names = [fault.name for number in range(len(FAULTS)) for fault in chosen_faults(number, 4)]
    assert {names.count(fault.name) for fault in FAULTS} == {4}


def test_true_contours_of_an_unaltered_case_have_dice_1(case: Case) -> None:
    rows = copy_rows(case, UNALTERED, organs_of(case))
    assert {str(row["organ"]): row["dice"] for row in rows} == dict.fromkeys(ORGANS, 1.0)
    assert all(row["fault"] == "" for row in rows)


def test_an_organ_that_was_taken_out_and_is_found_has_dice_0(case: Case) -> None:
    copy = corrupted(case, MUSCLE, 0)
    assert copy is not None
    rows = copy_rows(copy, MUSCLE, organs_of(case))
    scores = {str(row["organ"]): row["dice"] for row in rows}
    assert scores["Parotid_L"] == 0.0
    assert scores["Parotid_R"] == 1.0
    missed = copy_rows(copy, MUSCLE, organs_of(copy))
    assert "Parotid_L" not in {str(row["organ"]) for row in missed}  # nothing is there and nothing was said


def test_an_outcome_has_flags_with_their_reasons(case: Case) -> None:
    told = outcome(case, UNALTERED, bundle(), says(case))
    assert told.held == ""
    assert {str(row["flag"]) for row in told.rows} == {"REVIEW"}  # the bundle has no calibration
    assert "not calibrated" in str(told.rows[0]["reasons"])


def test_a_copy_without_a_body_is_held_with_the_reason(case: Case) -> None:
    def blind(_case: Case) -> Segmentation:
        raise SeriesError("no body found in the CT")

    assert outcome(case, UNALTERED, bundle(), blind).held == "no body found in the CT"


def test_hu_that_no_patient_has_are_held_before_the_network(case: Case) -> None:
    spoiled = replace(case, ct=case.ct.with_array(case.ct.array + 3000))
    never = pytest.fail
    assert "implausible HU" in outcome(spoiled, UNALTERED, bundle(), lambda _c: never("asked")).held


def test_the_table_counts_held_flagged_and_silent() -> None:
    good = {"organ": "Brainstem", "dice": 0.9, "predicted": 0.85, "flag": "OK", "case": "a"}
    bad = {"organ": "SpinalCord", "dice": 0.2, "predicted": 0.7, "flag": "OK", "case": "a"}
    seen = bad | {"flag": "REVIEW", "predicted": 0.3}
    noise = Fault("noise", lambda c, _r: c, "image")
    table = stress_table(
        [
            Outcome(noise.name, "", (good, bad)),
            Outcome(noise.name, "", (good, seen)),
            Outcome(noise.name, "only 1 usable organs", (bad,)),
        ],
        bundle(),
    )
    assert table.splitlines()[-1] == "| noise | 3 | 1 | 4 | 25% | 0.55 | 0.67 | 2 | 1 |"
