"""dcmtk's programs as PACS and planning system. Tests that need them are skipped where they are not installed."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from tests.world import free_port, wait_for

ENVIRONMENT = os.environ | {"TCP_NODELAY": "1"}


def program(name: str) -> str:
    """The path of a Debian program; skips the test where it is missing, unless RTSEG_REQUIRE_PEERS=1."""
    path = Path("/usr/bin") / name  # pynetdicom puts programs of the same names into a virtual environment
    if not path.exists() and shutil.which(name) is None:
        message = f"{name} is not installed (Debian: dcmtk, plastimatch, dicom3tools)"
        if os.environ.get("RTSEG_REQUIRE_PEERS") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return str(path)


def storescu(
    port: int, files: Sequence[Path], calling: str = "PACS", called: str = "RTSEG", options: Sequence[str] = ()
) -> None:
    """Send files with dcmtk's storescu; fails the test if it does not end well."""
    titles = ["-aet", calling, "-aec", called]
    command = [program("storescu"), *titles, *options, "127.0.0.1", str(port), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


class Storescp:
    """dcmtk's storescp as the planning system; what arrives lies in `folder`, one file per SOP Instance UID."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def running(self, *options: str) -> Iterator["Storescp"]:
        where = ["-od", str(self.folder), "--fork", "-pm"]
        command = [program("storescp"), "-aet", "TPS", *where, *options, str(self.port)]
        process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: self._answers() or "--refuse" in options, 20)
            yield self
        finally:
            process.terminate()
            process.wait(10)

    def _answers(self) -> bool:
        command = [program("echoscu"), "-aet", "TEST", "-aec", "TPS", "127.0.0.1", str(self.port)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    @property
    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if path.is_file())

    @property
    def structure_sets(self) -> list[Dataset]:
        found = [dcmread(path) for path in self.files]
        return [dataset for dataset in found if dataset.Modality == "RTSTRUCT"]


class Archive:
    """dcmtk's dcmqrscp as a PACS that knows the daemon, and answers C-FIND, C-MOVE and C-GET."""

    def __init__(self, folder: Path, daemon_port: int) -> None:
        self.port = free_port()
        (folder / "PACS").mkdir(parents=True)
        self.config = folder / "dcmqrscp.cfg"
        self.config.write_text(
            f"NetworkTCPPort = {self.port}\nMaxPDUSize = 16384\nMaxAssociations = 8\n"
            f"HostTable BEGIN\ndaemon = (RTSEG, 127.0.0.1, {daemon_port})\nHostTable END\n"
            "VendorTable BEGIN\nVendorTable END\n"
            f"AETable BEGIN\nPACS {folder / 'PACS'} RW (20, 1024mb) ANY\nAETable END\n"
        )

    @contextmanager
    def running(self) -> Iterator["Archive"]:
        command = [program("dcmqrscp"), "-c", str(self.config)]
        process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(self._answers, 20)
            yield self
        finally:
            process.terminate()
            process.wait(10)

    def _answers(self) -> bool:
        command = [program("echoscu"), "-aet", "TEST", "-aec", "PACS", "127.0.0.1", str(self.port)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
