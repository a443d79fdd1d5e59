"""/healthz, /readyz and /metrics."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from rtseg_daemon.ledger import supervision
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.jobs import Outcome, claim_job, create_job, finish_segmentation
from rtseg_daemon.ledger.leases import Lease
from rtseg_daemon.ledger.schema import Series
from rtseg_daemon.ledger.series import last_instance_id
from rtseg_daemon.ledger.states import JobState
from rtseg_daemon.storage import lock_storage
from rtseg_daemon.web.place import Place
from rtseg_daemon.web.rest.metrics import text
from tests.dashboard import browser, make_place, program
from tests.shadows import delivered_case, shadow_job
from tests.unit.upkeep.test_housekeeping import deliver, stored_series
from tests.world import ROOT, wait_for

DEPLOY = ROOT / "deploy"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path)


@pytest.fixture
def child(place: Place) -> Iterator["subprocess.Popen[bytes]"]:
    """A daemon as the ledger and the lock tell of it. Its receiver is a process that sleeps."""
    lock = lock_storage(place.layout)
    process = subprocess.Popen(["sleep", "600"])
    with writing(place.engine) as session:
        supervision.note_process(session, "receiver", process.pid, "running", 0)
        supervision.note_pulse(session, supervision.Pulse(os.getpid(), time.monotonic()))
    yield process
    process.kill()
    process.wait()
    os.close(lock)


def test_a_process_that_hangs_is_told(place: Place, child: "subprocess.Popen[bytes]") -> None:
    client = browser(place)
    assert (client.get("/healthz").status_code, client.get("/readyz").status_code) == (200, 200)
    child.send_signal(signal.SIGSTOP)
    wait_for(lambda: client.get("/healthz").status_code == 503, 10)
    assert client.get("/readyz").status_code == 503
    assert "stopped by a signal" in client.get("/healthz").json()["problems"][0]
    child.send_signal(signal.SIGCONT)
    wait_for(lambda: client.get("/healthz").status_code == 200, 10)


@pytest.mark.usefixtures("child")
def test_a_process_that_is_silent_is_told(place: Place) -> None:
    with writing(place.engine) as session:
        pulse = supervision.Pulse(os.getpid(), time.monotonic(), {"worker-0": 40.0})
        supervision.note_pulse(session, pulse)
    assert browser(place).get("/healthz").status_code == 503


@pytest.mark.usefixtures("child")
def test_a_supervisor_that_stands_still_is_told(place: Place) -> None:
    with writing(place.engine) as session:
        supervision.note_pulse(session, supervision.Pulse(os.getpid(), time.monotonic() - 90))
    assert browser(place).get("/healthz").status_code == 503


def test_no_daemon_is_not_healthy(place: Place) -> None:
    assert browser(place).get("/healthz").status_code == 503


@pytest.mark.usefixtures("child")
def test_a_ledger_that_is_gone_is_told(place: Place) -> None:
    client = browser(place)
    client.get("/healthz")
    (place.layout.directory / "rtseg.db").rename(place.layout.directory / "away.db")
    for path in ("/healthz", "/readyz"):
        assert client.get(path).status_code == 503


def test_a_stranger_is_told_no_more_than_yes_or_no(tmp_path: Path) -> None:
    tls = {"certificate": "c", "key": "k"}
    place = make_place(tmp_path, host="0.0.0.0", names=["rtseg.example"], tls=tls)
    assert browser(place).get("/healthz").json() == {"ok": False}


def test_metrics_are_open_on_loopback_and_need_a_token_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert browser(make_place(tmp_path / "a")).get("/metrics").status_code == 200
    open_to_all = make_place(tmp_path / "b", host="0.0.0.0", names=["rtseg.example"], proxies=["10.0.0.4"])
    client = program(open_to_all)
    assert client.get("/metrics").status_code == 403, "not by the proxy"


def segmented(place: Place) -> int:
    """A job with two organs and its seconds per stage, of a patient with a telling name."""
    series = stored_series(place.engine, place.layout)
    rois = [
        {"name": "Brainstem", "flag": "OK", "volume_ml": 25.0},
        {"name": "Parotid_L", "flag": "REVIEW", "volume_ml": 31.5},
    ]
    with writing(place.engine) as session:
        session.get_one(Series, series).patient_id = "CANARY^PATIENT"
        job = create_job(session, series, last_instance_id(session, series), "tiny", "all")
        claim_job(session, "worker-0-1")
        outcome = Outcome("d", [], rois=rois, seconds={"infer": 3.5}, rtstruct_path="results/1/RTSTRUCT.dcm")
        finish_segmentation(session, Lease(job.id, "worker-0-1", 1), outcome, ["tps"])
        return job.id


def test_results_are_counted_as_they_come_and_name_no_patient(place: Place) -> None:
    text(place)  # counting begins
    job = segmented(place)
    deliver(place.engine, job)
    told = text(place).decode()
    assert 'rtseg_organs_total{bundle="tiny",flag="REVIEW",organ="Parotid_L"} 1.0' in told
    assert 'rtseg_organ_volume_ml_sum{bundle="tiny",organ="Brainstem"} 25.0' in told
    assert 'rtseg_stage_seconds_count{stage="infer"} 1.0' in told
    assert 'rtseg_delivery_seconds_count{destination="tps"} 1.0' in told
    assert text(place).decode().count('flag="REVIEW",organ="Parotid_L"} 1.0') == 1, "counted once"
    assert "CANARY" not in told
    assert "1.3.1" not in told, "no series either"


def named_in(expression: str) -> set[str]:
    return set(re.findall(r"\brtseg_[a-z_]+", expression))


def expressions() -> list[str]:
    """Every query of the dashboard for Grafana and of the alert rules."""
    board = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    rules = yaml.safe_load((DEPLOY / "prometheus-rules.yaml").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    return [*queries, *(rule["expr"] for group in rules["groups"] for rule in group["rules"])]


def test_every_metric_that_a_panel_or_an_alert_names_exists(place: Place) -> None:
    text(place)
    deliver(place.engine, segmented(place))
    told = text(place).decode()
    there = named_in(told)
    found = expressions()
    assert len(found) > 15
    missing = {name for expression in found for name in named_in(expression)} - there
    assert missing == set()


def test_contours_of_a_shadow_are_counted_as_nobodys_result(place: Place) -> None:
    text(place)  # counting begins
    case = delivered_case(place.engine, place.layout)
    text(place)
    shadow_job(place.engine, case, JobState.SEGMENTED)
    shadow_job(place.engine, delivered_case(place.engine, place.layout, 2), JobState.FAILED)
    told = text(place).decode()
    assert 'flag="REJECT"' not in told
    assert 'rtseg_jobs_ended_total{state="FAILED"}' not in told
    assert 'rtseg_jobs{state="FAILED"} 0' in told
    assert 'rtseg_shadow_jobs{state="FAILED"} 1' in told
