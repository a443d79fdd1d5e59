"""Sets that came again, replace older ones, hold some organs, or were approved later: one history of a case."""

import time
from typing import Any

import pytest

from rtseg_daemon.feedback import measuring
from rtseg_daemon.feedback.mapping import explain
from rtseg_daemon.ledger.engine import writing
from tests.clinic import Clinic, Edit, moved, renamed, saying, without


def counting(clinic: Clinic, number: int) -> set[str]:
    return {str(roi.organ) for roi in clinic.row(number).rois if roi.counts}


def reviewed(at: float) -> Edit:
    date, clock = time.strftime("%Y%m%d %H%M%S", time.localtime(at)).split()
    return saying(ReviewDate=date, ReviewTime=clock)


EVERY = {"Brainstem", "Parotid_L", "Parotid_R"}


def test_the_newer_approved_set_takes_the_place_of_the_older_one(clinic: Clinic) -> None:
    case = clinic.deliver()
    first = clinic.comes_back(case.edited(moved("Parotid_L", x=2.0)))
    second = clinic.comes_back(case.edited())
    assert (counting(clinic, first.id), counting(clinic, second.id)) == (set(), EVERY)
    assert clinic.row(first.id).superseded_by_id == second.id
    assert clinic.row(second.id).superseded_by_id is None


def test_a_set_with_some_organs_replaces_these_and_no_others(clinic: Clinic) -> None:
    case = clinic.deliver()
    whole = clinic.comes_back(case.edited())
    part = clinic.comes_back(case.edited(without("Brainstem", "Parotid_R"), moved("Parotid_L", x=2.0)))
    assert counting(clinic, whole.id) == {"Brainstem", "Parotid_R"}
    assert counting(clinic, part.id) == {"Parotid_L"}
    assert clinic.row(whole.id).superseded_by_id is None


def test_unapproved_and_rejected_sets_are_paired_and_apart_and_never_count(clinic: Clinic) -> None:
    case = clinic.deliver()
    approved = clinic.comes_back(case.edited())
    for status in ("UNAPPROVED", "REJECTED"):
        row = clinic.comes_back(case.edited(approval=status))
        assert (row.state, row.series_id, row.job_id) == ("APART", case.series_id, case.job_id)
        assert row.reasons == [f"it is {status}: contours count once they are approved"]
        assert counting(clinic, row.id) == set()
    assert counting(clinic, approved.id) == EVERY


def test_a_set_without_any_status_counts_as_unapproved(clinic: Clinic) -> None:
    row = clinic.comes_back(clinic.deliver().edited(saying(ApprovalStatus=None)))
    assert (row.state, row.approval) == ("APART", "UNAPPROVED")


def test_a_set_that_is_approved_later_under_its_own_uid_counts_then(clinic: Clinic) -> None:
    case = clinic.deliver()
    drawn = case.edited(approval="UNAPPROVED")
    draft = clinic.comes_back(drawn)
    drawn.ApprovalStatus = "APPROVED"
    final = clinic.comes_back(drawn)
    assert draft.sop_instance_uid == final.sop_instance_uid
    assert (draft.state, final.state) == ("APART", "MEASURED")
    assert counting(clinic, final.id) == EVERY


def test_an_approval_that_is_taken_back_counts_no_more_and_the_one_before_does_again(clinic: Clinic) -> None:
    case = clinic.deliver()
    before = clinic.comes_back(case.edited())
    drawn = case.edited(moved("Parotid_L", x=2.0))
    approved = clinic.comes_back(drawn)
    assert counting(clinic, approved.id) == EVERY
    drawn.ApprovalStatus = "REJECTED"
    clinic.comes_back(drawn)
    assert counting(clinic, approved.id) == set()
    assert counting(clinic, before.id) == EVERY
    assert clinic.row(before.id).superseded_by_id is None


def test_our_own_set_that_comes_back_as_it_was_sent_does_not_count(clinic: Clinic) -> None:
    case = clinic.deliver()
    row = clinic.comes_back(case.ours)
    assert (row.state, counting(clinic, row.id)) == ("APART", set())


def test_an_older_set_that_an_archive_sends_later_replaces_nothing(clinic: Clinic) -> None:
    case = clinic.deliver(delivered=False)
    now = time.time()
    case.arrive(at=now - 5 * 86400)
    new = clinic.comes_back(case.edited(reviewed(now - 86400)))
    old = clinic.comes_back(case.edited(reviewed(now - 2 * 86400)))
    assert (counting(clinic, new.id), counting(clinic, old.id)) == (EVERY, set())
    assert clinic.row(old.id).superseded_by_id == new.id


def test_a_set_answers_the_result_that_was_there_when_it_was_made(clinic: Clinic) -> None:
    case = clinic.deliver()
    first = case.job_id
    number = clinic.came(case.edited())
    case.contour(run=2, delivered=False)
    case.arrive(at=clinic.row(number).received_at + 3600)
    clinic.work()
    assert clinic.row(number).job_id == first


def test_of_several_bundles_each_roi_is_compared_with_the_result_that_has_it(clinic: Clinic) -> None:
    case = clinic.receive()
    stem = case.contour(("Brainstem",), bundle="stem")
    glands = case.contour(("Parotid_L", "Parotid_R"), bundle="glands")
    other = clinic.elsewhere(seed=0)
    row = clinic.comes_back(other.edited())
    rois = clinic.rois(row.id)
    assert {name: roi.job_id for name, roi in rois.items()} == {
        "Brainstem": stem,
        "Parotid_L": glands,
        "Parotid_R": glands,
    }
    assert (row.state, row.job_id) == ("MEASURED", glands)
    assert all(roi.difference is not None for roi in rois.values())


def test_a_person_who_explains_a_name_has_the_set_measured_anew(clinic: Clinic) -> None:
    case = clinic.deliver()
    row = clinic.comes_back(case.edited(renamed(Parotid_R="Ohrsp. B")))
    assert (row.state, counting(clinic, row.id)) == ("NAMES", {"Brainstem", "Parotid_L"})
    clinic.explain("ohrsp b", "Parotid_R")
    assert clinic.row(row.id).state == "MEASURED"
    roi = clinic.rois(row.id)["Ohrsp. B"]
    assert (roi.organ, roi.named_by, roi.counts) == ("Parotid_R", "person", True)
    later = clinic.comes_back(clinic.deliver(seed=3).edited(renamed(Parotid_R="OHRSP_B")))
    assert (later.state, counting(clinic, later.id)) == ("MEASURED", EVERY)
    clinic.explain("Ohrsp. B", None)
    assert clinic.rois(row.id)["Ohrsp. B"].counts is False
    assert clinic.row(row.id).state == "MEASURED"


def test_a_name_that_is_explained_while_its_set_is_measured_counts_at_once(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = clinic.came(clinic.deliver().edited(renamed(Parotid_R="Ohrsp. B")))
    measured = measuring.measured
    times = []

    def slow(*arguments: Any) -> Any:
        times.append(1)
        if len(times) == 1:
            with writing(clinic.ledger) as session:
                explain(session, "Ohrsp. B", "Parotid_R", "anna", "")
        return measured(*arguments)

    monkeypatch.setattr(measuring, "measured", slow)
    clinic.work()
    assert len(times) == 2
    assert clinic.row(number).state == "MEASURED"
    assert counting(clinic, number) == EVERY
