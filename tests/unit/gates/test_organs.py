from typing import Any

import numpy as np
import pytest

from rtseg_daemon.anatomy.organ import Appearance, Flag, Organ
from rtseg_daemon.anatomy.volume import Box, Volume
from rtseg_daemon.bundles import Bundle, Limits, OrganClass
from rtseg_daemon.calibration import Calibration, OrganPrior
from rtseg_daemon.gates.organs import judge_organs


def bundle(*classes: OrganClass, **changes: Any) -> Bundle:
    values: dict[str, Any] = {
        "format": 1,
        "name": "t",
        "version": "1",
        "intended_use": "evaluation",
        "description": "",
        "family": "sepnet",
        "arguments": {},
        "classes": list(classes),
        "members": [],
        "spacing_mm": (3.0, 3.0, 3.0),
        "window": (8, 8, 8),
        "extent_mm": (100.0, 100.0, 100.0),
        "limits": Limits(minimum_organs=1),
    }
    return Bundle(**(values | changes))


def organ(name: str, x: int, z: int = 5, size: int = 4, **changes: Any) -> Organ:
    mask = np.ones((size, size, size), bool)
    box = Box((z, 10, x), (z + size, 10 + size, x + size))
    values: dict[str, Any] = {"box": box, "mask": mask, "margin": None, "volume_ml": 10.0}
    return Organ(name=name, **(values | changes))


def ct() -> Volume:
    """A body from x = 10 to 49 in air: its midline lies near x = 29.5."""
    hu = np.full((20, 40, 60), -1000, np.int16)
    hu[:, 5:35, 10:50] = 20
    return Volume(hu, (3.0, 1.0, 1.0), (0.0, 0.0, 0.0))


CALIBRATED = Calibration(intercept=0.9, coefficients={}, half_width=0.1)
LEFT = OrganClass(name="Parotid_L", side="left", calibration=CALIBRATED)
RIGHT = OrganClass(name="Parotid_R", side="right", calibration=CALIBRATED)
CORD = OrganClass(name="SpinalCord", volume_ml=(5, 20), review_below=0.8, reject_below=0.6, calibration=CALIBRATED)


def only(found: Organ, rule: OrganClass) -> Organ:
    return judge_organs([found], bundle(rule), ct())[0][0]


def test_organs_on_their_own_sides_pass() -> None:
    organs, verdict = judge_organs([organ("Parotid_L", 40), organ("Parotid_R", 12)], bundle(LEFT, RIGHT), ct())
    assert verdict.verdict == "pass"
    assert [o.flag for o in organs] == [Flag.OK, Flag.OK]


def test_swapped_sides_are_held_by_comparison_with_the_pair() -> None:
    _, verdict = judge_organs([organ("Parotid_L", 12), organ("Parotid_R", 40)], bundle(LEFT, RIGHT), ct())
    assert verdict.verdict == "hold"
    assert "Parotid_L lies on the wrong side of Parotid_R" in verdict.reasons


def test_two_of_a_pair_on_one_side_of_the_midline_are_looked_at() -> None:
    judged, verdict = judge_organs([organ("Parotid_L", 44), organ("Parotid_R", 36)], bundle(LEFT, RIGHT), ct())
    assert verdict.verdict == "flag"
    assert [o.flag for o in judged] == [Flag.OK, Flag.REVIEW]
    assert judged[1].reasons == ("its centre lies beyond the patient's midline",)


def test_an_organ_cut_off_by_the_networks_region_is_flagged() -> None:
    found = only(organ("SpinalCord", 28, z=5, cut="inferior"), CORD)
    assert (found.flag, found.reasons) == (Flag.REVIEW, ("cut off at the lower end of the region that is contoured",))


@pytest.mark.parametrize(("x", "expected"), [(40, "pass"), (12, "hold")])
def test_an_organ_without_its_pair_is_compared_with_the_midline(x: int, expected: str) -> None:
    assert judge_organs([organ("Parotid_L", x)], bundle(LEFT), ct())[1].verdict == expected


def test_an_organ_not_found_is_rejected_with_the_reason() -> None:
    missing = Organ("SpinalCord", None, None, None, 0.0)
    judged, verdict = judge_organs([missing, organ("Parotid_L", 40)], bundle(CORD, LEFT), ct())
    assert judged[0].flag is Flag.REJECT
    assert "not found" in judged[0].comment
    assert verdict.verdict == "flag"


def test_too_few_organs_found_are_held_as_another_body_region() -> None:
    missing = [Organ(name, None, None, None, 0.0) for name in ("SpinalCord", "Parotid_L")]
    _, verdict = judge_organs(missing, bundle(CORD, LEFT, limits=Limits(minimum_organs=2)), ct())
    assert (verdict.verdict, verdict.releasable) == ("hold", True)
    assert "body region" in verdict.reasons[0]


