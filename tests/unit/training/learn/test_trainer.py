"""A run that is killed and taken up again is the run that was never killed; bad checkpoints are named."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rtseg_training.errors import CheckpointError, RecipeError
from rtseg_training.learn import runlog, trainer
from rtseg_training.learn.account import check_plan, plan_of
from rtseg_training.learn.checkpoint import read_checkpoint, read_meta
from rtseg_training.learn.dataset import batch_of
from rtseg_training.learn.distributed import Place
from rtseg_training.learn.prepared import Prepared
from rtseg_training.learn.recipe import Recipe, Schedule
from rtseg_training.learn.runlog import Progress
from rtseg_training.learn.trainer import Run, learning_rate, update_average

from tests.unit.training.conftest import no_room, same, tiny_recipe


def quiet(_progress: Progress) -> None:
    """Nobody watches."""


@pytest.fixture
def short() -> Recipe:
    return tiny_recipe(steps=6, arguments={"width": 2}, patch=(16, 16, 16))


def test_a_run_that_was_killed_ends_with_the_weights_of_one_that_was_not(
    tmp_path: Path, short: Recipe, prepared: Prepared
) -> None:
    whole = Run(short, short.members[0], tmp_path / "whole")
    assert whole.train([prepared], [], quiet)
    first = Run(short, short.members[0], tmp_path / "cut")
    steps: list[int] = []

    def killed(progress: Progress) -> None:
        steps.append(progress.step)
        first.save()
        if progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.train([prepared], [], killed)
    second = Run(short, short.members[0], tmp_path / "cut")
    assert second.step == 3
    assert second.train([prepared], [], quiet, workers=3)
    tensors = [read_checkpoint(run.path)[0] for run in (whole, second)]
    assert any(key.startswith("optimizer.") for key in tensors[0])
    assert same(*tensors)


def test_stop_after_saves_and_says_that_it_is_not_finished(tmp_path: Path, short: Recipe, prepared: Prepared) -> None:
    run = Run(short, short.members[0], tmp_path)
    assert run.train([prepared], [], quiet, stop_after_s=0.0) is False
    assert run.path.exists()
    again = Run(short, short.members[0], tmp_path)
    assert again.train([prepared], [], quiet) is True
    assert again.step == 6


def test_a_branch_starts_from_the_other_members_average(tmp_path: Path, short: Recipe, prepared: Prepared) -> None:
    trunk = Run(short, short.members[0], tmp_path / "a")
    trunk.train([prepared], [], quiet)
    branch = Run(short, short.members[1], tmp_path / "b", start=trunk.path)
    assert same(dict(branch.net.state_dict()), trunk.average)
    assert (branch.recipe.intensity, branch.recipe.loss.alpha) == (["SLF2"], 0.5)


def test_a_branch_without_its_trunk_is_refused(tmp_path: Path, short: Recipe) -> None:
    with pytest.raises(CheckpointError, match="missing or damaged"):
        Run(short, short.members[1], tmp_path / "b", start=tmp_path / "a" / "checkpoint.safetensors")


def test_a_corrupt_checkpoint_is_named(tmp_path: Path, short: Recipe) -> None:
    run = Run(short, short.members[0], tmp_path)
    run.save()
    run.path.write_bytes(run.path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors is damaged"):
        Run(short, short.members[0], tmp_path)


def test_another_members_checkpoint_is_refused(tmp_path: Path, short: Recipe) -> None:
    Run(short, short.members[0], tmp_path).save()
    with pytest.raises(CheckpointError, match="belongs to tiny/a, not to tiny/b"):
        Run(short, short.members[1], tmp_path)


def test_weights_of_another_network_are_refused(tmp_path: Path, short: Recipe) -> None:
    Run(short, short.members[0], tmp_path).save()
    wider = short.model_copy(update={"arguments": {"width": 3}})
    with pytest.raises(CheckpointError, match="has shape"):
        Run(wider, wider.members[0], tmp_path)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, short: Recipe) -> None:
    run = Run(short, short.members[0], tmp_path)
    run.save()
    before = run.path.read_bytes()
    run.step = 5
    with no_room(1000), pytest.raises(CheckpointError, match="cannot be saved"):
        run.save()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.safetensors"]
    assert run.path.read_bytes() == before
    assert Run(short, short.members[0], tmp_path).step == 0


def test_a_class_that_no_case_has_is_named(tmp_path: Path, short: Recipe, prepared: Prepared) -> None:
    other = short.model_copy(update={"classes": [*short.classes[:-1], "Larynx"]})
    annotated = np.array([True, True, True, True, True, False])
    lacking = Prepared(prepared.name, prepared.hu, prepared.labels, annotated)
    with pytest.raises(RecipeError, match="no case has Larynx"):
        Run(other, other.members[0], tmp_path).train([lacking], [], quiet)


def test_the_log_holds_loss_and_validation(tmp_path: Path, short: Recipe, prepared: Prepared) -> None:
    run = Run(short, short.members[0], tmp_path)
    seen: list[Progress] = []
    run.train([prepared], [prepared], lambda p: seen.append(p))
    with run.folder.joinpath("log.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert int(row["step"]) == 6
    assert math.isfinite(float(row["loss"]))
    assert 0 <= float(row["Parotid_L"]) <= 1
    assert seen[-1].validation.keys() == set(short.classes)
    assert list(run.folder.glob("tensorboard/events*"))


def test_two_processes_share_out_the_batch_that_one_would_see(short: Recipe, prepared: Prepared) -> None:
    pair = short.model_copy(update={"batch": 2})
    alone = batch_of([prepared], pair, 7, 3)
    shares = [batch_of([prepared], short, 7, 3, rank, 2) for rank in (0, 1)]
    assert torch.equal(alone.image, torch.cat([s.image for s in shares]))
    assert torch.equal(alone.labels, torch.cat([s.labels for s in shares]))


def test_schedules() -> None:
    staircase = Schedule(name="step", every=10, factor=0.9)
    assert learning_rate(staircase, 1e-3, 9, 100) == 1e-3
    assert learning_rate(staircase, 1e-3, 20, 100) == pytest.approx(0.81e-3)
    cosine = Schedule(name="cosine", warmup=10)
    assert learning_rate(cosine, 1.0, 4, 100) == pytest.approx(0.5 * 0.5 * (1 + math.cos(math.pi * 0.04)))
    assert learning_rate(cosine, 1.0, 50, 100) == pytest.approx(0.5)
    assert learning_rate(Schedule(name="constant"), 0.1, 99, 100) == 0.1


def test_the_average_forgets_the_random_start() -> None:
    net = torch.nn.Linear(1, 1, bias=False)
    average = {"weight": torch.tensor([[100.0]])}
    torch.nn.init.constant_(net.weight, 1.0)
    for step in range(1, 60):
        update_average(average, net, 0.998, step)
    assert average["weight"].item() == pytest.approx(1.0, abs=0.05)


def test_a_run_does_not_go_on_with_another_recipe_start_or_cases(
    tmp_path: Path, short: Recipe, prepared: Prepared
) -> None:
    run = Run(short, short.members[0], tmp_path / "a")
    run.train([prepared], [], quiet, stop_after_s=0.0)
    slower = short.model_copy(update={"ema": 0.5})
    with pytest.raises(CheckpointError, match=r"was trained with ema: 0\.9, the recipe says 0\.5"):
        Run(slower, short.members[0], tmp_path / "a")
    reseeded = short.members[0].model_copy(update={"seed": 9})
    with pytest.raises(CheckpointError, match="seed: 1, the recipe says 9"):
        Run(short, reseeded, tmp_path / "a")
    again = Run(short.model_copy(update={"validate_every": 7}), short.members[0], tmp_path / "a")
    with pytest.raises(CheckpointError, match="other cases"):
        again.train([prepared, replace(prepared, name="another")], [], quiet)
    branch = Run(short, short.members[1], tmp_path / "b", start=run.path)
    branch.save()
    Run(short, short.members[1], tmp_path / "b", start=run.path)
    run.step += 1
    run.save()
    with pytest.raises(CheckpointError, match="other weights"):
        Run(short, short.members[1], tmp_path / "b", start=run.path)


def test_a_log_forgets_what_came_after_the_checkpoint(tmp_path: Path, short: Recipe, prepared: Prepared) -> None:
    run = Run(short, short.members[0], tmp_path)
    run.save()
    (tmp_path / "log.csv").write_text("step,seconds,loss\n10,1.0,0.5\n")
    run.train([prepared], [prepared], quiet)
    with (tmp_path / "log.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["6"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", []),
        ("\x00\x00\x00\n", []),
        ("step,sec", []),
        ("step,seconds,loss,A\n2,1.0,0.5,\n4,2.0,0.4,0.9\n6,3", ["2", "4"]),
        ("step,seconds,loss,A\n2,1.0,0.5,\n4,2.0,0.\n3,2.0,\x00,\n6,3.0,0.3,0.8\n7,3.5,0.3,\n", ["2", "6"]),
        ("step,seconds,loss,A\n2,1.0,0.5,\n6,3.0,0.3,0.8", ["2"]),
    ],
)
def test_what_is_damaged_in_a_log_is_dropped(tmp_path: Path, text: str, kept: list[str]) -> None:
    (tmp_path / "log.csv").write_text(text)
    log = runlog.RunLog(tmp_path, ["A"], 6)
    log.write(Progress(8, 9, 0.2, 0.0), 4.0)
    log.close()
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == [*kept, "8"]
    assert all(list(row) == ["step", "seconds", "loss", "A"] for row in rows)


def test_a_log_without_damage_is_left_as_it_is(tmp_path: Path) -> None:
    log = runlog.RunLog(tmp_path, ["A"])
    log.write(Progress(2, 9, 0.2, 0.0, validation={"A": 0.5}), 4.0)
    before = (tmp_path / "log.csv").read_bytes()
    runlog.RunLog(tmp_path, ["A"], 2).close()
    assert (tmp_path / "log.csv").read_bytes() == before


def test_steps_without_finite_numbers_are_not_taken(
    tmp_path: Path, short: Recipe, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(short.model_copy(update={"steps": 40}), short.members[0], tmp_path)
    run.save()
    before = run.path.read_bytes()
    weights = {key: value.clone() for key, value in run.net.state_dict().items()}
    whole = trainer.make_loss

    def broken(*arguments: object) -> object:
        loss = whole(*arguments)  # type: ignore[arg-type]
        return lambda logits, patch: loss(logits, patch) * math.nan

    monkeypatch.setattr(trainer, "make_loss", broken)
    with pytest.raises(CheckpointError, match="not finite in 11 steps running, up to step 11"):
        run.train([prepared], [], quiet)
    assert run.path.read_bytes() == before
    assert same(weights, dict(run.net.state_dict()))


def test_a_log_that_cannot_be_written_stops_no_run(
    tmp_path: Path, short: Recipe, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runlog.RunLog, "_write", full)
    assert Run(short, short.members[0], tmp_path).train([prepared], [prepared], quiet)


def test_a_checkpoint_from_before_a_key_was_known_had_its_default(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    old = {key: value for key, value in plan_of(recipe.for_member(recipe.members[0])).items() if key != "in_plane"}
    averaged = tiny_recipe(in_plane="average")
    check_plan(tmp_path, {"plan": old}, averaged.for_member(averaged.members[0]))
    with pytest.raises(CheckpointError, match='in_plane: "average", the recipe says "sample"'):
        check_plan(tmp_path, {"plan": old}, recipe.for_member(recipe.members[0]))


def test_the_best_weights_by_validation_are_kept_beside_the_last(
    tmp_path: Path, short: Recipe, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.3, 0.6, 0.5, 0.6, 0.55, 0.7])
    monkeypatch.setattr(trainer, "validate", lambda *_: {"Brainstem": next(scores)})
    recipe = short.model_copy(update={"validate_every": 1})
    kept: list[tuple[int, int]] = []

    def look(progress: Progress) -> None:
        kept.append((progress.step, read_meta(tmp_path / "best.safetensors")["step"]))

    run = Run(recipe, recipe.members[0], tmp_path)
    assert run.train([prepared], [prepared], look, stop=lambda: run.step == 5) is False
    again = Run(recipe, recipe.members[0], tmp_path)
    assert again.best == 0.6
    assert again.train([prepared], [prepared], look)
    assert kept == [(1, 1), (2, 2), (3, 2), (4, 2), (5, 2), (6, 6)]
    tensors, meta = read_checkpoint(tmp_path / "best.safetensors")
    assert (meta["mean"], meta["validation"]) == (0.7, {"Brainstem": 0.7})
    assert not any(key.startswith("optimizer.") for key in tensors)
    last = read_checkpoint(run.path)[0]
    assert same({k: v for k, v in last.items() if not k.startswith("optimizer.")}, tensors)


def test_the_loss_that_is_logged_is_that_of_all_processes(
    tmp_path: Path, short: Recipe, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Two(Place):
        def mean(self, value: float) -> float:
            own.append(value)
            return (value + 10.0) / 2

    own: list[float] = []
    monkeypatch.setattr(trainer, "LOG_EVERY", 2)
    assert Run(short, short.members[0], tmp_path, place=Two()).train([prepared], [], quiet)
    with (tmp_path / "log.csv").open() as file:
        logged = [float(row["loss"]) for row in csv.DictReader(file)]
    assert len(own) == 3, "asked only where it is logged: it costs an exchange"
    assert logged == pytest.approx([(value + 10.0) / 2 for value in own], abs=1e-4)


def test_a_full_disk_says_what_is_kept_and_how_to_go_on(tmp_path: Path, short: Recipe, prepared: Prepared) -> None:
    run = Run(short, short.members[0], tmp_path)
    assert run.train([prepared], [], quiet, stop_after_s=0.0) is False
    before = run.path.read_bytes()
    with no_room(len(before) // 2), pytest.raises(CheckpointError) as fault:
        run.train([prepared], [], quiet)
    assert "the last checkpoint is kept: free disk space, then run the same command to go on" in str(fault.value)
    assert run.path.read_bytes() == before
    assert Run(short, short.members[0], tmp_path).train([prepared], [], quiet)
