"""A network's Dice on held-out cases while it trains, on the recipe's grid, whole or in windows as in use.

Cases have the margin of the recipe's jitter around what the daemon looks at: figures come near those of an evaluation.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from rtseg_daemon.anatomy.overlap import dice
from rtseg_daemon.anatomy.sides import mirrored_channels
from rtseg_daemon.anatomy.volume import AIR_HU, Array, Shape
from rtseg_daemon.segment.infer import (
    gaussian_weights,
    network_input,
    overlap_of,
    padded_window,
    plan_windows,
    turned_back,
    window_for,
)
from rtseg_training.learn.dataset import class_names
from rtseg_training.learn.precision import in_bf16
from rtseg_training.learn.prepared import TrainingCase
from rtseg_training.learn.recipe import Recipe


def blended(shape: Shape, window: Shape, probabilities: dict[Shape, Array]) -> Array:
    """Class scores `(classes, z, y, x)` from overlapping windows of class probabilities, blended as the daemon does.

    They are not divided by the windows' weights, which are the same for every network that looks at this shape.
    """
    weights = gaussian_weights(window)
    total: Array | None = None
    for corner, p in probabilities.items():
        total = np.zeros((p.shape[0], *shape), np.float32) if total is None else total
        outer, inner = overlap_of(shape, corner, window)
        total[(slice(None), *inner)] += p[(slice(None), *outer)] * weights[outer]
    assert total is not None
    return total


def predict(net: nn.Module, hu: Array, recipe: Recipe, device: torch.device) -> Array:
    """Labels `(z, y, x)` of a prepared volume of HU, by the recipe's first intensity transform."""
    return np.asarray(class_scores(net, hu, recipe, device).argmax(axis=0))


@torch.no_grad()
def class_scores(net: nn.Module, hu: Array, recipe: Recipe, device: torch.device) -> Array:
    """What `predict` takes the largest of. Scores of several members may be added up: see `blended`."""
    shape = (hu.shape[0], hu.shape[1], hu.shape[2])
    window = window_for(shape, recipe.patch, recipe.window_step)
    windows: dict[Shape, Array] = {}
    twins = mirrored_channels(class_names(recipe)) if recipe.mirror else []
    for corner in plan_windows(shape, window, 0.25):
        image = network_input(padded_window(hu, corner, window, AIR_HU), recipe.intensity[0])
        if recipe.mirror:
            image = np.ascontiguousarray(image[:, :, ::-1])
        with torch.autocast(device.type, torch.bfloat16, enabled=in_bf16(recipe, device)):
            logits = net(torch.from_numpy(image)[None, None].to(device))
        p = logits.float().softmax(1)[0].cpu().numpy()
        windows[corner] = turned_back(p, twins) if recipe.mirror else p
    return blended(shape, window, windows)


def validate(
    net: nn.Module, cases: Sequence[TrainingCase], recipe: Recipe, device: torch.device | None = None
) -> dict[str, float]:
    """Mean Dice per class over the cases that have it drawn."""
    net.eval()
    scores: dict[str, list[float]] = {name: [] for name in recipe.classes}
    for case in cases:
        found = predict(net, case.hu.array, recipe, device or torch.device("cpu"))
        labels = case.labels
        for k, name in enumerate(recipe.classes, 1):
            truth = labels == k
            if case.annotated[k] and truth.any():
                scores[name].append(dice(truth, found == k))
    net.train()
    return {name: float(np.mean(s)) for name, s in scores.items() if s}
