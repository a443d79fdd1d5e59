"""PatientPosition against the direction cosines, for all eight positions and on real files."""

from itertools import permutations, product

import numpy as np
import pytest

from rtseg_daemon.bundles import Limits
from rtseg_daemon.ct.headers import read_header
from rtseg_daemon.ct.series import list_series
from rtseg_daemon.gates.position import DOWN, doubt
from rtseg_daemon.gates.series import judge_series
from tests.structure_sets import patients
from tests.synthetic import ORIENTATIONS
from tests.unit.gates.test_gates import series


def axial_orientations() -> list[tuple[float, ...]]:
    """All eight ways in which an axial image can be stored."""
    found = []
    for rows, columns in permutations(((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))):
        for a, b in product((1, -1), repeat=2):
            found.append((*(a * v for v in rows), *(b * v for v in columns)))
    return found


@pytest.mark.parametrize("position", ORIENTATIONS)
def test_a_position_the_bundle_is_validated_for_passes(position: str) -> None:
    rows, columns = ORIENTATIONS[position]
    stored = series(lambda k: {"patient_position": position, "orientation": (*rows, *columns)})
    assert judge_series(stored, Limits(positions=[position])).verdict == "pass"


@pytest.mark.parametrize("position", ORIENTATIONS)
def test_seen_from_the_gantrys_back_is_no_contradiction(position: str) -> None:
    """Rows run the other way, columns still down: FFS with (1, 0, 0, 0, 1, 0), as most scanners store it."""
    rows, columns = ORIENTATIONS[position]
    mirrored = (*(-value for value in rows), *columns)
    stored = series(lambda k: {"patient_position": position, "orientation": mirrored})
    assert judge_series(stored, Limits(positions=[position])).verdict == "pass"


def test_feet_first_supine_with_rows_to_the_left_is_normal() -> None:
    assert doubt("FFS", [(1, 0, 0, 0, 1, 0)]) == ""


@pytest.mark.parametrize("position", ORIENTATIONS)
def test_of_the_eight_ways_of_storing_the_two_whose_columns_run_down_fit(position: str) -> None:
    fitting = [cosines for cosines in axial_orientations() if not doubt(position, [cosines])]
    assert len(fitting) == 2
    assert {cosines[3:] for cosines in fitting} == {tuple(map(float, ORIENTATIONS[position][1]))}


def test_down_turns_with_the_patient() -> None:
    """Head or feet first changes nothing; prone is opposite to supine, and one side to the other."""
    for posture in ("S", "P", "DR", "DL"):
        assert DOWN["HF" + posture] == DOWN["FF" + posture]
    assert np.add(DOWN["HFS"], DOWN["HFP"]).tolist() == [0, 0, 0]
    assert np.add(DOWN["HFDR"], DOWN["HFDL"]).tolist() == [0, 0, 0]
    assert DOWN["HFDR"] == (-1, 0, 0), "PS3.3 C.7.3.1.1.2: decubitus right lies on the right side, which is at -x"


def test_the_reason_says_which_way_columns_run_and_what_may_have_happened() -> None:
    assert doubt("HFP", [(1, 0, 0, 0, 1, 0)]) == (
        "PatientPosition HFP contradicts ImageOrientationPatient: columns run to the patient's back, down is the "
        "patient's front; were the images turned, or was the position corrected by hand?"
    )


@pytest.mark.parametrize("position", ["", "SITTING", "LFP"])
def test_other_positions_and_images_without_orientation_say_nothing(position: str) -> None:
    assert doubt(position, [(-1, 0, 0, 0, -1, 0)]) == ""
    assert doubt("HFS", [None]) == ""


@pytest.mark.patients
def test_real_feet_first_images_are_no_contradiction() -> None:
    (paths,) = list_series(patients("dicom", "ffs_frames_of_reference")).values()
    headers = [read_header(path) for path in paths]
    assert [(h.patient_position, h.orientation) for h in headers] == [("FFS", (1, 0, 0, 0, 1, 0))] * 2
    for header in headers:
        assert doubt(header.patient_position, [header.orientation]) == ""
