"""How long our results and the sets that came back are kept, and that figures outlive both."""

import time
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.feedback_tables import ReturnedSet
from rtseg_daemon.ledger.schema import Job, Series
from rtseg_daemon.upkeep.retention import remove_old
from tests.clinic import Case, Clinic, moved, renamed

DAY = 86400.0
KEEP, ANSWER = 14 * DAY, 30 * DAY


@pytest.fixture
def clinic(tmp_path: Path, ledger: Engine) -> Clinic:
    return Clinic(tmp_path, ledger)


def aged(clinic: Clinic, days: float) -> float:
    """Everything happened so many days ago; returns the time now."""
    now = time.time()
    with writing(clinic.ledger) as session:
        session.execute(update(Series).values(last_received_at=now - days * DAY))
        session.execute(update(Job).values(updated_at=now - days * DAY))
        session.execute(update(ReturnedSet).values(received_at=now - days * DAY))
    return now


def ours(clinic: Clinic, case: Case) -> bool:
    return (clinic.layout.result(case.job_id) / "RTSTRUCT.dcm").is_file()


def test_our_structure_set_outlives_its_images_and_is_still_measured_against(clinic: Clinic) -> None:
    case = clinic.deliver()
    (clinic.layout.result(case.job_id) / "entropy.npz").write_bytes(b"large")
    assert remove_old(clinic.ledger, clinic.layout, KEEP, aged(clinic, 20), ANSWER) == 1
    assert not any((clinic.layout.series / "case0").glob("*.dcm"))
    assert [path.name for path in clinic.layout.result(case.job_id).iterdir()] == ["RTSTRUCT.dcm"]
    row = clinic.comes_back(case.edited(moved("Parotid_L", x=2.0)))
    assert row.state == "MEASURED"
    assert all(roi.difference is not None for roi in row.rois)


def test_without_feedback_a_result_goes_with_its_images(clinic: Clinic) -> None:
    case = clinic.deliver()
    remove_old(clinic.ledger, clinic.layout, KEEP, aged(clinic, 20))
    assert not clinic.layout.result(case.job_id).exists()


def test_sets_and_results_go_after_the_days_and_their_figures_stay(clinic: Clinic) -> None:
    case = clinic.deliver()
    row = clinic.comes_back(case.edited())
    file = clinic.layout.directory / row.path
    remove_old(clinic.ledger, clinic.layout, KEEP, aged(clinic, 20), ANSWER)
    assert file.is_file()
    assert ours(clinic, case)
    remove_old(clinic.ledger, clinic.layout, KEEP, aged(clinic, 31), ANSWER)
    assert not file.exists()
    assert not clinic.layout.result(case.job_id).exists()
    row = clinic.row(row.id)
    assert (row.state, row.path) == ("MEASURED", "")
    assert all(roi.counts and roi.difference for roi in row.rois)
    clinic.explain("Brainstem", None)
    assert clinic.row(row.id).state == "MEASURED"
    assert all(roi.counts and roi.difference for roi in clinic.row(row.id).rois)


def test_a_set_that_waits_for_a_name_stays_and_so_does_our_result(clinic: Clinic) -> None:
    case = clinic.deliver()
    row = clinic.comes_back(case.edited(renamed(Parotid_L="mystery")))
    remove_old(clinic.ledger, clinic.layout, KEEP, aged(clinic, 31), ANSWER)
    assert (clinic.layout.directory / row.path).is_file()
    assert ours(clinic, case)
    clinic.explain("mystery", "Parotid_L")
    assert clinic.row(row.id).state == "MEASURED"
    with reading(clinic.ledger) as session:
        assert session.get_one(Series, case.series_id).state == "REMOVED"
