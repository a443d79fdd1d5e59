"""The text that a monitoring system reads, and that its numbers are the ledger's."""

import re
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from rtseg_daemon.config.file import Config
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.events import raise_alarm
from rtseg_daemon.ledger.schema import Series
from rtseg_daemon.ledger.states import DeliveryState, JobState, SeriesState
from rtseg_daemon.storage import Layout
from rtseg_daemon.upkeep.chores import Chore, Housekeeper, Upkeep, chores_for, write_metrics
from rtseg_daemon.upkeep.metrics import Measurements, Metric, metrics_of, metrics_text, rendered
from tests.unit.upkeep.test_housekeeping import deliver, no_receiver, stored_job, stored_series
from tests.world import wait_for

SAMPLE = re.compile(r'([a-z_]+)(\{[a-z]+="(?:[^"\\\n]|\\.)*"\})? (\S+)')


def status(**changes: Any) -> dict[str, Any]:
    nothing = {
        "jobs": dict.fromkeys(map(str, JobState), 0),
        "shadow_jobs": {"SEGMENTED": 2},
        "series": dict.fromkeys(map(str, SeriesState), 0),
        "deliveries": dict.fromkeys(map(str, DeliveryState), 0),
        "returned": {"NAMES": 3},
        "oldest_waiting_seconds": None,
        "destinations": [],
        "unsent_alarms": 0,
        "unacknowledged_alarms": 0,
        "rejected_associations": {},
    }
    return nothing | changes


def facts(**changes: Any) -> Measurements:
    given: dict[str, Any] = {"status": status(), "late_series": 0, "free_bytes": 10**12, "finished": {}, "now": 2.5}
    return Measurements(**given | changes)


