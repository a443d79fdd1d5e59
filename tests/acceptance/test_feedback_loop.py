"""A planning system sends back what a person made of our contours: the whole daemon, dcmtk as the planning system."""

from pathlib import Path

import pytest

from rtseg_daemon.config.file import load_config
from rtseg_daemon.ledger.engine import open_ledger, reading
from rtseg_daemon.ledger.returned import all_returned
from tests.peers import storescu
from tests.structure_sets import approved
from tests.world import Daemon, Tps, patient, send, wait_for, write_config

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

CALLERS = [
    {"ae_title": "PACS", "host": "127.0.0.1"},
    {"ae_title": "TPS", "host": "127.0.0.1", "feedback": True},
]


def states(daemon: Daemon) -> list[str]:
    """Of all sets, read from the ledger without starting a process."""
    engine = open_ledger(load_config(daemon.config).database_url)
    with reading(engine) as session:
        found = [str(row.state) for row in all_returned(session)]
    engine.dispose()
    return found


def test_an_approved_set_that_storescu_sends_back_is_measured_and_listed(tmp_path: Path) -> None:
    tps = Tps()
    dicom = {"port": Daemon(write_config(tmp_path, tps.port), tmp_path / "log").port, "allowed_callers": CALLERS}
    daemon = Daemon(write_config(tmp_path, tps.port, dicom=dicom), tmp_path / "daemon.log")
    with tps.running():
        daemon.start()
        try:
            assert set(send(daemon.port, patient(tmp_path / "ct"))) == {0}
            daemon.wait_for_state("DELIVERED", 60)
            wait_for(lambda: bool(tps.structure_sets), 10)
            file = tmp_path / "approved.dcm"
            approved(tps.structure_sets[0]).save_as(file, enforce_file_format=True)
            assert "feedback" in daemon.pids()
            storescu(daemon.port, [file], calling="TPS")
            storescu(daemon.port, [file], calling="PACS")
            wait_for(lambda: states(daemon) == ["MEASURED"], 90, daemon.tail)
            [row] = daemon.ask("feedback", "list")
            assert (row["approval"], row["calling_ae"], row["job"]) == ("APPROVED", "TPS", 1)
            shape = daemon.ask("feedback", "show", str(row["id"]))
            organs = {roi["organ"]: roi for roi in shape["contours"]}
            assert organs["Brainstem"]["name"] == "Hirnstamm"
            assert organs["Brainstem"]["difference"]["untouched_whole"] is True
            assert organs["SpinalCord"]["difference"]["edited"]["left"] > 2.0
            assert all(roi["counts"] for roi in organs.values())
            assert [event["what"] for event in shape["events"]] == ["came back", "paired", "measured"]
            assert "dropped a structure set" in daemon.log.read_text()
        finally:
            daemon.stop()
