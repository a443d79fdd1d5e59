"""Orthanc as the PACS that forwards by the Lua script we ship, and Orthanc as the planning system that receives."""

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.peers import ENVIRONMENT, program, storescu
from tests.world import Daemon, free_port, patient, wait_for, write_config

LUA = Path(__file__).parents[2] / "deploy" / "orthanc" / "autoforward.lua"

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


class Orthanc:
    """One Orthanc on loopback; `modalities` are the partners it knows."""

    def __init__(self, folder: Path, ae_title: str, **more: Any) -> None:
        folder.mkdir(parents=True)
        self.folder, self.port, self.http = folder, free_port(), free_port()
        settings = {
            "Name": ae_title,
            "StorageDirectory": str(folder),
            "IndexDirectory": str(folder),
            "DicomAet": ae_title,
            "DicomPort": self.port,
            "HttpPort": self.http,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAlwaysAllowEcho": True,
            "DicomAlwaysAllowStore": True,
        }
        (folder / "orthanc.json").write_text(json.dumps(settings | more))
        (folder / "autoforward.lua").write_text(self.script())

    def script(self) -> str:
        """The script we ship, with this Orthanc's address and a short pause."""
        text = LUA.read_text()
        for shipped, here in (
            ("127.0.0.1:8042", f"127.0.0.1:{self.http}"),
            ("PAUSE_SECONDS = 60", "PAUSE_SECONDS = 2"),
        ):
            assert shipped in text
            text = text.replace(shipped, here)
        return text

    @contextmanager
    def running(self) -> Iterator["Orthanc"]:
        command = [program_at("Orthanc"), str(self.folder / "orthanc.json")]
        with (self.folder / "log").open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=ENVIRONMENT)
        try:
            wait_for(self._answers, 30, (self.folder / "log").read_text)
            yield self
        finally:
            process.terminate()
            process.wait(20)

    def _answers(self) -> bool:
        try:
            return bool(self.ask("/system"))
        except OSError:
            return False

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=10) as answer:
            return json.loads(answer.read())

    def instances(self, modality: str) -> list[dict[str, Any]]:
        """The tags of every instance of a modality."""
        found = [self.ask(f"/instances/{one}/simplified-tags") for one in self.ask("/instances")]
        return [tags for tags in found if tags.get("Modality") == modality]


def program_at(name: str) -> str:
    path = Path("/usr/sbin") / name
    return str(path) if path.exists() else program(name)


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