def parsed(text: str) -> dict[str, float]:
    """`name{labels}` -> value; every line that is no comment must be a sample."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found = [SAMPLE.fullmatch(line) for line in lines]
    assert all(found), lines
    return {match[1] + (match[2] or ""): float(match[3]) for match in found if match}


def test_every_metric_has_one_help_and_one_type_line_before_its_samples() -> None:
    text = metrics_text(facts(finished={"sweep": 1.0}))
    assert text.endswith("\n")
    names = [metric.name for metric in metrics_of(facts())]
    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch(r"rtseg_[a-z_]+", name)
        lines = [line for line in text.splitlines() if re.search(rf"(^|\s){name}(\s|{{|$)", line)]
        assert lines[0].startswith(f"# HELP {name} ")
        assert lines[1] == f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}"
        assert not any(line.startswith("#") for line in lines[2:])


def test_the_numbers_of_the_status_are_given_by_state_none_left_out() -> None:
    jobs = status()["jobs"] | {"HELD": 3}
    values = parsed(metrics_text(facts(status=status(jobs=jobs, oldest_waiting_seconds=12.25), late_series=2)))
    assert values['rtseg_jobs{state="HELD"}'] == 3
    assert values['rtseg_deliveries{state="WAITING"}'] == 0
    assert sum(name.startswith("rtseg_series{") for name in values) == len(SeriesState)
    assert values["rtseg_oldest_waiting_seconds"] == 12.25
    assert values["rtseg_series_late"] == 2
    assert values["rtseg_storage_free_bytes"] == 10**12
    assert values["rtseg_metrics_timestamp_seconds"] == 2.5


def test_a_destination_that_was_never_tried_is_neither_up_nor_down() -> None:
    known = [{"name": name, "up": up} for name, up in (("a", True), ("b", False), ("c", None))]
    values = parsed(metrics_text(facts(status=status(destinations=known))))
    ups = {name: value for name, value in values.items() if name.startswith("rtseg_destination_up")}
    assert ups == {'rtseg_destination_up{destination="a"}': 1, 'rtseg_destination_up{destination="b"}': 0}


def test_names_and_words_that_would_break_the_format_are_escaped() -> None:
    text = rendered(Metric("rtseg_x", 'one\ntwo \\ "three"', [({"name": 'a"b\\c\nd'}, 1)]))
    assert text.splitlines() == [
        '# HELP rtseg_x one\\ntwo \\\\ "three"',
        "# TYPE rtseg_x gauge",
        'rtseg_x{name="a\\"b\\\\c\\nd"} 1',
    ]


@pytest.fixture
def upkeep(config: Config, layout: Layout, ledger: Engine) -> Upkeep:
    return Upkeep(config, layout, ledger, no_receiver)


def written(upkeep: Upkeep) -> dict[str, float]:
    write_metrics(upkeep)
    return parsed(upkeep.layout.metrics.read_text())


def test_a_late_series_raises_the_metric_until_it_is_delivered(upkeep: Upkeep) -> None:
    """Also after its alarm, which is raised once, while the metric says how it is."""
    assert written(upkeep)["rtseg_series_late"] == 0
    series = stored_series(upkeep.engine, upkeep.layout)
    job = stored_job(upkeep.engine, upkeep.layout, series)
    assert written(upkeep)["rtseg_series_late"] == 1
    with writing(upkeep.engine) as session:
        raise_alarm(session, "late", f"late:{series}:1000", "late")
    values = written(upkeep)
    assert (values["rtseg_series_late"], values["rtseg_alarms_unsent"]) == (1, 1)
    assert values['rtseg_jobs{state="SEGMENTED"}'] == 1
    assert values["rtseg_oldest_waiting_seconds"] > 1e6
    deliver(upkeep.engine, job)
    values = written(upkeep)
    assert values["rtseg_series_late"] == 0
    assert values['rtseg_deliveries{state="SENT"}'] == 1


def test_a_series_that_has_just_come_is_not_late(upkeep: Upkeep) -> None:
    series = stored_series(upkeep.engine, upkeep.layout)
    stored_job(upkeep.engine, upkeep.layout, series)
    with writing(upkeep.engine) as session:
        session.get_one(Series, series).last_received_at = time.time()
    assert written(upkeep)["rtseg_series_late"] == 0


def test_the_file_is_the_services_alone_replaced_whole_and_names_no_patient(upkeep: Upkeep) -> None:
    series = stored_series(upkeep.engine, upkeep.layout)
    with writing(upkeep.engine) as session:
        row = session.get_one(Series, series)
        row.patient_id, row.description = "CANARY-7", "CANARY-8"
    write_metrics(upkeep)
    before = upkeep.layout.metrics.stat()
    write_metrics(upkeep)
    assert upkeep.layout.metrics.stat().st_ino != before.st_ino
    assert stat.S_IMODE(before.st_mode) == 0o600
    assert [path for path in upkeep.layout.directory.iterdir() if path.suffix == ".part"] == []
    text = upkeep.layout.metrics.read_text()
    assert "CANARY" not in text
    assert "1.3.1" not in text


def test_the_supervisor_writes_it_and_says_when_each_chore_last_ended_well(upkeep: Upkeep, tmp_path: Path) -> None:
    def breaks(_house: Upkeep) -> None:
        raise OSError("on purpose")

    assert "metrics" in [chore.name for chore in chores_for(upkeep.config)]
    metrics = Chore("metrics", 0.1, write_metrics)
    keeper = Housekeeper(upkeep, (metrics, Chore("idle", 0.1, lambda _: None), Chore("broken", 0.1, breaks)))
    began = time.time()
    keeper.start()
    try:
        name = 'rtseg_chore_finished_timestamp_seconds{chore="%s"}'
        path = upkeep.layout.metrics
        wait_for(lambda: path.exists() and name % "idle" in parsed(path.read_text()), 10)
    finally:
        keeper.stop(5)
    values = parsed(path.read_text())
    assert values[name % "idle"] >= began - 0.001
    assert name % "broken" not in values
