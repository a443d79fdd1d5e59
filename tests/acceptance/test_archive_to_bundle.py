"""A department's way: an archive as planning systems leave it becomes a data set, a bundle, and what serves.

The archive holds approved and rejected sets, the daemon's own, German and Chinese names, a re-planning CT and several
sets of one CT. The network learns two steps: what is shown is the way, not its skill. Contours are the stub's.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from rtseg_training.bundle import golden
from rtseg_training.cli.app import app
from rtseg_training.errors import CaseError
from rtseg_training.sets.import_dicom import case_name
from rtseg_training.sets.joined import listed
from typer.testing import CliRunner

from rtseg_daemon.config.sections import Compute
from rtseg_daemon.ct.series import load_series
from rtseg_daemon.rtstruct.writing import build_rtstruct, derive_identity, write_dataset
from tests.structure_sets import by_a_person, organ_of, tiny_bundle
from tests.synthetic import write_series
from tests.unit.training.conftest import tiny_recipe, write_recipe
from tests.world import Daemon, Tps, body_volume, patient, send, wait_for, write_config

# pynetdicom leaves sockets to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

ORGANS = ["Brainstem", "SpinalCord", "Parotid_L"]
GERMAN = ["Hirnstamm", "Rückenmark", "Ohrspeicheldrüse li."]
CHINESE = ["脑干", "脊髓", "左腮腺"]

Change = Callable[[Dataset], None]


def named(names: list[str], dataset: Dataset) -> None:
    """A person drew it under these names and approved it."""
    by_a_person(dataset)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for roi, name in zip(dataset.StructureSetROISequence, names, strict=True):
        roi.ROIName = name


def ours(_dataset: Dataset) -> None:
    """As the daemon wrote it."""


@dataclass(frozen=True)
class Ct:
    """A CT of the archive: whose, and its structure sets by file, each with its date."""

    who: str
    seed: int
    sets: dict[str, tuple[str, Change]]


ARCHIVE = (
    Ct("ANNA", 1, {"plan.dcm": ("20200101", partial(named, GERMAN)), "auto.dcm": ("20260101", ours)}),
    Ct("ANNA", 2, {"replan.dcm": ("20260301", partial(named, CHINESE))}),
    Ct("BERT", 3, {
        "draft.dcm": ("20260201", partial(by_a_person, approval="UNAPPROVED")),
        "wrong.dcm": ("20260401", partial(by_a_person, approval="REJECTED")),
    }),
    Ct("CARL", 4, {"auto.dcm": ("20260101", ours)}),
    Ct("DORA", 5, {"old.dcm": ("20250101", by_a_person), "new.dcm": ("20250601", by_a_person)}),
)  # fmt: skip


def lay_down(place: Path, ct: Ct) -> str:
    """Write a CT and its structure sets. Returns the case's name."""

    def whose(_number: int, dataset: Dataset) -> None:
        dataset.PatientID, dataset.PatientName, dataset.PatientBirthDate = f"ID-{ct.who}", ct.who, "19600101"

    volume, folder = body_volume(16), place / ct.who / str(ct.seed)
    volume = volume.with_array(np.where(volume.array > 0, volume.array + np.int16(ct.seed), volume.array))
    series = load_series(write_series(folder / "ct", volume, seed=ct.seed, change=whose))
    z, y, x = np.indices(volume.shape)
    places = zip(ORGANS, (14, 24, 34), strict=True)
    masks = [(name, (z > 2) & (z < 13) & ((y - 24) ** 2 + (x - centre) ** 2 < 16)) for name, centre in places]
    organs = [organ_of(name, mask, volume) for name, mask in masks]
    bundle = tiny_bundle(*ORGANS)
    for file, (date, change) in ct.sets.items():
        dataset = build_rtstruct(series, organs, [bundle], derive_identity(series, bundle.digest, 1, file))
        dataset.StructureSetDate = date
        change(dataset)
        write_dataset(dataset, folder / file)
    return case_name(series.series_uid)


