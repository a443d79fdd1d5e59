"""Seconds per training step of a recipe on this machine, to plan a training before it is begun.

    python bench/step.py training/recipes/han-oar.yaml [--threads 1] [--steps 8]

Noise in the place of patients: the time does not depend on what is seen. Patches are made beside the network in a
training; here they are not counted. With another allocator (docs/training.md) run it again and compare.
"""

import argparse
import os
import statistics
import time
from pathlib import Path

import torch
from rtseg_training.learn.dataset import Patch
from rtseg_training.learn.precision import in_bf16
from rtseg_training.learn.recipe import load_recipe
from rtseg_training.learn.trainer import Supervised, make_loss, make_optimizer

from rtseg_daemon.networks import build


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--threads", type=int, default=0, help="processor threads; 0: all")
    parser.add_argument("--steps", type=int, default=8)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    recipe = load_recipe(options.recipe)
    if recipe.stage is not None or recipe.small_organs:
        raise SystemExit(f"{recipe.name} learns in stages with losses of their own, which this bench does not time")
    torch.manual_seed(0)
    classes = len(recipe.classes) + 1
    net = build(recipe.family, classes=classes, **recipe.arguments)
    loss_of = make_loss(recipe.loss, torch.full((classes,), 1000.0), torch.ones(classes))
    trainee = Supervised(net, loss_of, in_bf16(recipe, torch.device("cpu")))
    optimizer = make_optimizer(recipe.optimizer, net)
    shape = (recipe.batch, *recipe.patch)
    patch = Patch(
        torch.rand(shape)[:, None],
        torch.randint(0, classes, shape),
        torch.ones(recipe.batch, classes, dtype=torch.bool),
    )
    seconds = []
    for _ in range(options.steps + 2):
        began = time.perf_counter()
        loss = trainee(patch.image, patch.labels, patch.annotated)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - began)
    kept = seconds[2:]  # the first ones choose kernels
    allocator = Path(os.environ.get("LD_PRELOAD", "of the C library")).name
    median, least, most = statistics.median(kept), min(kept), max(kept)
    print(
        f"{recipe.name}: {median:.3f} s a step (median of {len(kept)}, {least:.3f} to {most:.3f}), "
        f"{torch.get_num_threads()} threads, allocator {allocator}"
    )


if __name__ == "__main__":
    main()
