"""training/on_a_card.sh with a shell that plays the other machine: what goes there, what comes back, how it ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rtseg_training.learn.account import PLAN
from rtseg_training.learn.checkpoint import read_meta

from tests.unit.training.conftest import tiny_recipe, write_recipe

SCRIPT = Path(__file__).parents[4] / "training" / "on_a_card.sh"


class Elsewhere:
    """A machine that has the packages and nothing of ours: commands run in its own folder, with a temporary one."""

    def __init__(self, folder: Path) -> None:
        self.home, self.temporary = folder / "home", folder / "temporary"
        self.home.mkdir()
        self.temporary.mkdir()
        self.shell = folder / "there"
        environment = f"PATH={os.environ['PATH']} HOME={self.home} TMPDIR={self.temporary} OMP_NUM_THREADS=1"
        self.shell.write_text(f'#!/bin/sh\ncd {self.home} && exec env -i {environment} sh -c "$1"\n')
        self.shell.chmod(0o755)

    def train(self, *words: object, python: str = sys.executable) -> "subprocess.CompletedProcess[str]":
        known = {"PATH": os.environ["PATH"], "THERE": str(self.shell), "PYTHON": python, "DEVICE": "cpu"}
        command = [str(SCRIPT), *map(str, words)]
        return subprocess.run(command, env=known, capture_output=True, text=True, timeout=200, check=False)

    def left(self) -> list[Path]:
        """What of ours is still there."""
        return list(self.temporary.glob("tmp.*"))


@pytest.fixture
def trainer(tmp_path: Path) -> str:
    """Plays `python -m rtseg_training train`: notes its words and what lies around it, and makes a step."""
    file = tmp_path / "trainer"
    file.write_text(TRAINER.format(noted=tmp_path / "noted"))
    file.chmod(0o755)
    return str(file)


TRAINER = """#!/bin/sh
echo "$PYTHONPATH $*" >> {noted}
[ -f learn/manifest.json ] && [ -f held/manifest.json ] && [ -f project/training/rtseg_training/__main__.py ] || exit 9
mkdir -p "${{10}}/a" && echo step >> "${{10}}/a/log.csv"
case "$4" in *long*) sleep 60 & trap "exit 3" TERM; wait;; *wrong*) exit 1;; esac
"""


@pytest.fixture
def sets(tmp_path: Path) -> list[Path]:
    """Two data sets of nobody."""
    folders = [tmp_path / "learn", tmp_path / "held"]
    for folder in folders:
        folder.mkdir()
        (folder / "manifest.json").write_text("{}")
    return folders


def recipes(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / f"{name}.yaml").write_text(f"name: {name}\n")
    return [folder / f"{name}.yaml" for name in names]


def test_recipes_go_there_one_after_the_other_and_their_runs_come_back(
    tmp_path: Path, sets: list[Path], trainer: str
) -> None:
    there, runs = Elsewhere(tmp_path), tmp_path / "runs"
    words = (60, runs, *sets, *recipes(tmp_path, "one", "two"))
    for round_ in (1, 2):
        done = there.train(*words, python=trainer)
        assert done.returncode == 0, done.stderr
        assert [(runs / name / "a" / "log.csv").read_text() for name in ("one", "two")] == ["step\n" * round_] * 2
        assert there.left() == []
    command = "-m rtseg_training train recipes/one.yaml --data learn --validation held --out runs/one --device cpu"
    assert (tmp_path / "noted").read_text().splitlines()[0] == f"project:project/training {command}"


def test_when_time_is_up_what_was_reached_comes_back_and_the_status_says_so(
    tmp_path: Path, sets: list[Path], trainer: str
) -> None:
    there, runs = Elsewhere(tmp_path), tmp_path / "runs"
    done = there.train(2, runs, *sets, *recipes(tmp_path, "long", "after"), python=trainer)
    assert done.returncode == 3, done.stderr
    assert [folder.name for folder in runs.iterdir()] == ["long"]
    assert (runs / "long" / "a" / "log.csv").read_text() == "step\n"
    assert there.left() == []


def test_a_training_that_fails_ends_it_and_its_logs_come_back(tmp_path: Path, sets: list[Path], trainer: str) -> None:
    there, runs = Elsewhere(tmp_path), tmp_path / "runs"
    done = there.train(60, runs, *sets, *recipes(tmp_path, "wrong", "after"), python=trainer)
    assert done.returncode == 1
    assert [folder.name for folder in runs.iterdir()] == ["wrong"]
    assert there.left() == []


@pytest.mark.slow
def test_it_trains_there_until_time_is_up_and_the_same_command_goes_on_to_the_end(
    tmp_path: Path, data_set: Path, held_out: Path
) -> None:
    there, runs = Elsewhere(tmp_path), tmp_path / "runs"
    small = {"arguments": {"width": 2}, "patch": (16, 16, 16), "steps": 4}
    recipe = write_recipe(tiny_recipe(**small), tmp_path / "tiny.yaml")
    endless = write_recipe(tiny_recipe(**small | {"name": "endless", "steps": 10**9}), tmp_path / "endless.yaml")
    done = there.train(60, runs, data_set, held_out, recipe, endless)
    assert done.returncode == 3, done.stderr
    assert "a: stopped at step" in done.stderr
    for member in ("a", "b"):
        assert read_meta(runs / "tiny" / member / "checkpoint.safetensors")["step"] == 4
        assert (runs / "tiny" / member / PLAN).is_file()
    reached = read_meta(runs / "endless" / "a" / "checkpoint.safetensors")["step"]
    assert reached > 0
    assert there.left() == []
    done = there.train(60, runs, data_set, held_out, recipe)
    assert done.returncode == 0, done.stderr
    assert read_meta(runs / "tiny" / "b" / "checkpoint.safetensors")["step"] == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["90"], "SECONDS RUNS TRAINING_SET VALIDATION_SET RECIPE..."),
        (["9m", "runs", "learn", "held", "recipe.yaml"], "9m is no number of seconds"),
        (["90", "runs", "learn", "held", "recipe.yaml"], "learn is no data set; make one with rtseg-train import"),
    ],
)
def test_words_that_do_not_fit_are_named_before_anything_is_sent(tmp_path: Path, words: list[str], said: str) -> None:
    there = Elsewhere(tmp_path)
    done = there.train(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert there.left() == []
