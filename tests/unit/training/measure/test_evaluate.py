"""The level of the rings; CTs that are measured with their pixels divided; sets with nothing to measure."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rtseg_training.cli.app import app
from rtseg_training.errors import CaseError, ExportError
from rtseg_training.measure.evaluate import divided, doubtful_level, joined_pixels
from rtseg_training.sets.cases import Case, save_case
from rtseg_training.sets.joined import check_drawn
from rtseg_training.sets.manifest import write_manifest
from typer.testing import CliRunner

from rtseg_daemon.anatomy.organ import Organ
from rtseg_daemon.anatomy.volume import Box, Volume
from tests.tiny import make_bundle


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ({0.0: [1000, 200], 0.4506: [100, 40], 0.6365: [100, 60]}, 0.45),
        ({0.0: [1000, 200], 0.4506: [300, 40], 0.6365: [100, 60]}, 0.63),
        ({0.0: [10, 9], 0.4506: [100, 40]}, None),
        ({0.0: [10, 9]}, None),
        ({}, None),
    ],
)
def test_the_level_is_the_least_from_which_on_half_of_the_voxels_are_wrong(
    levels: dict[float, list[int]], expected: float | None
) -> None:
    assert doubtful_level(levels) == expected


def test_divided_pixels_cover_what_the_pixel_covered() -> None:
    hu = np.arange(12, dtype=np.int16).reshape(1, 3, 4)
    fine = divided(Volume(hu, (2.5, 4.0, 4.0), (1.0, 2.0, 3.0)), 4)
    assert fine.shape == (1, 12, 16)
    assert fine.spacing_mm == (2.5, 1.0, 1.0)
    assert fine.origin_mm == (1.0, 0.5, 1.5)
    # between two centres, 4 mm apart, values lie an eighth, three eighths ... of the way
    assert fine.array[0, 0, 2:6] == pytest.approx([0.125, 0.375, 0.625, 0.875])


def test_a_pixel_is_the_organs_that_holds_half_of_its_parts() -> None:
    mask = np.zeros((1, 4, 6), bool)
    mask[0, :2, 0] = mask[0, 2, 2] = mask[0, :, 4:] = True
    fine = Volume(np.zeros((1, 6, 8), np.int16), (2.5, 1.0, 1.0), (0.0, 0.0, 0.0))
    organ = Organ("Larynx", Box((0, 0, 2), (1, 4, 8)), mask, None, 1.0)
    joined = joined_pixels(organ, fine, 2)
    assert joined.mask is not None
    assert joined.mask[0].astype(int).tolist() == [[0, 1, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]


def not_yet(*_arguments: object) -> object:
    raise AssertionError("this comes after the check")


@pytest.fixture
def bare(case: Case, tmp_path: Path) -> Path:
    """A data set in which somebody looked for organs and drew none."""
    other = case.ct.with_array(case.ct.array + np.int16(2))
    none = replace(case, name="bare", ct=other, status=dict.fromkeys(case.structures, "empty"))
    write_manifest(tmp_path, [save_case(none, tmp_path)], "x", [])
    return tmp_path


@pytest.mark.parametrize(
    ("command", "data", "more"),
    [
        ("evaluate", "--data", ["--out", "out"]),
        ("calibrate", "--validation", []),
        ("audit", "--data", []),
        ("refresh", "--validation", ["--data", "set", "--runs", "runs", "--out", "out", "--version", "2.0"]),
    ],
)
def test_a_set_without_the_bundles_organs_is_named_before_inference(
    command: str, data: str, more: list[str], bare: Path, data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("cli.commands_bundle", "cli.commands_train"):
        monkeypatch.setattr(f"rtseg_training.{module}.open_segmenter", not_yet)
    monkeypatch.setattr("rtseg_training.cli.commands_train.prepare_all", not_yet)
    words = [str(data_set) if word == "set" else word for word in more]
    bundle = make_bundle(bare / "models")
    with pytest.raises(
        CaseError, match=r"no case of .* has an organ of bundle tiny drawn \(Brainstem, SpinalCord, Par"
    ):
        CliRunner().invoke(app, [command, str(bundle), data, str(bare), *words], catch_exceptions=False)


def test_one_drawn_organ_is_enough_if_it_is_among_the_cases_asked_for(bare: Path, case: Case) -> None:
    none = save_case(replace(case, name="none", status={}), bare)
    write_manifest(bare, [none, save_case(case, bare)], "x", [])
    check_drawn([bare], ["Larynx", "Brainstem"], "bundle x")
    with pytest.raises(CaseError, match="no case among the first 1 of"):
        check_drawn([bare], ["Larynx", "Brainstem"], "bundle x", limit=1)


def test_a_calibrated_bundle_keeps_its_name(tmp_path: Path) -> None:
    words = [str(make_bundle(tmp_path)), "--validation", str(tmp_path), "--out", str(tmp_path / "tiny-2")]
    with pytest.raises(ExportError, match="give one whose last part is tiny"):
        CliRunner().invoke(app, ["calibrate", *words], catch_exceptions=False)