def test_organs_that_are_rejected_do_not_count_as_found() -> None:
    organs = [organ("SpinalCord", 28, predicted_dice=0.1), organ("Parotid_L", 40)]
    _, verdict = judge_organs(organs, bundle(CORD, LEFT, limits=Limits(minimum_organs=2)), ct())
    assert verdict.verdict == "hold"
    assert verdict.reasons[0].startswith("only 1 usable organs")


@pytest.mark.parametrize(("z", "end"), [(0, "lower"), (16, "upper")])
def test_an_organ_that_reaches_the_end_of_the_scan_is_a_note_and_no_flag(z: int, end: str) -> None:
    found = only(organ("SpinalCord", 28, z=z), CORD)
    assert found.flag is Flag.OK
    assert f'note="reaches the {end} end of the scan"' in found.comment


@pytest.mark.parametrize(("z", "flag"), [(8, Flag.OK), (9, Flag.REVIEW)])
def test_a_cord_that_ends_more_than_25_mm_inside_the_scan_is_reviewed(z: int, flag: Flag) -> None:
    """Slices of 3 mm: its lowest slice lies 24 and 27 mm above the lowest of the scan."""
    found = only(organ("SpinalCord", 28, z=z), CORD.model_copy(update={"runs_on": True}))
    assert found.flag is flag
    assert found.reasons == (() if flag is Flag.OK else ("ends 27 mm above the lower end of the scan",))


def test_slices_of_air_below_and_above_the_patient_are_no_scan() -> None:
    """The patient begins 4 slices above the lowest one and ends 3 below the highest."""
    padded = ct()
    padded.array[:4] = padded.array[17:] = -1000
    rule = CORD.model_copy(update={"runs_on": True})
    for found in (organ("SpinalCord", 28, z=12, cut=""), organ("SpinalCord", 28, z=4, cut="inferior")):
        (judged,), _ = judge_organs([found], bundle(rule), padded)
        assert judged.flag is Flag.OK, judged.reasons
    (judged,), _ = judge_organs([organ("SpinalCord", 28, z=13)], bundle(rule), padded)
    assert judged.reasons == ("ends 27 mm above the lower end of the scan",)
    assert 'note="reaches the upper end of the scan"' in judged.comment


def test_an_esophagus_may_end_higher_than_a_cord() -> None:
    rule = CORD.model_copy(update={"runs_on": True, "early_end_mm": 40.0})
    assert only(organ("SpinalCord", 28, z=13), rule).flag is Flag.OK
    assert only(organ("SpinalCord", 28, z=14), rule).flag is Flag.REVIEW


def test_an_organ_that_need_not_run_on_may_end_anywhere() -> None:
    assert only(organ("SpinalCord", 28, z=14), CORD).flag is Flag.OK


def test_skipped_slices_and_stray_parts_are_flagged() -> None:
    mask = np.ones((6, 4, 4), bool)
    mask[3] = False
    found = only(organ("SpinalCord", 28, mask=mask, box=Box((5, 10, 28), (11, 14, 32))), CORD)
    assert found.reasons == ("1 slices skipped inside the organ", "1 separate part beside the organ")


@pytest.mark.parametrize("volume", [4.9, 20.1])
def test_a_volume_outside_the_population_is_flagged(volume: float) -> None:
    assert "outside the population's 5 to 20 ml" in only(organ("SpinalCord", 28, volume_ml=volume), CORD).reasons[0]


def test_a_pair_of_very_different_size_is_flagged_on_both_sides() -> None:
    pair = [organ("Parotid_L", 40, volume_ml=30.0), organ("Parotid_R", 12, volume_ml=10.0)]
    judged, _ = judge_organs(pair, bundle(LEFT, RIGHT), ct())
    assert all("factor of 3.0" in o.reasons[0] for o in judged)


@pytest.mark.parametrize(("dice", "flag"), [(0.85, Flag.OK), (0.7, Flag.REVIEW), (0.5, Flag.REJECT)])
def test_the_predicted_dice_decides_by_the_bundles_thresholds(dice: float, flag: Flag) -> None:
    assert only(organ("SpinalCord", 28, predicted_dice=dice), CORD).flag is flag


def test_an_organ_without_a_calibration_is_review_at_best() -> None:
    bare = CORD.model_copy(update={"calibration": None})
    found = only(organ("SpinalCord", 28), bare)
    assert found.flag is Flag.REVIEW
    assert found.reasons == ("its Dice is not predicted: this bundle was not calibrated for it",)
    assert only(organ("SpinalCord", 28), CORD).flag is Flag.OK


