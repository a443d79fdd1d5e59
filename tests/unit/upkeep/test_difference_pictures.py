"""Pictures of cases that two versions contour differently: a file for each, and a word for those that are gone."""

import shutil
from pathlib import Path

from rtseg_daemon.upkeep.difference_pictures import cuts_of, draw_all, shown_case
from tests.clinic import RADIUS, Clinic, moved
from tests.unit.feedback.conftest import clinic
from tests.unit.feedback.test_candidates import SAME, shadow

__all__ = ["clinic"]


def test_a_case_is_drawn_where_its_contours_lie_apart_and_names_nobody(clinic: Clinic, tmp_path: Path) -> None:
    case = clinic.deliver()
    candidate = shadow(case, SAME | {"Brainstem": RADIUS - 2.0})
    clinic.comes_back(case.edited(moved("Brainstem", x=2.0)))
    told = {"series": case.series_id, "job_a": case.job_id, "job_b": candidate, "organ": "Brainstem"}
    shown = shown_case(clinic.loop.desk, told)
    assert list(shown.organs) == ["A", "B", "approved"]
    assert all(organ.found for organ in shown.organs.values())
    assert shown.organs["A"].volume_ml > shown.organs["B"].volume_ml
    across, lengthwise = cuts_of(shown)
    box, mask = shown.apart.box, shown.apart.mask
    assert box is not None
    assert mask is not None
    assert across.axis == 0
    assert mask[across.index - box.start[0]].sum() == mask.sum(axis=(1, 2)).max()
    assert lengthwise.axis != 0
    folder = tmp_path / "pictures"
    (drawn,) = draw_all(clinic.loop.desk, {"most_different": [told | {"surface_dsc": 0.5}]}, folder)
    path = Path(drawn["path"])
    assert path.name == f"01-series-{case.series_id}-Brainstem.png"
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_mode & 0o077 == 0


def test_a_case_without_images_is_left_out_and_the_others_are_drawn(clinic: Clinic, tmp_path: Path) -> None:
    gone, kept = clinic.deliver(0), clinic.deliver(1)
    cases = []
    for case in (gone, kept):
        candidate = shadow(case, SAME | {"Brainstem": 0.0})
        facts = {"series": case.series_id, "job_a": case.job_id, "job_b": candidate}
        cases.append(facts | {"organ": "Brainstem", "surface_dsc": 0.0})
    shutil.rmtree(clinic.layout.series / "case0")
    one, other = draw_all(clinic.loop.desk, {"most_different": cases}, tmp_path / "p")
    assert (one["path"], bool(one["why_not"])) == (None, True)
    assert Path(other["path"]).is_file()
