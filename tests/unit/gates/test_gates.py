from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.bundles import Limits
from rtseg_daemon.ct.headers import SliceHeader, split_images
from rtseg_daemon.gates.series import judge_series
from rtseg_daemon.gates.voxels import judge_volume


def header(k: int, **changes: Any) -> SliceHeader:
    plain = SliceHeader(
        path=Path(f"{k}.dcm"),
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid=f"1.2.{k}",
        series_uid="1.3",
        study_uid="1.4",
        frame_uid="1.5",
        modality="CT",
        image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
        manufacturer="SIEMENS",
        model="SOMATOM go.Sim",
        kernel="Br38",
        patient_position="HFS",
        instance_number=k,
        position_mm=(-250.0, -250.0, 3.0 * k),
        orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        pixel_spacing_mm=(1.0, 1.0),
        rows=512,
        columns=512,
        slope=1.0,
        intercept=-1024.0,
        patient_id="A",
        patient_name="B^C",
        birth_date="19600101",
    )
    return replace(plain, **changes)


def series(change: Callable[[int], dict[str, Any]] = lambda k: {}, count: int = 20) -> list[SliceHeader]:
    return [header(k, **change(k)) for k in range(count)]


def test_a_plain_planning_ct_passes() -> None:
    assert judge_series(series(), Limits()).verdict == "pass"


def test_a_derived_planning_ct_passes() -> None:
    assert judge_series(series(lambda k: {"image_type": ("DERIVED", "SECONDARY", "AXIAL")}), Limits()).verdict == "pass"


