"""Quality over time, added up from a ledger."""

from sqlalchemy import Engine

from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.schema import Job
from rtseg_daemon.storage import Layout
from rtseg_daemon.upkeep.quality import percentile, quality_shape, spread, version_of, week_of
from tests.unit.upkeep.test_housekeeping import OLD, deliver, stored_job, stored_series

DAY = 86400.0


def delivered(ledger: Engine, layout: Layout, number: int, at: float, *rois: dict[str, object]) -> int:
    """A delivered job of that moment with these organs."""
    job_id = stored_job(ledger, layout, stored_series(ledger, layout, number))
    deliver(ledger, job_id)
    with writing(ledger) as session:
        job = session.get_one(Job, job_id)
        job.created_at, job.rois = at, list(rois)
        job.deliveries[0].sent_at = OLD + 60.0 * number
    return job_id


def organ(flag: str, volume: float, dice: float | None = 0.8) -> dict[str, object]:
    return {"name": "Larynx", "flag": flag, "volume_ml": volume, "vvc": 0.1, "predicted_dice": dice}


def test_flags_volumes_and_dice_are_added_up_per_organ_and_week(ledger: Engine, layout: Layout) -> None:
    delivered(ledger, layout, 1, OLD, organ("OK", 10.0))
    delivered(ledger, layout, 2, OLD, organ("REVIEW", 20.0))
    delivered(ledger, layout, 3, OLD + 14 * DAY, organ("REJECT", 90.0, None))
    with reading(ledger) as session:
        shape = quality_shape(session, 0.0, OLD + 30 * DAY, {"d": "1.5"})
    (bundle,) = shape["bundles"]
    assert (bundle["name"], bundle["version"], bundle["cases"]) == ("tiny", "1.5", 3)
    (larynx,) = bundle["organs"]
    assert larynx["flags"] == {"OK": 1, "REVIEW": 1, "REJECT": 1}
    assert larynx["volume_ml"]["median"] == 20.0
    assert larynx["predicted_dice"]["count"] == 2
    weeks = larynx["weeks"]
    assert [week["week"] for week in weeks] == [week_of(OLD), week_of(OLD + 14 * DAY)]
    assert weeks[0]["volume_ml"]["median"] == 15.0
    assert weeks[1]["predicted_dice"] is None


def test_time_to_delivery_is_from_the_last_image_to_the_destination(ledger: Engine, layout: Layout) -> None:
    for number in (1, 2, 3):
        delivered(ledger, layout, number, OLD + number)
    with reading(ledger) as session:
        times = quality_shape(session, 0.0, OLD + DAY)["delivery_seconds"]
    assert (times["count"], times["median"], times["p95"]) == (3, 120.0, 174.0)


def test_reruns_releases_and_looks_tell_nothing_of_how_long_contours_take(ledger: Engine, layout: Layout) -> None:
    numbers = [delivered(ledger, layout, number, OLD + number, organ("OK", 1.0)) for number in (1, 2, 3)]
    with writing(ledger) as session:
        session.get_one(Job, numbers[0]).run = 2
        session.get_one(Job, numbers[1]).released_by = "anna"
        session.get_one(Job, numbers[2]).no_send = True
    with reading(ledger) as session:
        shape = quality_shape(session, 0.0, OLD + DAY)
    assert shape["delivery_seconds"]["count"] == 0
    assert shape["bundles"][0]["cases"] == 2, "a look alone is no case"


def test_days_without_a_job_are_in_the_throughput_too(ledger: Engine, layout: Layout) -> None:
    delivered(ledger, layout, 1, OLD)
    delivered(ledger, layout, 2, OLD + 3 * DAY)
    with reading(ledger) as session:
        days = quality_shape(session, 0.0, OLD + 9 * DAY)["throughput"]
    assert [day["jobs"] for day in days] == [1, 0, 0, 1]
    assert days[0]["delivered"] == 1


def test_an_empty_ledger_has_no_quality_and_no_error(ledger: Engine) -> None:
    with reading(ledger) as session:
        shape = quality_shape(session, 0.0, 1.0)
    assert (shape["bundles"], shape["throughput"], shape["delivery_seconds"]["median"]) == ([], [], None)


def test_percentiles_lie_between_neighbours_in_proportion() -> None:
    assert percentile([1.0], 0.95) == 1.0
    assert percentile([3.0, 1.0], 0.5) == 2.0
    assert spread([]) is None


def test_the_version_of_several_bundles_is_known_where_each_is() -> None:
    assert version_of("a+b", {"a": "1.5", "b": "2.0"}) == "1.5+2.0"
    assert version_of("a+c", {"a": "1.5"}) is None
    assert version_of(None, {}) is None
