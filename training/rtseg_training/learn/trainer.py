"""One trainer for every family: fixed patches, moving average of the weights, exact resumption."""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rtseg_daemon.networks import build
from rtseg_daemon.networks.focusnet import FocusNet
from rtseg_training.errors import CheckpointError, RecipeError
from rtseg_training.learn import losses
from rtseg_training.learn.account import (
    cases_of,
    check_owner,
    check_plan,
    check_same,
    plan_of,
    start_digest,
    write_plan,
)
from rtseg_training.learn.beforehand import BEST, CHECKPOINT, check_cases
from rtseg_training.learn.card import learner
from rtseg_training.learn.checkpoint import (
    load_into,
    part,
    read_checkpoint,
    read_meta,
    read_weights,
    restore_optimizer,
    save_checkpoint,
)
from rtseg_training.learn.dataset import Patch, batch_of, drawn_counts, label_frequencies
from rtseg_training.learn.distributed import Place
from rtseg_training.learn.focus import Staged, answering, check_measured
from rtseg_training.learn.precision import in_bf16, laid_out, layout_of
from rtseg_training.learn.prepared import TrainingCase
from rtseg_training.learn.recipe import Loss, Member, Optimizer, Recipe, Schedule
from rtseg_training.learn.runlog import Progress, RunLog
from rtseg_training.learn.validation import validate
from rtseg_training.learn.widen import widened

Lossy = Callable[[Tensor, Patch], Tensor]
LOG_EVERY = 10
CHECKPOINT_SECONDS = 120.0
MOST_LOST = 10
"""So many steps running may end in numbers that are not finite. Their weights are not taken."""


def make_loss(loss: Loss, frequencies: Tensor, drawn: Tensor) -> Lossy:
    """The recipe's loss as a function of logits and patch.

    Args:
        frequencies: mean voxels of each class per case that has it.
        drawn: number of cases that have each class.
    """
    if loss.name in ("ath_l_exp", "l_exp"):
        weights = losses.class_weights(frequencies)
        alpha = loss.alpha if loss.name == "ath_l_exp" else None
        return lambda z, p: losses.exponential_logarithmic(
            z, p.labels, p.annotated, weights, alpha, loss.gamma, loss.marginal
        )
    if loss.name == "pooled_dice":
        return lambda z, p: losses.pooled_dice(z, p.labels, p.annotated)
    if loss.name == "dice":
        return lambda z, p: losses.dice_loss(z, p.labels, p.annotated, loss.marginal)
    if loss.name == "focal_dice":
        sizes = losses.size_weights(frequencies)
        return lambda z, p: losses.focal_dice(z, p.labels, p.annotated, sizes, loss.marginal)
    cases, share = losses.case_weights(drawn), 0.0 if loss.name == "tversky" else losses.FOCAL_SHARE
    return lambda z, p: losses.tversky_focal(z, p.labels, p.annotated, cases, share)


def make_optimizer(choice: Optimizer, net: nn.Module) -> torch.optim.Optimizer:
    """The recipe's optimizer over all parameters."""
    if choice.name == "adam":
        return torch.optim.Adam(net.parameters(), choice.lr, weight_decay=choice.weight_decay)
    if choice.name == "rmsprop":
        return torch.optim.RMSprop(net.parameters(), choice.lr, weight_decay=choice.weight_decay)
    return torch.optim.SGD(net.parameters(), choice.lr, momentum=choice.momentum, weight_decay=choice.weight_decay)


def learning_rate(schedule: Schedule, peak: float, step: int, steps: int) -> float:
    """The rate at `step`: the papers' staircase, or a warm-up and half a cosine to zero."""
    if schedule.name == "constant":
        return peak
    if schedule.name == "step":
        return peak * schedule.factor ** (step // schedule.every)
    warm = min(1.0, (step + 1) / max(1, schedule.warmup))
    return peak * warm * 0.5 * (1 + math.cos(math.pi * step / steps))


def update_average(average: dict[str, Tensor], net: nn.Module, decay: float, step: int) -> None:
    """Exponential moving average, quick at first so that it does not remember the random start."""
    decay = min(decay, (1 + step) / (10 + step))
    for key, value in net.state_dict().items():
        if value.is_floating_point():
            average[key].lerp_(value.float(), 1 - decay)
        else:
            average[key].copy_(value)


def moved(patch: Patch, device: torch.device) -> Patch:
    """The patch on the device that trains."""
    tensors = [patch.image, patch.labels, patch.annotated]
    if device.type == "cuda":
        tensors = [t.pin_memory() for t in tensors]
    return Patch(*(t.to(device, non_blocking=True) for t in tensors))


class Feed:
    """Patches of the coming steps, made ahead by `workers` threads. What a step gets does not depend on them."""

    def __init__(self, make: Callable[[int], Patch], step: int, workers: int) -> None:
        self.make = make
        self.waited = 0.0
        self.pool = ThreadPoolExecutor(max(1, workers))
        self.coming: deque[Future[Patch]] = deque()
        self.next = step
        for _ in range(max(1, workers)):
            self._order()

    def _order(self) -> None:
        self.coming.append(self.pool.submit(self.make, self.next))
        self.next += 1

    def take(self) -> Patch:
        """The next step's patches. `waited` counts the seconds until they were there."""
        self._order()
        began = time.monotonic()
        patch = self.coming.popleft().result()
        self.waited += time.monotonic() - began
        return patch

    def close(self) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)


