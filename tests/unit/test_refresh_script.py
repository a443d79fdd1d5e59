"""The scheduled refresh: the very script of deploy/, with commands that note what they are asked and change nothing."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from rtseg_training.cli.app import app as training
from typer.testing import CliRunner

from rtseg_daemon.cli.feedback import app as feedback

DEPLOY = Path(__file__).parents[2] / "deploy"

NOTES = """#!/bin/sh
for word in "$0" "$@"; do printf '%s\\t' "$word"; done >> "$NOTED"; echo >> "$NOTED"
case "$*" in
*"feedback export"*) mkdir -p "$WORK/sets/clinic"; cp "$MANIFEST" "$WORK/sets/clinic/manifest.json";;
refresh*) [ ! -f "$STOP" ] || exit 143;;
esac
"""


class Runs:
    """The script's surroundings."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.noted, self.stop = folder, folder / "noted", folder / "stop"
        self.made = folder / "made"
        (folder / "bin").mkdir()
        for name in ("rtseg-daemon", "rtseg-train"):
            (folder / "bin" / name).write_text(NOTES)
            (folder / "bin" / name).chmod(0o755)

    def run(self, cases: int, **environment: str) -> tuple[int, list[list[str]]]:
        """Exit status, and the commands that were given."""
        manifest = {"cases": [{"name": f"ct_{k}"} for k in range(cases)]}
        (self.folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
        self.noted.write_text("")
        known = {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "NOTED": str(self.noted)}
        known |= {"MANIFEST": str(self.folder / "manifest.json"), "STOP": str(self.stop)}
        known |= {"MODELS": "/models", "WORK": str(self.made), "CONFIG": "/etc/rtseg/config.yaml"}
        done = subprocess.run(
            [str(DEPLOY / "refresh.sh")],
            env=known | environment,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        words = [line.rstrip("\t").split("\t") for line in self.noted.read_text().splitlines()]
        return done.returncode, [[Path(line[0]).name, *line[1:]] for line in words]


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def accepted(words: list[str]) -> bool:
    """Whether the program knows this command and every option of it."""
    program, *rest = words
    app, (name, *arguments) = (feedback, rest[1:]) if program == "rtseg-daemon" else (training, rest)
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "300"}).output
    return all(re.search(rf"{word}\b", shown) for word in arguments if word.startswith("--"))


def test_a_refresh_exports_divides_trains_on_and_calibrates_by_commands_that_exist(runs: Runs) -> None:
    status, commands = runs.run(12, OLD="/sets/old /sets/older", LIMIT="10h")
    assert status == 0
    assert [" ".join(words[:3]) for words in commands] == [
        "rtseg-daemon feedback export",
        f"rtseg-train split {runs.made}/sets/{version(commands)}",
        "rtseg-train refresh /models/han-oar",
        f"rtseg-train calibrate {runs.made}/candidates/han-oar/{version(commands)}",
    ]
    assert all(map(accepted, commands))
    assert "--steady" in commands[1]
    mixed = [words for flag, words in zip(commands[2], commands[2][1:], strict=False) if flag == "--data"]
    assert mixed[1:] == ["/sets/old", "/sets/older"]
    assert "activate" not in str(commands)


def version(commands: list[list[str]]) -> str:
    return commands[2][commands[2].index("--version") + 1]


def test_few_new_cases_are_not_worth_a_refresh(runs: Runs) -> None:
    assert [words[1] for words in runs.run(9)[1]] == ["feedback"]
    assert len(runs.run(12)[1]) == 4
    assert len(runs.run(15)[1]) == 1, "three new ones"
    assert len(runs.run(22)[1]) == 4


def test_what_the_limit_stopped_goes_on_with_the_set_that_it_began_with(runs: Runs) -> None:
    runs.stop.touch()
    status, commands = runs.run(12)
    assert (status, len(commands)) == (143, 3)
    runs.stop.unlink()
    status, again = runs.run(40)
    assert (status, [words[1] for words in again]) == (0, ["feedback", "refresh", "calibrate"])
    assert again[1][1:] == commands[2][1:]


def test_timer_service_and_slurm_script_start_the_same_script() -> None:
    service = (DEPLOY / "rtseg-refresh.service").read_text()
    assert re.findall(r"^ExecStart=(.+)$", service, re.MULTILINE) == ["/opt/rtseg/bin/refresh.sh"]
    assert "Nice=19" in service
    assert (DEPLOY / "rtseg-refresh.slurm").read_text().rstrip().endswith("exec refresh.sh")
    assert "OnCalendar=" in (DEPLOY / "rtseg-refresh.timer").read_text()
