"""A training that is told to end saves first, says where to go on, and ends with a status of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rtseg_training.cli.app import app
from rtseg_training.learn.checkpoint import read_checkpoint, read_meta
from rtseg_training.learn.prepared import Prepared
from rtseg_training.learn.stopping import UNFINISHED
from rtseg_training.learn.trainer import Run
from typer.testing import CliRunner

from tests.unit.training.conftest import tiny_recipe, write_recipe

HEEDING = """
import signal, sys
from rtseg_training.learn.stopping import heeding
number = signal.Signals(int(sys.argv[1]))
before = signal.getsignal(number)
with heeding() as stop:
    assert not stop()
    signal.raise_signal(number)
    assert stop()
assert signal.getsignal(number) is before
print("noted", flush=True)
with heeding() as stop:
    signal.raise_signal(number)
    signal.raise_signal(number)
print("not reached")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_the_second_one_means_it(number: signal.Signals) -> None:
    """In a process of its own: whatever goes wrong with a signal here, it is not the test run that ends."""
    done = subprocess.run(
        [sys.executable, "-c", HEEDING, str(int(number))],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout) == (-number, "noted\n"), done.stderr


def test_a_run_that_is_told_to_end_saves_after_the_step_at_hand(tmp_path: Path, prepared: Prepared) -> None:
    recipe = tiny_recipe(steps=50, arguments={"width": 2}, patch=(16, 16, 16))
    run = Run(recipe, recipe.members[0], tmp_path)
    assert run.train([prepared], [], lambda _: None, stop=lambda: run.step >= 3) is False
    assert read_meta(run.path)["step"] == 3


def test_stop_after_ends_with_status_3_and_says_where_to_go_on(data_set: Path, tmp_path: Path) -> None:
    path = write_recipe(tiny_recipe(steps=5, arguments={"width": 2}), tmp_path / "recipe.yaml")
    words = ["train", path, "--data", data_set, "--out", tmp_path / "runs", "--member", "a", "--threads", 1]
    done = CliRunner().invoke(app, [str(word) for word in [*words, "--stop-after", "0s"]])
    assert done.exit_code == UNFINISHED == 3
    assert "a: stopped at step 0 of 5, saved in" in done.output
    assert "run the same command to go on" in done.output
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output


def test_sigterm_saves_and_says_where_to_go_on(data_set: Path, tmp_path: Path) -> None:
    path = write_recipe(tiny_recipe(steps=100_000, arguments={"width": 2}), tmp_path / "recipe.yaml")
    words = ["train", path, "--data", data_set, "--out", tmp_path / "runs", "--member", "a", "--threads", 1]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "rtseg_training", *map(str, words)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as run:
        log = tmp_path / "runs" / "a" / "log.csv"
        deadline = time.monotonic() + 120
        while not log.exists() and time.monotonic() < deadline and run.poll() is None:
            time.sleep(0.05)
        run.terminate()
        _, said = run.communicate(timeout=60)
    assert run.returncode == 3, said
    assert "a: stopped at step" in said
    assert "run the same command to go on" in said
    assert "Traceback" not in said
    _, meta = read_checkpoint(tmp_path / "runs" / "a" / "checkpoint.safetensors")
    assert meta["step"] >= 10
