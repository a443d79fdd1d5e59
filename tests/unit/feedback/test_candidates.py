"""A candidate's contours measured: against those of its case, against approved ones, and when something is missing."""

import hashlib
import shutil
from collections.abc import Mapping

import pytest

from rtseg_daemon.feedback.candidates import measure_all, next_due
from rtseg_daemon.ledger import jobs
from rtseg_daemon.ledger.comparison_tables import MeasuredContours
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.feedback_tables import SeriesGeometry
from rtseg_daemon.ledger.schema import Job
from rtseg_daemon.ledger.series import last_instance_id
from rtseg_daemon.ledger.states import JobState
from rtseg_daemon.rtstruct.writing import build_rtstruct, derive_identity, write_dataset
from tests.clinic import ORGANS, RADIUS, Case, Clinic, moved
from tests.structure_sets import ball, organ_of, tiny_bundle


def shadow(case: Case, sizes: Mapping[str, float], end: JobState = JobState.SEGMENTED) -> int:
    """A candidate's job of the case: balls of these radii in voxels, 0 for an organ that it did not find."""
    clinic, volume = case.clinic, case.series.volume
    found = [organ_of(name, ball(volume, ORGANS[name], size) > 0, volume) for name, size in sizes.items() if size]
    dataset = build_rtstruct(case.series, found, [tiny_bundle(*ORGANS)], derive_identity(case.series, "f" * 64, 0))
    with writing(clinic.ledger) as session:
        last = last_instance_id(session, case.series_id)
        job = jobs.create_job(session, case.series_id, last, "tiny@2.0", "all", shadow=True)
        path = clinic.layout.result(job.id) / "RTSTRUCT.dcm"
        path.parent.mkdir()
        write_dataset(dataset, path)
        job.state, job.bundle_digest = end, "f" * 64
        job.rois = [{"name": name, "volume_ml": size, "flag": "OK", "comment": ""} for name, size in sizes.items()]
        job.rtstruct_path = clinic.layout.relative(path)
        job.rtstruct_sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        return job.id


def rows(clinic: Clinic) -> dict[tuple[int, int | None, int | None], MeasuredContours]:
    with reading(clinic.ledger) as session:
        found = session.query(MeasuredContours).order_by(MeasuredContours.id)
        return {(row.job_id, row.other_job_id, row.returned_set_id): row for row in found}


SAME = dict.fromkeys(ORGANS, RADIUS)


def test_a_candidate_is_measured_against_the_contours_of_its_case(clinic: Clinic) -> None:
    case = clinic.deliver()
    candidate = shadow(case, SAME | {"Brainstem": RADIUS - 1.0})
    clinic.work()
    (row,) = rows(clinic).values()
    assert (row.job_id, row.other_job_id, row.trouble) == (candidate, case.job_id, "")
    assert row.organs["Parotid_L"]["dsc"] == 1.0
    assert 0.4 < row.organs["Brainstem"]["dsc"] < 0.8
    assert row.organs["Brainstem"]["mean_signed_distance_mm"] > 0.5, "the case's is larger"


def test_both_are_measured_against_what_was_approved_and_a_missed_organ_is_missed(clinic: Clinic) -> None:
    case = clinic.deliver()
    candidate = shadow(case, SAME | {"Parotid_R": 0.0})
    returned = clinic.comes_back(case.edited(moved("Parotid_L", x=2.0)))
    found = rows(clinic)
    assert set(found) == {
        (candidate, case.job_id, None),
        (case.job_id, None, returned.id),
        (candidate, None, returned.id),
    }
    ours, theirs = (found[job, None, returned.id].organs for job in (case.job_id, candidate))
    assert ours["Parotid_L"]["dsc"] == theirs["Parotid_L"]["dsc"] < 1.0
    assert (ours["Parotid_R"]["dsc"], theirs["Parotid_R"]["dsc"], theirs["Parotid_R"]["hd95_mm"]) == (1.0, 0.0, None)


def test_nothing_is_measured_twice_and_a_newer_approved_set_anew(clinic: Clinic) -> None:
    case = clinic.deliver()
    shadow(case, SAME)
    clinic.comes_back(case.edited())
    assert measure_all(clinic.loop.desk) == 0
    assert len(rows(clinic)) == 3
    newer = clinic.comes_back(case.edited(moved("Brainstem", y=2.0)))
    assert sum(key[2] == newer.id for key in rows(clinic)) == 2


def test_what_is_unapproved_judges_nobody(clinic: Clinic) -> None:
    case = clinic.deliver()
    shadow(case, SAME)
    clinic.comes_back(case.edited(approval="UNAPPROVED"))
    assert [key[2] for key in rows(clinic)] == [None]


def test_without_a_candidate_a_case_is_not_measured_for_one(clinic: Clinic) -> None:
    clinic.comes_back(clinic.deliver().edited())
    assert rows(clinic) == {}


@pytest.mark.parametrize("end", [JobState.FAILED, JobState.CANCELLED, JobState.RUNNING])
def test_a_candidate_without_a_result_is_not_measured(clinic: Clinic, end: JobState) -> None:
    shadow(clinic.deliver(), SAME, end)
    with reading(clinic.ledger) as session:
        assert next_due(session) is None


def test_a_candidate_that_a_gate_held_is_measured_like_the_others(clinic: Clinic) -> None:
    shadow(clinic.deliver(), SAME, JobState.HELD)
    assert measure_all(clinic.loop.desk) == 1


def test_an_altered_file_is_said_once_and_stops_no_other(clinic: Clinic) -> None:
    first, second = clinic.deliver(0), clinic.deliver(1)
    broken, whole = shadow(first, SAME), shadow(second, SAME)
    (clinic.layout.result(broken) / "RTSTRUCT.dcm").write_bytes(b"altered")
    assert measure_all(clinic.loop.desk) == 2
    found = rows(clinic)
    assert "was altered" in found[broken, first.job_id, None].trouble
    assert found[whole, second.job_id, None].organs["Brainstem"]["dsc"] == 1.0


def test_the_grid_is_kept_so_that_what_is_approved_after_retention_is_measured(clinic: Clinic) -> None:
    case = clinic.deliver(geometry=False)
    candidate = shadow(case, SAME)
    clinic.work()
    with reading(clinic.ledger) as session:
        assert session.query(SeriesGeometry).count() == 1
    shutil.rmtree(clinic.layout.series)
    returned = clinic.comes_back(case.edited(moved("Brainstem", x=2.0)))
    assert 0.6 < rows(clinic)[candidate, None, returned.id].organs["Brainstem"]["dsc"] < 0.95


def test_a_series_in_doubt_is_not_measured(clinic: Clinic) -> None:
    case = clinic.deliver()
    shadow(case, SAME)
    with writing(clinic.ledger) as session:
        session.get_one(Job, case.job_id).series.releasable = False
    assert measure_all(clinic.loop.desk) == 0