class Supervised(nn.Module):
    """A network whose forward pass ends in its loss: what is shared between devices."""

    def __init__(self, net: nn.Module, loss_of: Lossy, bf16: bool) -> None:
        super().__init__()
        self.net, self.loss_of, self.bf16 = net, loss_of, bf16

    def forward(self, image: Tensor, labels: Tensor, annotated: Tensor) -> Tensor:
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.bf16):
            logits = self.net(image)
        return self.loss_of(logits, Patch(image, labels, annotated))


def never() -> bool:
    """Nobody asks for an end."""
    return False


def best_so_far(path: Path) -> float:
    """The mean Dice on the validation cases of the best weights that a run has kept, none where it has kept none."""
    return float(read_meta(path)["mean"]) if path.is_file() else -math.inf


def network_of(recipe: Recipe) -> nn.Module:
    """The recipe's network with random weights. Raises RecipeError if its arguments do not fit the family."""
    check_measured(recipe)
    try:
        return build(recipe.family, classes=len(recipe.classes) + 1, **recipe.arguments)
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise RecipeError(f"recipe {recipe.name}: arguments do not fit {recipe.family}: {error}") from error


class Run:
    """One member's training in `folder`: `checkpoint.safetensors` and the logs.

    A run whose folder holds a checkpoint goes on from it. Otherwise the weights come from `start`, if given, or from
    the member's seed. Raises CheckpointError for a checkpoint that is damaged or another's.
    """

    def __init__(
        self, recipe: Recipe, member: Member, folder: Path, start: Path | None = None, place: Place | None = None
    ) -> None:
        self.place = place or Place()
        self.recipe = recipe.for_member(member)
        self.member = member
        self.folder = folder
        self.path = folder / CHECKPOINT
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(member.seed)
        self.net = self._fresh()
        self.step = 0
        self.seconds = 0.0
        self.start = start_digest(start)
        self.cases = ""
        self.learned: list[tuple[str, str, str]] = []
        self.lost_steps = 0
        self.best = best_so_far(folder / BEST)
        tensors = self._stored()
        if not tensors and start is not None:
            load_into(start, self.net, widened(read_weights(start), self.net))
        laid_out(self.net, self.place.device, layout_of(self.place.device))
        self.optimizer = make_optimizer(self.recipe.optimizer, self.net)
        restore_optimizer(self.optimizer, part(tensors, "optimizer"))
        stored = part(tensors, "ema") or self.net.state_dict()
        self.average = {k: v.detach().to(self.place.device).float().clone() for k, v in stored.items()}

    def _fresh(self) -> nn.Module:
        return network_of(self.recipe)

    def _stored(self) -> dict[str, Tensor]:
        """The tensors of this run's own checkpoint, its network already loaded. Empty at the very start."""
        if not self.path.exists():
            return {}
        tensors, meta = read_checkpoint(self.path)
        check_owner(self.path, meta, self.recipe.name, self.member.name)
        load_into(self.path, self.net, part(tensors, "net"))
        check_plan(self.path, meta, self.recipe)
        check_same(self.path, meta, "start", self.start, "from other weights than those it would start from now")
        self.start, self.cases = meta.get("start", self.start), meta.get("cases", "")
        self.learned = [(name, digest, *(patient or [""])) for name, digest, *patient in meta.get("learned", [])]
        self.step, self.seconds = int(meta["step"]), float(meta["seconds"])
        return tensors

    def save(self) -> None:
        """Write the checkpoint. Raises CheckpointError, the last one kept, if it cannot be written."""
        if self.place.first:
            save_checkpoint(self.path, self.net, self.average, self.optimizer, self._account())

    def _account(self) -> dict[str, Any]:
        """What a checkpoint says of itself."""
        meta = {"recipe": self.recipe.name, "member": self.member.name, "step": self.step, "seconds": self.seconds}
        return meta | {"plan": plan_of(self.recipe), "start": self.start, "cases": self.cases, "learned": self.learned}

    def keep_best(self, scores: dict[str, float]) -> None:
        """Keep these weights beside the last ones where no earlier ones were as good on the validation cases."""
        mean = sum(scores.values()) / len(scores) if scores else -math.inf
        if mean > self.best and self.place.first:
            self.best = mean
            meta = self._account() | {"validation": scores, "mean": mean}
            save_checkpoint(self.folder / BEST, self.net, self.average, None, meta)

    def averaged(self) -> nn.Module:
        """A copy of the network with the averaged weights."""
        net = self._fresh().to(self.place.device)
        net.load_state_dict(self.average)
        return net

    def one_step(self, trainee: nn.Module, patch: Patch) -> float:
        """Forward, backward, update. Returns the loss before it. `trainee` ends in its loss, however many devices."""
        rate = learning_rate(self.recipe.schedule, self.recipe.optimizer.lr, self.step, self.recipe.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = trainee(patch.image, patch.labels, patch.annotated)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        steepness = nn.utils.clip_grad_norm_(self.net.parameters(), 10.0)
        self.step += 1
        if math.isfinite(float(steepness)):
            self.lost_steps = 0
            self.optimizer.step()
            update_average(self.average, self.net, self.recipe.ema, self.step)
        else:
            self.lost_steps += 1
        if self.lost_steps > MOST_LOST:
            raise CheckpointError(
                f"{self.folder}: loss or gradient was not finite in {self.lost_steps} steps running, up to step "
                f"{self.step}; the last checkpoint is kept: take a lower rate, or look at the loss's parameters"
            )
        return float(loss.detach())

    def train(
        self,
        cases: Sequence[TrainingCase],
        held_out: Sequence[TrainingCase],
        report: Callable[[Progress], None],
        stop_after_s: float = math.inf,
        checkpoint_s: float = CHECKPOINT_SECONDS,
        workers: int = 1,
        stop: Callable[[], bool] = never,
    ) -> bool:
        """Train to the recipe's last step, until `stop_after_s` seconds have passed, or `stop` says so. True: finished.

        Raises RecipeError if no case has one of the recipe's classes, CheckpointError if the run began with other
        cases or does not come to finite numbers.
        """
        cases_now = cases_of(case.name for case in cases)
        check_same(self.path, {"cases": self.cases}, "cases", cases_now, "on other cases than those given now")
        self.cases, self.learned = cases_now, [(case.name, case.digest, case.patient) for case in cases]
        if self.step >= self.recipe.steps:
            return True
        trainee = self.place.shared(self._trainee(cases))
        rank, world = self.place.rank, self.place.world
        feed = Feed(lambda s: batch_of(cases, self.recipe, self.member.seed, s, rank, world), self.step, workers)
        log = RunLog(self.folder, self.recipe.classes, self.step) if self.place.first else None
        if self.place.first:
            write_plan(self.folder, self.recipe, self.member)
        began = saved = time.monotonic()
        first, before = self.step, self.seconds
        try:
            while self.step < self.recipe.steps and not self.place.agreed(
                stop() or time.monotonic() - began >= stop_after_s
            ):
                loss = self.one_step(trainee, moved(feed.take(), self.place.device))
                now = time.monotonic()
                self.seconds = before + now - began
                left = (now - began) / (self.step - first) * (self.recipe.steps - self.step)
                rate = float(self.optimizer.param_groups[0]["lr"])
                waiting = feed.waited / (now - began)
                noted = self.step % LOG_EVERY == 0 or self._is_validated(held_out)
                loss = self.place.mean(loss) if noted else loss
                progress = Progress(self.step, self.recipe.steps, loss, left, rate, waiting, self._scores(held_out))
                self.keep_best(progress.validation)
                if log is not None and noted:
                    log.write(progress, self.seconds)
                report(progress)
                if now - saved > checkpoint_s:
                    self.save()
                    saved = now
        finally:
            feed.close()
            if log is not None:
                log.close()
        self.save()
        self.place.wait()  # the next member may start from this one's checkpoint
        return self.step >= self.recipe.steps

    def _trainee(self, cases: Sequence[TrainingCase]) -> nn.Module:
        """The network with its loss. Raises RecipeError if no case has one of the recipe's classes."""
        classes = len(self.recipe.classes) + 1
        drawn, frequencies = drawn_counts(cases, classes), label_frequencies(cases, classes)
        check_cases(self.recipe, cases)
        device, half = self.place.device, in_bf16(self.recipe, self.place.device)
        frequencies = frequencies.to(device)
        if self.recipe.stage is not None:
            assert isinstance(self.net, FocusNet)
            return Staged(self.net, self.recipe.stage, losses.size_weights(frequencies), half)
        learning = learner(self.net, device, half, alone=self.place.world == 1)
        return Supervised(learning, make_loss(self.recipe.loss, frequencies, drawn.to(device)), half)

    def _is_validated(self, held_out: Sequence[TrainingCase]) -> bool:
        due = self.step % self.recipe.validate_every == 0 or self.step == self.recipe.steps
        return bool(held_out) and due

    def _scores(self, held_out: Sequence[TrainingCase]) -> dict[str, float]:
        """Validation scores at the steps that ask for them. The other processes wait."""
        if not self._is_validated(held_out):
            return {}
        measured = answering(self.averaged(), self.recipe)
        scores = validate(measured, held_out, self.recipe, self.place.device) if self.place.first else {}
        self.place.wait()
        return scores
