"""Seconds per training step of a recipe on this machine, to plan a training before it is begun.

    python bench/step.py training/recipes/han-oar.yaml [--member NAME] [--threads 1] [--steps 8]

Noise in the place of patients: the time does not depend on what is seen. The last organ is not drawn, as one is not in
most cases. Patches are made beside the network in a training. Here they are not counted. FocusNet's recipe is the one
beside its runs, which says how large its boxes are, and `--member` its stage. Both layouts in memory are timed in
turns: torch's own, and the one in which a voxel's channels lie side by side. With another allocator (docs/training.md)
run it again and compare.
"""

import argparse
import os
import statistics
import time
from pathlib import Path

import torch
from rtseg_training.learn.dataset import Patch
from rtseg_training.learn.focus import Staged
from rtseg_training.learn.losses import size_weights
from rtseg_training.learn.precision import in_bf16, laid_out, layout_of
from rtseg_training.learn.recipe import Recipe, load_recipe
from rtseg_training.learn.trainer import Supervised, make_loss, make_optimizer, network_of
from torch import nn

from rtseg_daemon.networks.focusnet import FocusNet

LAYOUTS = {"torch's own layout": torch.preserve_format, "channels last": torch.channels_last_3d}


class Timed:
    """One layout's network, and the seconds of its steps."""

    def __init__(self, recipe: Recipe, layout: torch.memory_format) -> None:
        torch.manual_seed(0)
        classes = len(recipe.classes) + 1
        net = laid_out(network_of(recipe), torch.device("cpu"), layout)
        voxels, half = torch.full((classes,), 1000.0), in_bf16(recipe, torch.device("cpu"))
        self.trainee: nn.Module
        if recipe.stage is not None:
            assert isinstance(net, FocusNet)
            self.trainee = Staged(net, recipe.stage, size_weights(voxels), half)
        else:
            self.trainee = Supervised(net, make_loss(recipe.loss, voxels, torch.ones(classes)), half)
        self.optimizer = make_optimizer(recipe.optimizer, net)
        self.seconds: list[float] = []

    def step(self, patch: Patch) -> None:
        """One step, timed."""
        began = time.perf_counter()
        loss = self.trainee(patch.image, patch.labels, patch.annotated)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.seconds.append(time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--member", help="the member whose network is timed; without: the recipe's own")
    parser.add_argument("--threads", type=int, default=0, help="processor threads; 0: all")
    parser.add_argument("--steps", type=int, default=8)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    recipe = load_recipe(options.recipe)
    if options.member:
        recipe = recipe.for_member(recipe.member(options.member))
    classes = len(recipe.classes) + 1
    shape = (recipe.batch, *recipe.patch)
    drawn = torch.ones(recipe.batch, classes, dtype=torch.bool)
    drawn[:, -1] = classes == 2  # a target's network has one organ only
    patch = Patch(torch.rand(shape)[:, None], torch.randint(0, max(2, classes - 1), shape), drawn)
    timed = {name: Timed(recipe, layout) for name, layout in LAYOUTS.items()}
    for _ in range(options.steps + 2):
        for one in timed.values():
            one.step(patch)
    allocator = Path(os.environ.get("LD_PRELOAD", "of the C library")).name
    chosen = layout_of(torch.device("cpu")) is torch.channels_last_3d
    print(f"{recipe.name}: {torch.get_num_threads()} threads, allocator {allocator}")
    for name, one in timed.items():
        kept = one.seconds[2:]  # the first ones choose kernels
        used = " (which training uses)" if chosen == (name == "channels last") else ""
        print(f"  {name}: {statistics.median(kept):.3f} s a step ({min(kept):.3f} to {max(kept):.3f}){used}")


if __name__ == "__main__":
    main()
