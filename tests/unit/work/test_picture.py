"""The page to review a case by says what the comments say, and shows the planes as one looks at a patient."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from rtseg_daemon.anatomy.organ import Flag
from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.gates.verdict import Verdict
from rtseg_daemon.work.case import CaseResult
from rtseg_daemon.work.picture import page_of, picture_of
from tests.structure_sets import Case


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> CaseResult:
    case = Case(tmp_path_factory.mktemp("picture"))
    ct = case.series.volume
    entropy = Volume(np.full(ct.shape, 0.5, np.float32), ct.spacing_mm, ct.origin_mm)
    organs = tuple(
        replace(organ, interval=(0.69, 0.85)) if organ.predicted_dice is not None else organ for organ in case.organs
    )
    verdict = Verdict("flag", ("slice thickness 5 mm is outside the range", "of this bundle"))
    return CaseResult((case.bundle,), (("series", verdict),), series=case.series, organs=organs, entropies=(entropy,))


def words_on(page: Figure) -> list[str]:
    return [text.get_text() for text in page.texts]


def test_each_organ_has_its_flag_dice_and_reasons_and_the_gravest_comes_first(result: CaseResult) -> None:
    words = words_on(page_of(result))
    found = [organ for organ in result.organs if organ.found]
    assert [word for word in words if word in {organ.name for organ in found}] == ["Lens_L", "Brainstem", "Parotid_L"]
    assert [word for word in words if word in list(Flag)] == ["REJECT", "REVIEW", "OK"]
    assert any(word.startswith("predicted Dice 0.78 [0.69\u20130.85]") for word in words)
    assert "members disagree" in words
    noted = replace(found[0], notes=("it reaches the lower end of the scan",))
    assert "note: it reaches the lower end of the scan" in words_on(page_of(replace(result, organs=(noted,))))


def test_slices_are_numbered_as_in_the_comment(result: CaseResult) -> None:
    parotid = next(organ for organ in result.organs if organ.name == "Parotid_L")
    named = replace(parotid, slices=(3, 3), flag=Flag.REVIEW)
    assert "slices=3-3" in named.comment
    assert "slice 3: members disagree most" in words_on(page_of(replace(result, organs=(named,))))


def test_an_organ_not_found_and_what_the_gates_say_stand_at_the_top(result: CaseResult) -> None:
    words = words_on(page_of(result))
    assert "Lens_R: REVIEW, not found" in words
    assert "slice thickness 5 mm is outside the range; of this bundle" in words
    held = replace(result, verdicts=(("series", Verdict("hold", ("a slice is missing",))),))
    assert "HELD: a slice is missing" in words_on(page_of(held))


def test_three_panels_an_organ_with_letters_window_and_the_lines_of_the_slices(result: CaseResult) -> None:
    page = page_of(result)
    assert len(page.axes) == 9
    panels = [{text.get_text() for text in axes.texts} for axes in page.axes]
    assert {"R", "L", "A", "P"} <= panels[0]
    assert {"S", "I"} <= panels[2]
    assert all(any(word.startswith("W ") for word in panel) for panel in panels)
    lower, upper = page.axes[0].get_ylim()
    assert lower > upper, "axial: anterior, the smaller y, is at the top"
    lower, upper = page.axes[2].get_ylim()
    assert lower < upper, "lengthwise: the head is at the top"


def windows(result: CaseResult, hu: int) -> set[str]:
    """What the panels of the first organ say of their window, in a CT of one value."""
    assert result.series is not None
    ct = result.series.volume
    series = replace(result.series, volume=ct.with_array(np.full(ct.shape, hu, np.int16)))
    page = page_of(replace(result, organs=result.organs[:1], series=series))
    return {text.get_text() for axes in page.axes for text in axes.texts if text.get_text().startswith("W ")}


def test_the_window_is_that_of_bone_for_bone(result: CaseResult) -> None:
    assert windows(result, 40) == {"W 400 L 40"}
    assert windows(result, 700) == {"W 1600 L 400"}


def test_the_page_is_one_png_whatever_the_name_of_the_patient_says(result: CaseResult, tmp_path: Path) -> None:
    assert result.series is not None
    result.series.header.PatientID = "$\\frac{1}$ <b>"
    image = imread(io.BytesIO(picture_of(result)))
    assert image.shape[1] > 1200
    assert image.std() > 0.05
