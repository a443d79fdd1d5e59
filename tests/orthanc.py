"""Orthanc, as tests start it: a PACS, or a planning system that receives."""

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.peers import ENVIRONMENT, program
from tests.world import ROOT, free_port, wait_for

LUA = ROOT / "deploy" / "orthanc" / "autoforward.lua"


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
        return json.loads(self.fetch(path))

    def fetch(self, path: str, body: bytes | None = None) -> bytes:
        """What is answered to GET, or to POST where there is a body."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", body, timeout=60) as answer:
            found: bytes = answer.read()
            return found

    def instances(self, modality: str) -> list[dict[str, Any]]:
        """The tags of every instance of a modality."""
        found = [self.ask(f"/instances/{one}/simplified-tags") for one in self.ask("/instances")]
        return [tags for tags in found if tags.get("Modality") == modality]


def program_at(name: str) -> str:
    path = Path("/usr/sbin") / name
    return str(path) if path.exists() else program(name)