@dataclass(frozen=True)
class Trained:
    """What the commands of `rtseg-train` left, and what they said."""

    place: Path
    cases: list[str]
    said: dict[str, str]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    place = tmp_path_factory.mktemp("department")
    cases = [lay_down(place / "archive", ct) for ct in ARCHIVE]
    recipe = tiny_recipe(classes=ORGANS, steps=2, arguments={"width": 2})
    recipe = recipe.model_copy(
        update={"augment": recipe.augment.model_copy(update={"flip": 0.0}), "members": recipe.members[:1]}
    )
    path, parts, said = write_recipe(recipe, place / "recipe.yaml"), place / "sets" / "all-split", {}

    def run(*words: object) -> None:
        done = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "500"}, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        said[str(words[0])] = done.output

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(golden.measure_all, "__defaults__", ((1,), 64))
        patch.setattr("rtseg_training.measure.evaluate.Compute", partial(Compute, backend="torch", precision="fp32"))
        run("import", place / "archive", "--out", place / "sets" / "all")
        run("split", place / "sets" / "all", "--held-out", 0.34)
        run("train", path, "--data", parts / "train", "--validation", parts / "held-out", "--out", place / "runs")
        run("export", place / "runs", "--recipe", path, "--members", "a", "--data", parts / "train",
            "--version", "2.0", "--out", place / "candidates" / "tiny")  # fmt: skip
    return Trained(place, cases, said)


def test_what_persons_approved_became_the_data_set(trained: Trained) -> None:
    anna, replanned, bert, carl, dora = trained.cases
    entries = {one.name: one for one in listed(trained.place / "sets" / "all")}
    assert set(entries) == {anna, replanned, bert, dora}
    assert all(set(one.entry["structures"]) == set(ORGANS) for one in entries.values())  # type: ignore[call-overload]
    assert f"case {carl}: no approved set for the CT in" in trained.said["import"]
    assert "1 cases have no approved set" in trained.said["import"]
    report = (trained.place / "sets" / "all" / "import.md").read_text()
    assert "the daemon drew it and no person approved it" in report
    assert "left out: the structure set is REJECTED" in report
    assert sum(f"{dora}: " in line and line.endswith(": the newer one") for line in report.splitlines()) == 3
    assert "| Rückenmark | SpinalCord | 1 |" in report
    assert "| 左腮腺 | Parotid_L | 1 |" in report
    assert not any(who in report for who in ("ANNA", "BERT", "CARL", "DORA"))


def test_both_cts_of_a_patient_lie_on_one_side(trained: Trained) -> None:
    parts = trained.place / "sets" / "all-split"
    sides = [{one.name for one in listed(parts / name)} for name in ("train", "held-out")]
    assert all(sides)
    assert not sides[0] & sides[1]
    assert any({trained.cases[0], trained.cases[1]} <= side for side in sides)


def test_what_the_bundle_learned_does_not_measure_it(trained: Trained) -> None:
    words = ["evaluate", trained.place / "candidates" / "tiny", "--data", trained.place / "sets" / "all"]
    with pytest.raises(CaseError, match="has learned case ct_"):
        CliRunner().invoke(app, [*map(str, words), "--out", str(trained.place / "report")], catch_exceptions=False)


def test_the_new_bundle_is_activated_serves_and_is_rolled_back(trained: Trained, tmp_path: Path) -> None:
    tps = Tps()
    commissioned = {"directory": str(tmp_path / "models"), "promotion": {"shadow_cases": 0, "approved": False}}
    daemon = Daemon(write_config(tmp_path, tps.port, models=commissioned), tmp_path / "daemon.log")
    shutil.copytree(trained.place / "candidates" / "tiny", tmp_path / "models" / "tiny" / "2.0")

    def contoured_by(seed: int) -> str:
        assert set(send(daemon.port, patient(tmp_path / f"patient{seed}", seed))) == {0}
        wait_for(lambda: len(tps.structure_sets) == seed, 90, daemon.tail)
        return str(tps.structure_sets[-1].StructureSetLabel)

    with tps.running():
        try:
            daemon.start()
            assert contoured_by(1) == "tiny 1.0"
            assert daemon.ask("models", "activate", "tiny", "2.0", "--why", "commissioned")["after"] == "2.0"
            assert contoured_by(2) == "tiny 2.0"
            assert daemon.ask("models", "rollback", "tiny", "--why", "too large")["after"] == "1.0"
            assert contoured_by(3) == "tiny 1.0"
        finally:
            daemon.stop()