HOLDS: dict[str, tuple[Callable[[int], dict[str, Any]], str, bool]] = {
    "another_patient_id": (lambda k: {"patient_id": "Z"} if k == 3 else {}, "identity", False),
    "another_patient_name": (lambda k: {"patient_name": "Z"} if k == 3 else {}, "identity", False),
    "another_birth_date": (lambda k: {"birth_date": "19700101"} if k == 3 else {}, "identity", False),
    "another_study": (lambda k: {"study_uid": "9"} if k == 3 else {}, "StudyInstanceUID", False),
    "another_frame_of_reference": (lambda k: {"frame_uid": "9"} if k == 3 else {}, "FrameOfReferenceUID", False),
    "no_frame_of_reference": (lambda k: {"frame_uid": ""}, "FrameOfReferenceUID", False),
    "a_missing_slice": (lambda k: {"position_mm": (0, 0, 3.0 * (k + (k > 9)))}, "missing at z = 30.0 mm", False),
    "variable_spacing": (lambda k: {"position_mm": (0, 0, 3.0 * k + 0.2 * (k > 9))}, "slice distance is 3.20", False),
    "a_doubled_position": (lambda k: {"position_mm": (0, 0, 3.0 * min(k, 18))}, "position that another", True),
    "gantry_tilt": (lambda k: {"tilt_deg": 5.0}, "GantryDetectorTilt", True),
    "a_sheared_stack": (lambda k: {"position_mm": (0, 0.3 * k, 3.0 * k)}, "gantry tilt", False),
    "oblique_axes": (lambda k: {"orientation": (1, 0, 0, 0, 0.97, -0.24)}, "oblique", False),
    "mixed_matrix": (lambda k: {"rows": 256} if k == 3 else {}, "matrix", False),
    "mixed_pixel_spacing": (lambda k: {"pixel_spacing_mm": (1.1, 1.1)} if k == 3 else {}, "PixelSpacing", False),
    "mixed_rescale": (lambda k: {"intercept": -1000.0} if k == 3 else {}, "RescaleSlope", True),
    "mixed_kernels": (lambda k: {"kernel": "Br69"} if k == 3 else {}, "kernels", True),
    "no_rescale": (lambda k: {"slope": None}, "RescaleSlope", False),
    "phases_of_a_4d_scan": (lambda k: {"temporal_position": k // 10}, "4D", True),
    "cone_beam_by_its_model": (lambda k: {"model": "On-board Imager"}, "cone-beam", True),
    "cone_beam_by_its_image_type": (
        lambda k: {"image_type": ("ORIGINAL", "PRIMARY", "AXIAL", "CBCT")},
        "cone-beam",
        True,
    ),
    "feet_first": (lambda k: {"patient_position": "FFS"}, "patient position FFS", True),
    "a_position_that_contradicts_the_cosines": (lambda k: {"orientation": (-1, 0, 0, 0, -1, 0)}, "contradicts", True),
    "several_patient_positions": (lambda k: {"patient_position": "HFP"} if k == 3 else {}, "differs", True),
}


@pytest.mark.parametrize("case", HOLDS)
def test_held(case: str) -> None:
    change, words, releasable = HOLDS[case]
    verdict = judge_series(series(change), Limits())
    assert verdict.verdict == "hold"
    assert words in " ".join(verdict.reasons)
    assert verdict.releasable == releasable


def test_held_too_few_slices() -> None:
    verdict = judge_series(series(count=10), Limits(minimum_slices=16))
    assert (verdict.verdict, verdict.releasable) == ("hold", True)
    assert "10 slices" in verdict.reasons[0]


def test_uneven_slice_distances_that_the_bundle_allows_are_flagged() -> None:
    uneven = series(lambda k: {"position_mm": (-250.0, -250.0, 3.0 * k + 0.2 * (k > 9))})
    verdict = judge_series(uneven, Limits(slice_distance_tolerance=0.07))
    assert verdict.verdict == "flag"
    assert verdict.reasons == (
        "one slice distance is 3.20 mm at z = 27.0 mm, the others 3.00 mm; the bundle allows 7% of the usual distance",
    )
    assert judge_series(uneven, Limits(slice_distance_tolerance=0.06)).verdict == "hold"


def test_a_reason_names_the_deviating_slice_distance_and_its_place() -> None:
    """1.0 mm among distances of 1.5 mm: the largest distance would tell nobody anything."""
    near = series(lambda k: {"position_mm": (-250.0, -250.0, -327.5 + 1.5 * k - 0.5 * (k > 10))})
    assert judge_series(near, Limits()).reasons == (
        "one slice distance is 1.00 mm at z = -312.5 mm, the others 1.50 mm",
    )


def test_several_deviating_slice_distances_are_named_one_by_one_up_to_four() -> None:
    two = series(lambda k: {"position_mm": (-250.0, -250.0, 3.0 * k + 0.5 * (k > 4) - 0.75 * (k > 9))})
    assert judge_series(two, Limits()).reasons == (
        "2 of 19 slice distances are not 3.00 mm: 3.50 mm at z = 12.0 mm, 2.25 mm at z = 27.5 mm",
    )
    six = series(lambda k: {"position_mm": (-250.0, -250.0, 3.0 * k + 0.4 * min(k, 6))})
    (reason,) = judge_series(six, Limits()).reasons
    assert reason.startswith("6 of 19 slice distances are not 3.00 mm: 3.40 mm at z = 0.0 mm")
    assert (reason.count(" at z = "), reason[-5:]) == (4, ", ...")


def test_a_missing_slice_is_held_whatever_the_bundle_allows() -> None:
    missing = series(lambda k: {"position_mm": (-250.0, -250.0, 3.0 * (k + (k > 9)))})
    verdict = judge_series(missing, Limits(slice_distance_tolerance=0.25))
    assert (verdict.verdict, verdict.releasable) == ("hold", False)
    with pytest.raises(ValidationError):
        Limits(slice_distance_tolerance=0.5)


def test_uneven_distances_that_shift_a_slice_by_half_a_distance_are_held() -> None:
    """3.0 mm in one half of the stack and 3.6 mm in the other: no even grid is near both."""
    halves = series(lambda k: {"position_mm": (-250.0, -250.0, 3.0 * k + 0.6 * max(0, k - 10))})
    verdict = judge_series(halves, Limits(slice_distance_tolerance=0.25))
    assert verdict.verdict == "hold"
    assert "off its place in an even stack" in " ".join(verdict.reasons)


def test_flagged_slice_distance_outside_the_bundles_range() -> None:
    verdict = judge_series(series(lambda k: {"position_mm": (0, 0, 8.0 * k)}), Limits())
    assert (verdict.verdict, len(verdict.reasons)) == ("flag", 1)
    assert "slice distance 8.00 mm" in verdict.reasons[0]


def test_flagged_field_of_view_outside_the_bundles_range() -> None:
    assert judge_series(series(lambda k: {"pixel_spacing_mm": (9.0, 9.0)}), Limits()).verdict == "flag"


def test_a_missing_patient_position_is_a_note_of_the_case_and_doubts_no_organ() -> None:
    verdict = judge_series(series(lambda k: {"patient_position": ""}), Limits())
    assert verdict.verdict == "pass"
    assert verdict.reasons == ("PatientPosition is missing; the position was taken from the direction cosines",)
    assert verdict.doubts == ()


@pytest.mark.parametrize("kind", ["LOCALIZER", "DOSE_INFO", "REF_SURVIEW", "PATIENT_INFO"])
def test_a_localizer_or_report_among_the_slices_is_left_out(kind: str) -> None:
    stray = header(99, image_type=("ORIGINAL", "PRIMARY", kind), orientation=(0, 1, 0, 0, 0, -1), rows=888)
    verdict = judge_series([*series(), stray], Limits())
    assert (verdict.verdict, verdict.reasons) == ("pass", ("1 localizers or reports in the series were left out",))
    images, dropped = split_images([*series(), stray])
    assert (len(images), dropped) == (20, [stray])


def test_a_series_of_localizers_alone_is_held() -> None:
    assert (
        judge_series(series(lambda k: {"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}), Limits()).verdict == "hold"
    )


def head(shift: int = 0) -> Volume:
    """A soft ball of 40 HU with a bony core in air."""
    _, y, x = np.mgrid[:32, :128, :128]
    distance = np.hypot(y - 64, x - 64 - shift)
    hu = np.where(distance < 40, 40, -1000)
    hu = np.where(distance < 8, 900, hu)
    return Volume(hu.astype(np.int16), (3.0, 2.0, 2.0), (0.0, 0.0, 0.0))


def test_a_head_in_air_passes_by_its_voxels() -> None:
    assert judge_volume(head()).verdict == "pass"


def test_a_body_at_the_border_is_flagged_as_cut_off() -> None:
    assert judge_volume(head(shift=40)).reasons == ("the field of view cuts the body off",)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda hu: hu + 1024,  # stored values taken for HU
        lambda hu: hu.astype(np.int32) * 16,  # a slope that was left out
        lambda hu: hu.astype(np.int32) + 65536 * (hu < 0),  # signedness mistaken
        lambda hu: np.zeros_like(hu),
    ],
)
def test_implausible_hu_are_held(wrong: Callable[[Any], Any]) -> None:
    volume = head()
    assert judge_volume(volume.with_array(wrong(volume.array))).verdict == "hold"


def test_padding_below_air_outside_the_field_of_view_is_no_reason() -> None:
    volume = head()
    hu = volume.array.copy()
    hu[:, :20], hu[:, -20:] = -3024, -3024
    assert judge_volume(volume.with_array(hu)).verdict == "pass"
