"""The questions with known answers: each says FAILED where the answer is wrong."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtseg_daemon.anatomy.organ import Flag, Organ
from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.ct.series import load_series
from rtseg_daemon.demo.end_to_end import MARKER_HU, Run, check_missing, check_region, check_sides, with_marker
from rtseg_daemon.errors import SeriesError
from rtseg_daemon.gates.verdict import Verdict
from rtseg_daemon.rtstruct.writing import build_rtstruct, derive_identity
from rtseg_daemon.work.case import CaseResult
from tests.structure_sets import organ_of, tiny_bundle
from tests.synthetic import write_series
from tests.world import body_volume

BUNDLE = tiny_bundle("Parotid_L", "Parotid_R", "Esophagus")
CT = body_volume()


def gland(name: str, x: int) -> Organ:
    mask = np.zeros(CT.shape, bool)
    mask[8:14, 20:26, x - 2 : x + 3] = True
    return organ_of(name, mask, CT)


def answer(organs: Sequence[Organ], folder: Path | None = None, *verdicts: tuple[str, Verdict]) -> CaseResult:
    """A case in which these organs were found, with its structure set if it has a series in `folder`."""
    result = CaseResult((BUNDLE,), verdicts, organs=tuple(organs))
    if folder is None:
        return result
    series = load_series(write_series(folder, CT))
    dataset = build_rtstruct(series, organs, [BUNDLE], derive_identity(series, BUNDLE.digest, 1))
    return replace(result, series=series, dataset=dataset)


def giving(result: CaseResult) -> Run:
    return lambda _files: result


def test_the_marker_is_a_dense_ball_to_the_left_of_the_skin() -> None:
    whole = np.zeros(CT.shape, bool)
    whole[8:14, 20:26, 30:35] = True
    marked, x_mm = with_marker(CT, whole)
    ball = np.argwhere(marked.array == MARKER_HU)
    assert len(ball) > 5
    skin = int(np.flatnonzero(CT.array[10, 22] > -350)[-1])
    assert ball[:, 2].min() > skin
    assert x_mm == pytest.approx(CT.origin_mm[2] + CT.spacing_mm[2] * ball[:, 2].mean(), abs=CT.spacing_mm[2])


@pytest.mark.parametrize(("left", "right", "ok"), [(32, 16, True), (16, 32, False)])
def test_sides_are_those_of_the_marker(tmp_path: Path, left: int, right: int, ok: bool) -> None:
    result = answer([gland("Parotid_L", left), gland("Parotid_R", right)], tmp_path / "ct")
    (check,) = check_sides(result, marker_x_mm=90.0)
    assert check.ok is ok
    assert check.message.startswith("Parotid_L at x ")


def test_sides_that_agree_with_each_other_and_not_with_the_marker_fail(tmp_path: Path) -> None:
    """The whole patient is mirrored: the pair is in order, and the marker is not."""
    result = answer([gland("Parotid_L", 32), gland("Parotid_R", 16)], tmp_path / "ct")
    (check,) = check_sides(result, marker_x_mm=-90.0)
    assert not check.ok


def test_sides_without_a_pair_are_no_proof(tmp_path: Path) -> None:
    (check,) = check_sides(answer([gland("Parotid_L", 32)], tmp_path / "ct"), 90.0)
    assert not check.ok


@pytest.mark.parametrize(
    ("organ", "ok"),
    [
        (Organ("Esophagus", None, None, None, 0.0, flag=Flag.REJECT, reasons=("not found",)), True),
        (replace(gland("Esophagus", 24), flag=Flag.REVIEW), True),
        (gland("Esophagus", 24), False),
    ],
)
def test_an_organ_that_the_scan_does_not_reach_may_not_be_ok(organ: Organ, ok: bool) -> None:
    seen: list[int] = []

    def run(files: list[Path]) -> CaseResult:
        seen.append(len(files))
        return answer([organ])

    truth = np.zeros(CT.shape, bool)
    truth[2:9] = True
    assert check_missing(run, CT, {"Esophagus": truth}, "Esophagus").ok is ok
    assert seen == [CT.shape[0] - 9]


def test_water_must_be_held() -> None:
    held = answer([], None, ("organs", Verdict("hold", ("only 0 organs found",))))
    assert check_region(giving(held), CT).ok
    assert "only 0 organs found" in check_region(giving(held), CT).message
    assert not check_region(giving(answer([])), CT).ok

    def nobody(_files: list[Path]) -> Any:
        raise SeriesError("no body found")

    assert check_region(nobody, CT).ok


def test_the_water_phantom_is_water_in_air_on_the_grid_of_the_patient() -> None:
    seen: list[Volume] = []

    def run(files: list[Path]) -> CaseResult:
        seen.append(load_series(files).volume)
        return answer([])

    check_region(run, CT)
    values, counts = np.unique(seen[0].array, return_counts=True)
    assert values.tolist() == [-1000, 0]
    assert seen[0].shape == CT.shape
    assert counts.min() > 0.1 * counts.sum()
