"""The daily constancy check names the organ and the figure that moved."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtseg_daemon.anatomy.organ import Flag, Organ
from rtseg_daemon.bundles import Bundle
from rtseg_daemon.demo.constancy import (
    Reference,
    Tolerances,
    deviations,
    load_reference,
    reference_file,
    reference_of,
    save_reference,
)
from rtseg_daemon.errors import StorageError
from rtseg_daemon.work.case import CaseResult
from tests.structure_sets import Case, organ_of


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("constancy"))


@pytest.fixture
def result(case: Case) -> CaseResult:
    seconds = {"load model": 50.0, "infer": 8.0, "masks": 2.0}
    return CaseResult((case.bundle,), (), series=case.series, organs=tuple(case.organs), seconds=seconds)


@pytest.fixture
def reference(result: CaseResult, case: Case) -> Reference:
    return reference_of(result, case.bundle)


def with_organ(result: CaseResult, organ: Organ) -> CaseResult:
    return replace(result, organs=tuple(organ if one.name == organ.name else one for one in result.organs))


def brainstem(result: CaseResult) -> Organ:
    return next(organ for organ in result.organs if organ.name == "Brainstem")


def test_the_same_again_is_within_every_tolerance(reference: Reference, result: CaseResult) -> None:
    assert deviations(reference, result) == []
    assert set(reference.organs) == {"Parotid_L", "Brainstem", "Lens_L"}


def test_a_volume_that_moved_is_named_with_both_figures(reference: Reference, result: CaseResult) -> None:
    organ = brainstem(result)
    (line,) = deviations(reference, with_organ(result, replace(organ, volume_ml=organ.volume_ml * 1.05)))
    assert line.startswith("Brainstem: volume ")
    assert line.endswith("(+5.0 %)")
    assert deviations(reference, with_organ(result, replace(organ, volume_ml=organ.volume_ml * 1.009))) == []


def test_an_organ_that_moved_by_a_voxel_is_named_with_the_distance(reference: Reference, result: CaseResult) -> None:
    organ = brainstem(result)
    assert result.series is not None
    assert organ.box is not None
    assert organ.mask is not None
    whole = np.zeros(result.series.volume.shape, bool)
    whole[organ.box.slices] = organ.mask
    shifted = organ_of("Brainstem", np.roll(whole, 1, axis=2), result.series.volume, flag=Flag.REVIEW)
    lines = deviations(reference, with_organ(result, shifted))
    step = result.series.volume.spacing_mm[2]
    assert any(line.startswith(f"Brainstem: centre moved by {step:.1f}") for line in lines)


def test_hu_that_moved_are_named(reference: Reference, result: CaseResult) -> None:
    assert result.series is not None
    ct = result.series.volume
    brighter = replace(result, series=replace(result.series, volume=ct.with_array(ct.array + 5)))
    assert [line.partition(":")[0] for line in deviations(reference, brighter)] == ["Brainstem", "Lens_L", "Parotid_L"]
    assert all(" HU, recorded " in line for line in deviations(reference, brighter))


def test_a_flag_that_changed_and_an_organ_that_is_gone_are_named(reference: Reference, result: CaseResult) -> None:
    organ = brainstem(result)
    flagged = with_organ(result, replace(organ, flag=Flag.REJECT))
    assert deviations(reference, flagged) == ["Brainstem: flag REJECT, recorded REVIEW"]
    gone = with_organ(result, Organ("Brainstem", None, None, None, 0.0))
    assert deviations(reference, gone) == ["Brainstem: not found, though it was when the reference was recorded"]
    del reference.organs["Brainstem"]
    assert deviations(reference, result) == ["Brainstem: found, though it was not when the reference was recorded"]


def test_a_machine_that_became_slow_is_named_and_loading_does_not_count(
    reference: Reference, result: CaseResult
) -> None:
    assert reference.seconds == 10.0
    slow = replace(result, seconds={"load model": 500.0, "infer": 29.0})
    assert deviations(reference, slow) == []
    slower = replace(result, seconds={"infer": 31.0})
    assert deviations(reference, slower) == ["time: 31.0 s, at most 30.0 s (3 times as recorded)"]


def test_a_reference_is_read_back_with_the_tolerances_that_a_department_wrote(
    reference: Reference, case: Case, tmp_path: Path
) -> None:
    path = reference_file(tmp_path, case.bundle)
    save_reference(replace(reference, tolerances=Tolerances(volume_percent=2.5)), path)
    again = load_reference(path, case.bundle)
    assert again.organs == reference.organs
    assert again.tolerances.volume_percent == 2.5


def test_each_version_and_calibration_has_a_reference_of_its_own(case: Case, tmp_path: Path) -> None:
    def named(**changes: Any) -> str:
        other = case.bundle.model_copy(update={key: value for key, value in changes.items() if key != "digest"})
        other._digest = changes.get("digest", case.bundle.digest)
        return reference_file(tmp_path, other).name

    assert len({named(), named(version="2.0"), named(digest="d" * 64)}) == 3


def test_a_missing_damaged_or_foreign_reference_says_what_to_do(
    reference: Reference, case: Case, tmp_path: Path
) -> None:
    path = tmp_path / "reference.json"
    with pytest.raises(StorageError, match=r"no reference of han-oar 1\.2\.3 .* --record"):
        load_reference(path, case.bundle)
    path.write_text("{}")
    with pytest.raises(StorageError, match="cannot be read; record it again"):
        load_reference(path, case.bundle)
    save_reference(replace(reference, digest="0" * 64), path)
    bundle: Bundle = case.bundle
    with pytest.raises(StorageError, match="is of another bundle"):
        load_reference(path, bundle)
