"""Orthanc as the PACS that forwards by the Lua script we ship, and Orthanc as the planning system that receives."""

from pathlib import Path

import pytest

from tests.orthanc import Orthanc
from tests.peers import storescu
from tests.world import Daemon, free_port, patient, wait_for, write_config

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


def test_orthanc_forwards_a_stable_series_and_receives_one_structure_set(tmp_path: Path) -> None:
    port = free_port()
    forwarding = {
        "StableAge": 2,
        "LuaScripts": [str(tmp_path / "pacs" / "autoforward.lua")],
        "DicomModalities": {"rtseg": ["RTSEG", "127.0.0.1", port]},
    }
    pacs, tps = Orthanc(tmp_path / "pacs", "PACS", **forwarding), Orthanc(tmp_path / "tps", "TPS")
    callers = [{"ae_title": "PACS", "host": "127.0.0.1"}]
    config = write_config(tmp_path, tps.port, dicom={"port": port, "allowed_callers": callers})
    daemon = Daemon(config, tmp_path / "daemon.log")
    files = patient(tmp_path / "ct")
    with pacs.running(), tps.running():
        storescu(pacs.port, files, called="PACS")
        # the daemon is not there yet when the series is stable: the script has the failed job sent again
        wait_for(lambda: any(job["State"] == "Failure" for job in pacs.ask("/jobs?expand")), 40)
        daemon.start()
        try:
            job = daemon.wait_for_state("DELIVERED", 60)
        finally:
            daemon.stop()
        (received,) = tps.instances("RTSTRUCT")
    assert received["SOPInstanceUID"] == job["rtstruct_sop_instance_uid"]
    assert received["ApprovalStatus"] == "UNAPPROVED"
