"""From a structure set that came back to its place in its case: paired, measured, counted, or held apart and told."""

from tests.clinic import Clinic, moved, renamed


def test_an_approved_set_is_paired_with_our_result_and_measured(clinic: Clinic) -> None:
    case = clinic.deliver()
    row = clinic.comes_back(case.edited(moved("Parotid_L", x=2.0)))
    assert (row.state, row.approval, row.reasons) == ("MEASURED", "APPROVED", [])
    assert (row.series_id, row.job_id) == (case.series_id, case.job_id)
    rois = clinic.rois(row.id)
    assert {name: roi.organ for name, roi in rois.items()} == {name: name for name in rois}
    assert all(roi.counts and roi.fit and roi.job_id == case.job_id for roi in rois.values())
    kept, shifted = rois["Brainstem"].difference, rois["Parotid_L"].difference
    assert kept is not None
    assert shifted is not None
    assert (kept["dsc"], kept["untouched_whole"]) == (1.0, True)
    assert 0.6 < shifted["dsc"] < 0.95
    assert (shifted["untouched"], shifted["untouched_whole"]) == (0.0, False)
    assert shifted["edited"]["left"] > 1.0 > -1.0 > shifted["edited"]["right"]
    assert clinic.alarms() == []


def test_names_of_any_script_are_understood_or_asked_for(clinic: Clinic) -> None:
    case = clinic.deliver()
    names = {"Brainstem": "Hirnstamm", "Parotid_L": "左腮腺", "Parotid_R": "Ушная железа"}
    row = clinic.comes_back(case.edited(renamed(**names)))
    rois = clinic.rois(row.id)
    assert (rois["Hirnstamm"].organ, rois["Hirnstamm"].named_by) == ("Brainstem", "synonym")
    assert (rois["左腮腺"].organ, rois["左腮腺"].named_by) == ("Parotid_L", "synonym")
    unknown = rois["Ушная железа"]
    assert (unknown.organ, unknown.named_by, unknown.difference) == (None, None, None)
    assert unknown.reasons == ["it lies where our Parotid_R lies (Dice 1.00)"]
    assert row.state == "NAMES"
    assert rois["Hirnstamm"].difference is not None