@pytest.mark.parametrize(("risk", "flag"), [(0.1, Flag.OK), (0.3, Flag.REVIEW), (0.95, Flag.REJECT)])
def test_the_chance_of_an_unacceptable_contour_decides_the_flag(risk: float, flag: Flag) -> None:
    found = only(organ("SpinalCord", 28, unacceptable=risk, predicted_dice=0.5, doubt="middle"), CORD)
    assert found.flag is flag
    said = (f"{risk:.0%} chance of a Dice below 0.60", "members disagree, middle")
    assert found.reasons == (() if flag is Flag.OK else said)


def looking(name: str, x: int, hu: float) -> Organ:
    return organ(name, x, appearance=Appearance(10.0, (0.0, 0.0, 0.0), (9.0, 9.0, 9.0), hu, 0.0, 0.9, False))


GLAND = OrganPrior(
    log_volume=(3.2, 0.4), extent_mm=((50, 10), (40, 6), (35, 6)), hu=(0.0, 25.0), contrast=(10, 15),
    continuity=(0.87, 0.03), pair_hu=26.0,
)  # fmt: skip
GLANDS = tuple(rule.model_copy(update={"prior": GLAND}) for rule in (LEFT, RIGHT))


def test_a_gland_of_fat_is_no_gland() -> None:
    judged, _ = judge_organs([looking("Parotid_L", 40, -105.0)], bundle(*GLANDS), ct())
    assert judged[0].flag is Flag.REVIEW
    assert judged[0].reasons == ("median HU inside is -105, the population's -100 to 100: is it there?",)


def test_a_bed_filled_with_muscle_shows_beside_the_other_side() -> None:
    judged, _ = judge_organs([looking("Parotid_L", 40, 50.0), looking("Parotid_R", 12, 0.0)], bundle(*GLANDS), ct())
    assert [o.flag for o in judged] == [Flag.REVIEW, Flag.REVIEW]
    assert all(
        "differ by 50 HU inside, by 26 at most in the population: was one taken out?" in o.comment for o in judged
    )
    alike, _ = judge_organs([looking("Parotid_L", 40, 20.0), looking("Parotid_R", 12, 0.0)], bundle(*GLANDS), ct())
    assert [o.flag for o in alike] == [Flag.OK, Flag.OK]


def test_a_research_bundle_is_review_at_best() -> None:
    judged, _ = judge_organs([organ("SpinalCord", 28)], bundle(CORD, intended_use="research"), ct())
    assert judged[0].flag is Flag.REVIEW


def test_targets_lie_on_any_side_and_have_no_twin() -> None:
    sides = [
        OrganClass(name=f"GTVn_{s}", interpreted_type="GTV", side=w, calibration=CALIBRATED)
        for s, w in (("L", "left"), ("R", "right"))
    ]
    swapped = [organ("GTVn_L", 12, volume_ml=30.0), organ("GTVn_R", 40, volume_ml=3.0)]
    judged, verdict = judge_organs(swapped, bundle(*sides), ct())
    assert verdict.verdict == "pass"
    assert [o.flag for o in judged] == [Flag.OK, Flag.OK]


def test_a_target_that_is_not_there_is_rejected_and_holds_nothing_up() -> None:
    target = OrganClass(name="PTV_7000", interpreted_type="PTV")
    absent = organ("PTV_7000", 0, box=None, mask=None, volume_ml=0.0)
    judged, verdict = judge_organs([absent], bundle(target, limits=Limits(minimum_organs=2)), ct())
    assert (judged[0].flag, verdict.verdict) == (Flag.REJECT, "flag")


def test_targets_do_not_count_as_the_organs_that_must_be_found() -> None:
    rules = [OrganClass(name="PTV_7000", interpreted_type="PTV"), CORD, OrganClass(name="Brainstem")]
    organs = [organ("PTV_7000", 20), organ("SpinalCord", 28), organ("Brainstem", 0, box=None, mask=None)]
    _, verdict = judge_organs(organs, bundle(*rules, limits=Limits(minimum_organs=2)), ct())
    assert verdict.verdict == "hold"
    assert verdict.reasons[0].startswith("only 1 usable organs, at least 2 expected")


def test_a_flag_that_an_organ_already_has_is_never_lowered() -> None:
    found = only(organ("SpinalCord", 28, flag=Flag.REJECT, reasons=("earlier",), volume_ml=99.0), CORD)
    assert found.flag is Flag.REJECT
    assert found.reasons[0] == "earlier"
