"""One trainer for every family: fixed patches, moving average of the weights, exact resumption."""

import csv
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rtseg_daemon.networks import build
from rtseg_daemon.segment.transforms import AIR_HU
from rtseg_training import losses
from rtseg_training.checkpoint import load_into, part, read_checkpoint, restore_optimizer, save_checkpoint
from rtseg_training.dataset import Patch, Prepared, batch_of, label_frequencies, padded_window, to_network
from rtseg_training.errors import CheckpointError
from rtseg_training.recipe import Loss, Member, Optimizer, Recipe, Schedule

Lossy = Callable[[Tensor, Patch], Tensor]


@dataclass
class Progress:
    """Where a run stands; handed to `report` after every step."""

    step: int
    steps: int
    loss: float
    seconds_left: float
    validation: dict[str, float] = field(default_factory=dict)


def make_loss(loss: Loss, frequencies: Tensor) -> Lossy:
    """The recipe's loss as a function of logits and patch."""
    weights = losses.class_weights(frequencies)
    alpha = loss.alpha if loss.name == "ath_l_exp" else None
    if loss.name in ("ath_l_exp", "l_exp"):
        return lambda z, p: losses.exponential_logarithmic(z, p.labels, p.annotated, weights, alpha, loss.gamma)
    if loss.name == "dice":
        return lambda z, p: losses.dice_loss(z, p.labels, p.annotated)
    inverse = frequencies.max() / frequencies.clamp(min=1.0)
    if loss.name == "focal_dice":
        return lambda z, p: losses.focal_dice(z, p.labels, p.annotated, inverse / inverse.mean())
    return lambda z, p: losses.tversky_focal(z, p.labels, p.annotated, torch.ones_like(frequencies))


def make_optimizer(choice: Optimizer, net: nn.Module) -> torch.optim.Optimizer:
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


