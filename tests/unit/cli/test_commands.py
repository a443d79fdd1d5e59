"""The admin commands: shapes of `--json`, exit statuses, and what a person reads when something is wrong."""

import json
import os
import pwd
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from sqlalchemy import Engine
from typer.testing import CliRunner

from rtseg_daemon import cli
from rtseg_daemon.cli import common
from rtseg_daemon.config.file import load_config
from rtseg_daemon.demo.play import DemoError, make_room
from rtseg_daemon.ledger import jobs
from rtseg_daemon.ledger.engine import open_ledger, writing
from rtseg_daemon.ledger.leases import Lease
from rtseg_daemon.ledger.migrate import upgrade
from rtseg_daemon.ledger.schema import Job
from rtseg_daemon.ledger.series import last_instance_id
from rtseg_daemon.ledger.supervision import note_process
from rtseg_daemon.storage import Layout, lock_storage
from rtseg_daemon.work import case
from tests.arrivals import receive
from tests.stub import load_stub
from tests.tiny import make_bundle
from tests.unit.ledger.test_jobs import OUTCOME, arrival
from tests.world import patient, write_config


class Desk:
    """An admin at a configured daemon that is not running."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.config = write_config(folder, 1)
        self.monkeypatch, self.capsys = monkeypatch, capsys
        settings = load_config(self.config)
        self.layout = Layout(settings.storage.directory)
        self.layout.create()
        self.ledger: Engine = open_ledger(settings.database_url)
        upgrade(self.ledger)

    def run(self, *arguments: str, config: bool = True) -> tuple[int, str, str]:
        """Exit status, stdout and stderr of a command."""
        named = ["--config", str(self.config)] if config else []
        self.monkeypatch.setattr("sys.argv", ["rtseg-daemon", *arguments, *named])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = self.capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    def ask(self, *arguments: str) -> Any:
        status, out, err = self.run(*arguments, "--json")
        assert status == 0, err
        return json.loads(out)

    def job(self, state: str = "QUEUED") -> int:
        with writing(self.ledger) as session:
            series = receive(session, arrival()).series_id
            job = jobs.create_job(session, series, last_instance_id(session, series), "tiny", "all")
            if state != "QUEUED":
                jobs.claim_job(session, "w")
            if state == "HELD":
                jobs.hold(session, job.id, "two slices are missing", lease=Lease(job.id, "w", 1))
            if state == "FAILED":
                jobs.fail(session, job.id, "no engine", lease=Lease(job.id, "w", 1))
            if state == "SEGMENTED":
                jobs.finish_segmentation(session, Lease(job.id, "w", 1), OUTCOME, ["tps"])
            return job.id


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    desk = Desk(tmp_path, monkeypatch, capsys)
    yield desk
    desk.ledger.dispose()


def test_jobs_list_has_the_promised_keys(desk: Desk) -> None:
    desk.job("SEGMENTED")
    (job,) = desk.ask("jobs", "list")
    promised = "id state series_instance_uid study_instance_uid patient_id bundle route attempts created_at updated_at"
    assert set(f"{promised} error rtstruct_path rtstruct_sop_instance_uid flags".split()) <= set(job)
    assert job["rtstruct_path"] == str(desk.layout.directory / "results/1/RTSTRUCT.dcm")


def test_series_show_has_instances_and_jobs_and_is_found_by_uid_and_number(desk: Desk) -> None:
    job = desk.job()
    by_uid, by_number = desk.ask("series", "show", "1.3.1"), desk.ask("series", "show", "1")
    assert by_uid == by_number
    assert by_uid["jobs"] == [job]
    (instance,) = by_uid["instances"]
    assert set(instance) == {"sop_instance_uid", "path", "sha256"}


def test_a_held_job_is_released_with_who_and_why_in_its_events(desk: Desk) -> None:
    job = desk.job("HELD")
    status, _, err = desk.run("jobs", "release", str(job))
    assert status == 2, "a reason is required"
    assert "--why" in err
    assert desk.run("jobs", "release", str(job), "--why", " ")[0] == 2
    assert desk.ask("jobs", "release", str(job), "--why", "gap is below the organs")["state"] == "QUEUED"
    last = desk.ask("jobs", "events", str(job))[-1]
    assert (last["what"], last["detail"]) == ("released", {"why": "gap is below the organs"})
    assert last["who"] not in ("", "daemon")


def test_events_of_deliveries_name_their_destination_and_who_tried_again(desk: Desk) -> None:
    job = desk.job("SEGMENTED")
    assert desk.run("deliveries", "retry", "1")[0] == 0
    events = desk.ask("jobs", "events", str(job))
    assert [event["what"] for event in events if event["destination"] == "tps"] == ["created", "retried"]
    assert {event["destination"] for event in events} == {None, "tps"}
    (again,) = [event for event in events if event["what"] == "retried"]
    assert (again["destination"], again["who"]) == ("tps", common.who())
    assert "tps" in desk.run("jobs", "events", str(job))[1]


def test_research_is_not_released_to_a_route_that_does_not_allow_it(desk: Desk) -> None:
    make_bundle(desk.layout.directory.parent / "models", "trial", intended_use="research")
    job = desk.job("HELD")
    with writing(desk.ledger) as session:
        session.get_one(Job, job).bundle = "trial"
    status, _, err = desk.run("jobs", "release", str(job), "--why", "looked")
    assert (status, "research" in err) == (1, True)


def test_what_is_stored_is_sent_by_hand_though_its_bundle_is_gone_but_no_research(desk: Desk) -> None:
    job = desk.job("SEGMENTED")
    with writing(desk.ledger) as session:
        session.get_one(Job, job).bundle = "gone"
    assert desk.run("deliveries", "retry", "1")[0] == 0
    make_bundle(desk.layout.directory.parent / "models", "gone", intended_use="research")
    status, _, err = desk.run("deliveries", "retry", "1")
    assert (status, "bundle gone is for research only" in err) == (1, True)


def test_retry_rerun_and_cancel(desk: Desk) -> None:
    job = desk.job("FAILED")
    assert desk.ask("jobs", "retry", str(job))["state"] == "QUEUED"
    again = desk.ask("jobs", "rerun", str(job), "--no-send")
    assert (again["id"], again["run"]) == (job + 1, 2)
    assert desk.ask("jobs", "cancel", str(again["id"]))["state"] == "CANCELLED"


def test_what_does_not_fit_the_state_is_refused_with_the_state_named(desk: Desk) -> None:
    job = desk.job()
    status, out, err = desk.run("jobs", "retry", str(job))
    assert (status, out) == (1, "")
    assert err == f"rtseg-daemon: job {job} is QUEUED; only a FAILED job can be retried\n"
    assert desk.run("jobs", "show", "99")[0] == 1
    assert desk.run("jobs", "rerun", str(job), "--bundle", "none")[0] == 1


def test_status_counts_everything(desk: Desk) -> None:
    desk.job("HELD")
    status = desk.ask("status")
    assert status["jobs"]["HELD"] == 1
    assert status["oldest_waiting_seconds"] is None
    assert status["destinations"][0]["name"] == "tps"
    assert status["disk"]["free_gb"] > 0
    assert status["running"] is False


def test_status_shows_processes_only_while_a_daemon_lives(desk: Desk) -> None:
    with writing(desk.ledger) as session:
        note_process(session, "worker-cpu", 4711, "running", 0)
    assert desk.ask("status")["processes"] == []  # left by a supervisor that was killed
    assert "not running" in desk.run("status")[1]
    held = lock_storage(desk.layout)
    try:
        status = desk.ask("status")
    finally:
        os.close(held)
    assert (status["running"], status["workers"][0]["pid"]) == (True, 4711)


def test_a_check_of_the_status_fails_unless_everything_runs(desk: Desk) -> None:
    assert desk.run("status", "--check")[0] == 1
    held = lock_storage(desk.layout)
    try:
        for state, expected in (("running", 0), ("restarting", 1)):
            with writing(desk.ledger) as session:
                note_process(session, "receiver", 4711, state, 0)
            assert desk.run("status", "--check")[0] == expected
    finally:
        os.close(held)


@pytest.mark.parametrize(
    "command", [["jobs", "list"], ["jobs", "show", "1"], ["jobs", "events", "1"], ["series", "list"], ["status"]]
)
def test_tables_for_people_show_what_is_asked(desk: Desk, command: list[str]) -> None:
    desk.job("SEGMENTED")
    status, out, err = desk.run(*command)
    assert (status, err) == (0, "")
    assert out


def test_names_from_strangers_are_printed_as_text(desk: Desk) -> None:
    with writing(desk.ledger) as session:
        receive(session, arrival(description="[red]x[/red]\x1b[2J"))
    out = desk.run("series", "list")[1]
    assert "[red]" in "".join(out.split()).replace("│", "")
    assert "\x1b[2J" not in out


def test_models_are_listed_shown_and_verified(desk: Desk) -> None:
    (bundle,) = desk.ask("models", "list")
    assert (bundle["name"], bundle["members"]) == ("tiny", 2)
    assert desk.ask("models", "show", "tiny")["limits"]["positions"] == ["HFS"]
    assert desk.ask("models", "verify", "tiny")["ok"] is True
    weights = desk.config.parent / "models" / "tiny" / "member1.safetensors"
    weights.write_bytes(b"other")
    status, _, err = desk.run("models", "verify", "tiny")
    assert status == 1
    assert str(weights) in err
    status, printed, _ = desk.run("models", "verify", "tiny", "--json")
    assert (status, json.loads(printed)["ok"]) == (1, False)
    assert "altered" in desk.ask("models", "list")[0]["error"]


def test_the_version_is_printed(desk: Desk) -> None:
    status, out, _ = desk.run("--version", config=False)
    assert status == 0
    assert out == f"rtseg-daemon {version('rtseg-daemon')}\n"


def test_no_configuration_and_unknown_commands_are_wrong_usage(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RTSEG_CONFIG", raising=False)
    assert desk.run("jobs", "list", config=False)[0] == 2
    assert desk.run("jobs", "sing", config=False)[0] == 2
    monkeypatch.setenv("RTSEG_CONFIG", str(desk.config))
    assert desk.run("jobs", "list", "--json", config=False)[0] == 0


def test_a_missing_ledger_is_not_made(desk: Desk) -> None:
    file = desk.layout.directory / "rtseg.db"
    desk.ledger.dispose()
    for path in desk.layout.directory.glob("rtseg.db*"):
        path.unlink()
    status, _, err = desk.run("jobs", "list")
    assert status == 1
    assert "start `rtseg-daemon serve` once" in err
    assert not file.exists()


def test_doctor_finds_and_says_so(desk: Desk) -> None:
    desk.job()
    status, out, _ = desk.run("doctor", "--json")
    assert status == 1
    assert [finding["kind"] for finding in json.loads(out)] == ["instance"]


def test_echo_to_nobody_is_a_failure_and_to_an_unknown_name_wrong_usage(desk: Desk) -> None:
    assert desk.run("echo", "nobody")[0] == 2


def test_segment_of_an_empty_folder_fails_in_words(desk: Desk, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    status, _, err = desk.run("segment", str(empty), "--out", str(tmp_path / "a.dcm"), "--bundle", "tiny")
    assert status == 1
    assert "there is no CT series in" in err
    status, printed, _ = desk.run("segment", str(empty), "--out", str(tmp_path / "a.dcm"), "--bundle", "tiny", "--json")
    document = json.loads(printed)
    assert (status, document["rtstruct"], document["gate"]["verdict"]) == (1, None, "hold")
    assert "there is no CT series" in document["gate"]["reasons"][0]


def test_events_name_the_person_who_logged_in_and_not_whom_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = tmp_path / "loginuid"
    monkeypatch.setattr(common, "LOGIN_UID", login)
    monkeypatch.setenv("SUDO_USER", "somebody else")
    account = pwd.getpwuid(os.getuid()).pw_name
    assert common.who() == account, "the kernel keeps no account of logins"
    for written, expected in (
        (str(common.NO_LOGIN), account),
        (str(os.getuid()), account),
        ("2", f"{pwd.getpwuid(2).pw_name} as {account}"),
        ("54321", f"uid 54321 as {account}"),
    ):
        login.write_text(written)
        assert common.who() == expected


@pytest.mark.parametrize("name", ["daemon", "worker-0-17"])
def test_a_person_who_is_called_as_the_daemon_calls_itself_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(common, "LOGIN_UID", tmp_path / "none")
    monkeypatch.setattr(common, "account_of", lambda _uid: name)
    assert common.who() == f"account {name}"


def test_segment_of_two_series_lists_them_and_exits_2(desk: Desk, tmp_path: Path) -> None:
    from tests.world import patient

    patient(tmp_path / "ct" / "a", seed=1, slices=3)
    patient(tmp_path / "ct" / "b", seed=2, slices=3)
    status, _, err = desk.run("segment", str(tmp_path / "ct"), "--out", str(tmp_path / "a.dcm"))
    assert status == 2
    assert err.count("(3 images)") == 2


def test_segment_of_a_held_series_writes_nothing(desk: Desk, tmp_path: Path) -> None:
    from tests.world import patient

    files = patient(tmp_path / "ct")
    files[7].unlink()
    out = tmp_path / "a.dcm"
    status, printed, _ = desk.run("segment", str(tmp_path / "ct"), "--out", str(out), "--bundle", "tiny", "--json")
    document = json.loads(printed)
    assert (status, document["rtstruct"], document["gate"]["verdict"]) == (1, None, "hold")
    assert "missing at z" in document["gate"]["reasons"][0]
    assert not out.exists()


def test_help_names_every_command_of_the_contract() -> None:
    listing = CliRunner().invoke(cli.app, ["--help"]).output
    names = ["serve", "segment", "demo", "convert", "status", "series", "jobs", "deliveries", "models", "config"]
    for name in [*names, "echo", "doctor"]:
        assert name in listing


def test_a_stopped_job_is_not_delivered_by_hand(desk: Desk) -> None:
    job = desk.job("SEGMENTED")
    with writing(desk.ledger) as session:
        delivery = session.get_one(Job, job).deliveries[0].id
    desk.ask("jobs", "cancel", str(job))
    status, _, err = desk.run("deliveries", "retry", str(delivery))
    assert status == 1
    assert "is CANCELLED" in err


def test_a_rerun_with_a_research_bundle_is_kept_here_unless_the_route_is_for_research(desk: Desk) -> None:
    make_bundle(desk.layout.directory.parent / "models", "trial", intended_use="research")
    job = str(desk.job())
    status, _, err = desk.run("jobs", "rerun", job, "--bundle", "tiny+trial")
    assert status == 1
    assert "bundle trial is for research only and route 'all' does not say `research: true`" in err
    assert len(desk.ask("jobs", "list")) == 1
    kept = desk.ask("jobs", "rerun", job, "--bundle", "tiny+trial", "--no-send")
    assert kept["bundle"] == "tiny+trial"
    assert desk.run("jobs", "rerun", str(kept["id"]))[0] == 1
    desk.config.write_text(desk.config.read_text().replace("bundle: tiny", "bundle: tiny\n  research: true"))
    assert desk.ask("jobs", "rerun", job, "--bundle", "trial")["bundle"] == "trial"


def test_rerun_of_a_job_that_is_not_there_says_so(desk: Desk) -> None:
    status, _, err = desk.run("jobs", "rerun", "99")
    assert status == 1
    assert "there is no job 99" in err


def test_segment_with_two_bundles_prints_and_writes_the_rois_of_both(desk: Desk, tmp_path: Path) -> None:
    make_bundle(desk.layout.directory.parent / "models", "trial", intended_use="research")
    desk.monkeypatch.setattr(case, "load_segmenter", load_stub)
    patient(tmp_path / "ct")
    out = tmp_path / "rs.dcm"
    printed = desk.ask("segment", str(tmp_path / "ct"), "--out", str(out), "--bundle", "tiny+trial")
    names = [roi["name"] for roi in printed["rois"]]
    assert names == ["Brainstem", "SpinalCord", "Parotid_L", "Brainstem^2", "SpinalCord^2", "Parotid_L^2"]
    assert [str(roi.ROIName) for roi in dcmread(out).StructureSetROISequence] == names
    assert [roi["flag"] for roi in printed["rois"]] == ["OK"] * 3 + ["REVIEW"] * 3
    status, _, err = desk.run("segment", str(tmp_path / "ct"), "--out", str(out), "--bundle", "tiny+tiny")
    assert status == 1
    assert "tiny+tiny names a bundle twice" in err


def test_a_demo_removes_only_what_a_demo_left(tmp_path: Path) -> None:
    mine = tmp_path / "plans"
    mine.mkdir()
    (mine / "plan.dcm").write_bytes(b"mine")
    with pytest.raises(DemoError, match="was not left by a demo"):
        make_room(mine)
    assert (mine / "plan.dcm").read_bytes() == b"mine"
    make_room(tmp_path / "demo")
    (tmp_path / "demo" / "old").write_text("old")
    make_room(tmp_path / "demo")
    assert not (tmp_path / "demo" / "old").exists()


def test_doctor_with_nothing_but_young_files_ends_with_0_and_says_so(desk: Desk) -> None:
    (desk.layout.series / "a.dcm").write_bytes(b"x")
    (found,) = desk.ask("doctor")
    assert (found["kind"], found["subject"]) == ("young", "series")
