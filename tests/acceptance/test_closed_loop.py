"""The closed loop through DICOM alone: contours go to a planning system, come back edited, and say what has drifted.

Orthanc is the planning system, a script edits as people do, and 60 patients are phantoms at small size, contoured by a
network that has learned the phantom. From patient 40 on one organ is drawn larger. A candidate contours in the shadow,
is activated for what it has shown there, and is rolled back.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rtseg_training.bundle import golden
from rtseg_training.cli.app import app
from rtseg_training.learn.recipe import Member
from rtseg_training.sets.cases import make_case, save_case
from rtseg_training.sets.manifest import write_manifest
from typer.testing import CliRunner

from rtseg_daemon.anatomy.volume import Array, Volume
from rtseg_daemon.bundles import digests, models_of
from rtseg_daemon.config.file import load_config
from rtseg_daemon.config.sections import Compute
from rtseg_daemon.demo.phantom import make_phantom, write_series
from rtseg_daemon.ledger.engine import open_ledger
from rtseg_daemon.upkeep.drift.watch import raise_drift
from tests.edits import edited
from tests.orthanc import Orthanc
from tests.peers import storescu
from tests.unit.training.conftest import tiny_recipe, write_recipe
from tests.world import Daemon, free_port, wait_for, write_config

pytestmark = [
    pytest.mark.slow,
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PATIENTS, DRIFT_FROM, ORGAN, LARGER_MM = 60, 40, "Bone_Mandible", 2.0
SHADOWS = 30
ORGANS = ["Brainstem", "SpinalCord", "Bone_Mandible"]
MATRIX, EVERY = 96, 2
"""Pixels of 5.2 mm, every second slice."""


def phantoms() -> list[tuple[Volume, dict[str, Array]]]:
    """Six people at small size."""
    found = []
    for seed in range(1, 7):
        volume, masks = make_phantom(seed, matrix=MATRIX)
        spacing = (EVERY * volume.spacing_mm[0], *volume.spacing_mm[1:])
        thin = Volume(volume.array[::EVERY], spacing, volume.origin_mm)
        found.append((thin, {name: masks[name][::EVERY] for name in ORGANS}))
    return found


def make_versions(place: Path, people: list[tuple[Volume, dict[str, Array]]]) -> None:
    """Versions 1.0 and 1.1 of the bundle `tiny`: the second one has learned longer."""
    (place / "set").mkdir()
    entries = [save_case(make_case(f"p{k}", *one), place / "set") for k, one in enumerate(people)]
    write_manifest(place / "set", entries, "phantoms", [])
    recipe = tiny_recipe(classes=ORGANS, arguments={"width": 4}, steps=150)
    second = Member.model_validate({**recipe.members[1].model_dump(), "steps": 30, "optimizer": {"lr": 1e-3}})
    recipe = recipe.model_copy(update={"members": [recipe.members[0], second]})
    path = write_recipe(recipe, place / "recipe.yaml")

    def run(*words: object) -> None:
        done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        assert done.exit_code == 0, done.output

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(golden.measure_all, "__defaults__", ((1,), MATRIX))
        patch.setattr("rtseg_training.measure.evaluate.Compute", partial(Compute, backend="torch", precision="fp32"))
        run("train", path, "--data", place / "set", "--out", place / "runs")
        for member, version in (("a", "1.0"), ("b", "1.1")):
            run("export", place / "runs", "--recipe", path, "--members", member, "--data", place / "set",
                "--version", version, "--out", place / "models" / "tiny" / version,
                "--report", place / "report")  # fmt: skip


@dataclass
class Loop:
    """The daemon, the planning system, and the patients between them."""

    place: Path
    people: list[tuple[Volume, dict[str, Array]]]
    daemon: Daemon
    tps: Orthanc
    returned: list[dict[str, Any]] = field(default_factory=list)

    def patient(self, number: int) -> list[Path]:
        """One of the six people with noise of their own, as CT files."""
        volume, _ = self.people[number % len(self.people)]
        noise = np.random.default_rng(number).normal(0.0, 8.0, volume.shape)
        array = np.clip(volume.array + noise, -1024, 3071).astype(np.int16)
        return write_series(volume.with_array(array), self.place / "ct" / str(number), seed=1000 + number)

    def contoured(self, number: int) -> dict[str, Any]:
        """Send a patient's CT, and wait for the structure set at the planning system: its tags."""
        storescu(self.daemon.port, self.patient(number))
        wait_for(lambda: self.structure_set(number) is not None, 120, self.daemon.tail)
        found = self.structure_set(number)
        assert found is not None
        return found

    def structure_set(self, number: int) -> dict[str, Any] | None:
        """Of this patient, as the planning system got it from the daemon."""
        query = {"Level": "Instance", "Query": {"PatientID": f"PHANTOM-{1000 + number}", "Modality": "RTSTRUCT"}}
        for one in json.loads(self.tps.fetch("/tools/find", json.dumps(query).encode())):
            tags: dict[str, Any] = self.tps.ask(f"/instances/{one}/simplified-tags")
            if tags["StructureSetLabel"] != "PLAN":
                return tags | {"instance": one}
        return None

    def send_back(self, number: int) -> None:
        """The planning system's user edits and approves, and the planning system sends."""
        ours = self.contoured(number)
        larger = LARGER_MM if number >= DRIFT_FROM else 0.0
        body = edited(self.tps.fetch(f"/instances/{ours['instance']}/file"), number, ORGAN, larger)
        plan = json.loads(self.tps.fetch("/instances", body))["ID"]
        sent = json.loads(self.tps.fetch("/modalities/rtseg/store", json.dumps(plan).encode()))
        assert sent["FailedInstancesCount"] == 0

    def sets(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.daemon.ask("feedback", "list")
        return found

    def alarms(self, kind: str) -> list[dict[str, Any]]:
        return [one for one in self.daemon.ask("alarms", "list") if one["kind"] == kind]


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    place, port = tmp_path_factory.mktemp("loop"), free_port()
    people = phantoms()
    make_versions(place, people)
    tps = Orthanc(place / "tps", "TPS", DicomModalities={"rtseg": ["RTSEG", "127.0.0.1", port]}, LuaScripts=[])
    callers = [{"ae_title": "TPS", "host": "127.0.0.1", "feedback": True}, {"ae_title": "PACS", "host": "127.0.0.1"}]
    route = {"name": "all", "match": {"modality": "CT"}, "bundle": "tiny", "destinations": ["tps"]}
    config = write_config(
        place,
        tps.port,
        dicom={"port": port, "allowed_callers": callers},
        routes=[route | {"shadow": ["tiny@1.1"]}],
        models={"directory": str(place / "models"), "promotion": {"shadow_cases": SHADOWS, "margin": 0.25}},
    )
    daemon = Daemon(config, place / "daemon.log", module=("rtseg_daemon",))
    first = daemon.command("models", "activate", "tiny", "1.0", "--why", "commissioned")
    assert first.returncode == 0, first.stderr
    with tps.running():
        daemon.start()
        try:
            yield Loop(place, people, daemon, tps)
        finally:
            daemon.stop()


def test_every_patient_comes_back_is_paired_and_measured(loop: Loop) -> None:
    for number in range(1, PATIENTS + 1):
        loop.send_back(number)
    wait_for(lambda: sum(one["state"] == "MEASURED" for one in loop.sets()) == PATIENTS, 300, loop.daemon.tail, 2.0)
    assert len({one["patient_id"] for one in loop.sets()}) == PATIENTS
    assert {one["approval"] for one in loop.sets()} == {"APPROVED"}


def test_the_drift_is_alarmed_within_fifteen_cases_and_for_that_organ_alone(loop: Loop) -> None:
    config = load_config(loop.daemon.config)
    engine = open_ledger(config.database_url)
    raise_drift(engine, digests(models_of(config)), time.time())  # as the daemon does every ten minutes
    engine.dispose()
    told = loop.alarms("drift")
    assert told
    assert all(f"{ORGAN} of tiny 1.0" in one["message"] for one in told), told
    jobs = {one["id"]: one["patient_id"] for one in loop.daemon.ask("jobs", "list")}
    number = int(told[0]["message"].split("told at job ")[1].split(":")[0])
    case = int(jobs[number].removeprefix("PHANTOM-")) - 1000
    assert DRIFT_FROM <= case < DRIFT_FROM + 15


def test_the_candidate_has_shown_in_the_shadow_what_it_is_worth(loop: Loop) -> None:
    def compared() -> int:
        shape = loop.daemon.ask("models", "compare", "tiny@1.0", "tiny@1.1")
        return int(shape["cases"])

    wait_for(lambda: compared() >= SHADOWS, 600, loop.daemon.tail, 5.0)
    labels = {str(tags["StructureSetLabel"]) for tags in loop.tps.instances("RTSTRUCT")}
    assert labels == {"tiny 1.0", "PLAN"}, "nothing of the candidate has left"


def test_a_candidate_that_is_worse_than_the_margin_is_refused_with_its_figures(loop: Loop) -> None:
    strict = loop.place / "strict.yaml"
    strict.write_text(loop.daemon.config.read_text().replace("margin: 0.25", "margin: 0.02"))
    done = Daemon(strict, loop.daemon.log).command("models", "activate", "tiny", "1.1", "--why", "newer")
    assert done.returncode != 0
    assert "is worse: Dice -" in done.stderr


def test_it_is_activated_serves_is_rolled_back_in_under_a_minute_and_charts_say_so(loop: Loop) -> None:
    loop.daemon.ask("models", "activate", "tiny", "1.1", "--why", "as good in the shadow, and newer")
    assert loop.contoured(PATIENTS + 1)["StructureSetLabel"] == "tiny 1.1"
    began = time.monotonic()
    loop.daemon.ask("models", "rollback", "tiny", "--why", "only a test")
    assert time.monotonic() - began < 60.0
    assert loop.contoured(PATIENTS + 2)["StructureSetLabel"] == "tiny 1.0"
    switches = loop.daemon.ask("quality")["switches"]
    assert [one["version"] for one in switches][-3:] == ["1.0", "1.1", "1.0"]
