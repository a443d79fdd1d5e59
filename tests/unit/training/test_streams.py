"""Commands that look at every case of a set hold one or two of them at a time, however many there are."""

import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from rtseg_training.bundle.collect import collect
from rtseg_training.bundle.export import export
from rtseg_training.cli.app import app
from rtseg_training.errors import CheckpointError
from rtseg_training.measure.evaluate import open_bundle, open_segmenter
from rtseg_training.sets import joined
from rtseg_training.sets.cases import Case, load_case, save_case
from rtseg_training.sets.joined import listed, loaded
from rtseg_training.sets.manifest import Entry, write_manifest
from typer.testing import CliRunner

from tests.tiny import make_bundle
from tests.unit.training.conftest import tiny_recipe, write_recipe

CASES = 3


@pytest.fixture(scope="module")
def many(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One case under three names."""
    folder = tmp_path_factory.mktemp("many")
    entry = save_case(case, folder)
    write_manifest(folder, [entry | {"name": f"p{k}"} for k in range(CASES)], "x", [])
    return folder


@pytest.fixture
def most(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """The largest number of cases that were in memory together."""
    seen: list[weakref.ref[Case]] = []
    counts: list[int] = [0]

    def watched(folder: Path, entry: Entry) -> Case:
        found = load_case(folder, entry)
        seen.append(weakref.ref(found))
        counts.append(sum(one() is not None for one in seen))
        return found

    monkeypatch.setattr(joined, "load_case", watched)
    return lambda: max(counts)


@pytest.mark.parametrize("command", ["audit", "evaluate"])
def test_audit_and_evaluate_hold_two_cases_at_most(
    command: str, many: Path, most: Callable[[], int], tmp_path: Path
) -> None:
    words = [command, str(make_bundle(tmp_path)), "--data", str(many), "--threads", "1"]
    done = CliRunner().invoke(app, words + ["--out", str(tmp_path / "report")] * (command == "evaluate"))
    assert done.exit_code == 0, done.output
    assert 1 <= most() <= 2


def test_calibration_collects_without_holding_cases(many: Path, most: Callable[[], int], tmp_path: Path) -> None:
    segmenter = open_segmenter(open_bundle(make_bundle(tmp_path)), 1)
    ticked: list[str] = []
    found = collect(segmenter, [one.load for one in listed(many)], tmp_path, ticked.append)
    assert ticked == [f"p{k}" for k in range(CASES)]
    assert most() == 1
    assert found[0].network.array.strides == (0, 0, 0)
    assert found[0].load().name == "p0"


def test_export_measures_the_population_one_case_at_a_time(many: Path, most: Callable[[], int], tmp_path: Path) -> None:
    recipe = tiny_recipe()
    path = write_recipe(recipe, tmp_path / "recipe.yaml")
    with pytest.raises(CheckpointError, match=r"a/checkpoint\.safetensors is damaged or is no checkpoint"):
        export(tmp_path, recipe, path, ["a"], loaded(listed(many)), tmp_path / "tiny", "1.0", "", "evaluation")
    assert 1 <= most() <= 2
