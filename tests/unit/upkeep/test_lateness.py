"""Contours that are late: who is told of what."""

from sqlalchemy import Engine

from rtseg_daemon.ledger import decisions, jobs
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.leases import Lease
from rtseg_daemon.ledger.schema import Alarm, Series
from rtseg_daemon.ledger.states import SeriesState
from rtseg_daemon.storage import Layout
from rtseg_daemon.upkeep import lateness
from tests.unit.upkeep.test_housekeeping import NOW, OLD, deliver, stored_job, stored_series


def messages(ledger: Engine) -> list[str]:
    with reading(ledger) as session:
        return [alarm.message for alarm in session.query(Alarm)]


def test_contours_that_are_late_raise_one_alarm_that_names_the_destination(ledger: Engine, layout: Layout) -> None:
    job = stored_job(ledger, layout, stored_series(ledger, layout))
    assert lateness.raise_late(ledger, 1800, OLD + 1700) == 0
    assert lateness.raise_late(ledger, 1800, OLD + 1900) == 1
    assert lateness.raise_late(ledger, 1800, OLD + 2000) == 0
    assert messages(ledger) == [f"series 1: contours are late, job {job} is SEGMENTED, not at tps"]


def test_a_series_that_was_sent_again_and_is_late_again_is_told_again(ledger: Engine, layout: Layout) -> None:
    series = stored_series(ledger, layout)
    stored_job(ledger, layout, series)
    assert lateness.raise_late(ledger, 1800, OLD + 1900) == 1
    with writing(ledger) as session:
        session.get_one(Series, series).last_received_at = OLD + 2000
    assert lateness.raise_late(ledger, 1800, OLD + 3700) == 0
    assert lateness.raise_late(ledger, 1800, OLD + 3900) == 1


def test_delivered_contours_and_series_that_nobody_wants_are_never_late(ledger: Engine, layout: Layout) -> None:
    deliver(ledger, stored_job(ledger, layout, stored_series(ledger, layout, 1)))
    series = stored_series(ledger, layout, 2)
    with writing(ledger) as session:
        session.get_one(Series, series).state = SeriesState.UNROUTED
    assert lateness.raise_late(ledger, 1800, NOW) == 0


def test_a_look_without_sending_does_not_count_as_contours(ledger: Engine, layout: Layout) -> None:
    job = stored_job(ledger, layout, stored_series(ledger, layout))
    with writing(ledger) as session:
        look = decisions.rerun(session, job, "anna", no_send=True)
        jobs.claim_job(session, "w")
        jobs.finish_segmentation(session, Lease(look.id, "w", 1), jobs.Outcome("digest", []), [])
    assert lateness.raise_late(ledger, 1800, OLD + 1900) == 1


def test_a_series_that_never_became_a_job_is_late_too(ledger: Engine, layout: Layout) -> None:
    series = stored_series(ledger, layout)
    with writing(ledger) as session:
        session.get_one(Series, series).state = SeriesState.OPEN
    lateness.raise_late(ledger, 1800, NOW)
    assert messages(ledger) == ["series 1: contours are late, the series is OPEN and has no job"]