def window_starts(length: int, window: int, overlap: float) -> list[int]:
    """Even starts of windows that cover `length` and overlap by at least the share `overlap`."""
    if length <= window:
        return [(length - window) // 2]
    count = 1 + math.ceil((length - window) / (window * (1 - overlap)))
    return [round(i * (length - window) / (count - 1)) for i in range(count)]


@torch.no_grad()
def predict(net: nn.Module, hu: np.ndarray, recipe: Recipe, intensity: str, bf16: bool) -> np.ndarray:
    """Class probabilities `(classes, z, y, x)` of a prepared volume, windows of the training shape averaged."""
    shape, patch = hu.shape, recipe.patch
    total: np.ndarray | None = None
    count = np.zeros(shape, np.float32)
    for z in window_starts(shape[0], patch[0], 0.25):
        for y in window_starts(shape[1], patch[1], 0.25):
            for x in window_starts(shape[2], patch[2], 0.25):
                image = to_network(padded_window(hu, (z, y, x), patch, AIR_HU), intensity)
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    logits = net(torch.from_numpy(image)[None, None])
                p = logits.float().softmax(1)[0].numpy()
                if total is None:
                    total = np.zeros((p.shape[0], *shape), np.float32)
                inner = tuple(slice(max(0, c), min(n, c + w)) for c, n, w in zip((z, y, x), shape, patch, strict=True))
                source = tuple(slice(s.start - c, s.stop - c) for s, c in zip(inner, (z, y, x), strict=True))
                total[(slice(None), *inner)] += p[(slice(None), *source)]
                count[inner] += 1
    assert total is not None
    return total / count


def validate(net: nn.Module, cases: Sequence[Prepared], recipe: Recipe) -> dict[str, float]:
    """Mean Dice per class over the cases that have it drawn, on the recipe's grid."""
    net.eval()
    scores: dict[str, list[float]] = {name: [] for name in recipe.classes}
    for case in cases:
        found = predict(net, case.hu.array, recipe, recipe.intensity[0], recipe.precision == "bf16").argmax(0)
        for k, name in enumerate(recipe.classes, 1):
            truth = case.labels == k
            if case.annotated[k] and truth.any():
                hit = found == k
                scores[name].append(2.0 * float((hit & truth).sum()) / float(hit.sum() + truth.sum()))
    net.train()
    return {name: float(np.mean(s)) for name, s in scores.items() if s}


class Run:
    """One member's training in `folder`: `checkpoint.safetensors` and `log.csv`."""

    def __init__(self, recipe: Recipe, member: Member, folder: Path, start: Path | None = None) -> None:
        self.recipe = recipe.for_member(member)
        self.member = member
        self.folder = folder
        self.path = folder / "checkpoint.safetensors"
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(member.seed)
        self.net = build(self.recipe.family, classes=len(recipe.classes) + 1, **self.recipe.arguments)
        self.optimizer = make_optimizer(self.recipe.optimizer, self.net)
        self.step = 0
        self.seconds = 0.0
        if self.path.exists():
            self._resume()
        elif start is not None:
            load_into(start, self.net, part(read_checkpoint(start)[0], "ema"))
        if self.step == 0:
            self.average = {k: v.detach().float().clone() for k, v in self.net.state_dict().items()}

    def _resume(self) -> None:
        tensors, meta = read_checkpoint(self.path)
        if meta["recipe"] != self.recipe.name or meta["member"] != self.member.name:
            raise CheckpointError(f"{self.path} belongs to {meta['recipe']}/{meta['member']}; use another folder")
        load_into(self.path, self.net, part(tensors, "net"))
        restore_optimizer(self.optimizer, part(tensors, "optimizer"))
        self.average = part(tensors, "ema")
        self.step, self.seconds = int(meta["step"]), float(meta["seconds"])

    def save(self) -> None:
        meta = {"recipe": self.recipe.name, "member": self.member.name, "step": self.step, "seconds": self.seconds}
        save_checkpoint(self.path, self.net, self.average, self.optimizer, meta)

    def averaged(self) -> nn.Module:
        """A copy of the network with the averaged weights."""
        net = build(self.recipe.family, classes=len(self.recipe.classes) + 1, **self.recipe.arguments)
        net.load_state_dict(self.average)
        return net

    def one_step(self, patch: Patch, loss_of: Lossy) -> float:
        rate = learning_rate(self.recipe.schedule, self.recipe.optimizer.lr, self.step, self.recipe.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            logits = self.net(patch.image)
        loss = loss_of(logits, patch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 10.0)
        self.optimizer.step()
        self.step += 1
        update_average(self.average, self.net, self.recipe.ema, self.step)
        return float(loss.detach())

    def train(
        self,
        cases: Sequence[Prepared],
        validation: Sequence[Prepared],
        report: Callable[[Progress], None],
        stop_after_s: float = math.inf,
        checkpoint_s: float = 120.0,
    ) -> bool:
        """Train to the recipe's last step, or until `stop_after_s` seconds have passed; True when finished."""
        loss_of = make_loss(self.recipe.loss, label_frequencies(cases, len(self.recipe.classes) + 1))
        began = saved = time.monotonic()
        done_before = self.step
        before = self.seconds
        with ThreadPoolExecutor(1) as loader:
            coming = loader.submit(batch_of, cases, self.recipe, self.member.seed, self.step)
            while self.step < self.recipe.steps and time.monotonic() - began < stop_after_s:
                patch = coming.result()
                coming = loader.submit(batch_of, cases, self.recipe, self.member.seed, self.step + 1)
                loss = self.one_step(patch, loss_of)
                now = time.monotonic()
                self.seconds = before + now - began
                left = (now - began) / (self.step - done_before) * (self.recipe.steps - self.step)
                progress = Progress(self.step, self.recipe.steps, loss, left)
                if validation and (self.step % self.recipe.validate_every == 0 or self.step == self.recipe.steps):
                    progress.validation = validate(self.averaged(), validation, self.recipe)
                if self.step % 10 == 0 or progress.validation:
                    self._log(progress)
                report(progress)
                if now - saved > checkpoint_s:
                    self.save()
                    saved = now
        self.save()
        return self.step >= self.recipe.steps

    def _log(self, progress: Progress) -> None:
        path = self.folder / "log.csv"
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(["step", "seconds", "loss", *self.recipe.classes])
            scores = [f"{progress.validation[c]:.4f}" if c in progress.validation else "" for c in self.recipe.classes]
            writer.writerow([progress.step, f"{self.seconds:.1f}", f"{progress.loss:.5f}", *scores])
