"""FocusNet's training in stages: the targets and losses of each, and the sizes that come from the training set.

`semantic` trains S-Net alone, `localise` SOL-Net with S-Net frozen, `small` SOS-Net on boxes around the true centres
with both frozen, `joint` everything end to end on boxes where SOL-Net puts them, as in use (seed 004, Sec. 3). Each
stage is a member that starts from the last.
"""

from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg_daemon.anatomy.volume import Array
from rtseg_daemon.networks.focusnet import FocusNet, Parts
from rtseg_training.errors import RecipeError
from rtseg_training.learn import losses
from rtseg_training.learn.dataset import Patch
from rtseg_training.learn.prepared import TrainingCase, extent
from rtseg_training.learn.recipe import Recipe

T = TypeVar("T")
Stage = Literal["semantic", "localise", "small", "joint"]

FROZEN: dict[str, tuple[str, ...]] = {
    "semantic": ("sol", "sos"),
    "localise": ("snet", "sos"),
    "small": ("snet", "sol"),
    "joint": (),
}
"""What does not learn in each stage."""

HEAT_SIGMA_VOXELS = 4.0
"""Width of the Gaussian around an organ's centre that SOL-Net learns: about a small organ's radius at 4 mm.

The paper gives no figure. With 2 the larynx' map stayed flat for 1450 steps: seven eighths fewer voxels pull it up.
"""


def mean_diameter(cases: Sequence[TrainingCase], organ: int) -> Array:
    """Mean extent in voxels `(z, y, x)` of an organ over the cases that show it. Raises RecipeError if none does."""
    sides = [side for case in cases if (side := extent(case, organ)) is not None]
    if not sides:
        raise RecipeError(f"no case shows class {organ}; FocusNet needs its size")
    return np.asarray(np.mean(sides, axis=0))


def box_of(diameter: Array, patch: Sequence[int], factor: float) -> list[int]:
    """Sides of the pooled box: `factor` mean diameters (3 in the paper), even, no larger than the patch."""
    return [int(min(p, 2 * round(factor * d / 2))) for d, p in zip(diameter, patch, strict=True)]


def with_boxes(recipe: Recipe, cases: Sequence[TrainingCase]) -> Recipe:
    """The recipe with its small organs' channels and box sides measured on the training set."""
    if not recipe.small_organs or "boxes" in recipe.arguments:
        return recipe
    small = [recipe.classes.index(name) + 1 for name in recipe.small_organs]
    boxes = [side for c in small for side in box_of(mean_diameter(cases, c), recipe.patch, recipe.box_diameters)]
    return recipe.model_copy(update={"arguments": {**recipe.arguments, "small": small, "boxes": boxes}})


def check_measured(recipe: Recipe) -> None:
    """Raise RecipeError if a recipe's small organs have no boxes: `train` measures them and writes them down."""
    if recipe.small_organs and "boxes" not in recipe.arguments:
        raise RecipeError(
            f"recipe {recipe.name} does not say how large the boxes of {', '.join(recipe.small_organs)} are, which "
            "`train` measures on its cases; use the recipe.yaml beside the runs"
        )


def centres_of(labels: Tensor, small: Sequence[int]) -> Tensor:
    """Centre of gravity in voxels `(batch, small, 3)` of each small organ, or -1 where it is not in the patch."""
    out = torch.full((labels.shape[0], len(small), 3), -1.0)
    for b in range(labels.shape[0]):
        for k, organ in enumerate(small):
            voxels = (labels[b] == organ).nonzero().float()
            if len(voxels):
                out[b, k] = voxels.mean(dim=0)
    return out.to(labels.device)


def heat_maps(centres: Tensor, shape: Sequence[int], sigma: float = HEAT_SIGMA_VOXELS) -> Tensor:
    """Gaussians `(batch, small, z, y, x)` of height 1 around the centres, or 0 where there is none."""
    squared = torch.zeros(*centres.shape[:2], *shape, device=centres.device)
    for axis, n in enumerate(shape):
        apart = torch.arange(n, device=centres.device, dtype=torch.float32) - centres[..., axis, None]
        view = [*centres.shape[:2], 1, 1, 1]
        view[2 + axis] = n
        squared = squared + apart.pow(2).view(view)
    there = (centres[..., 0] >= 0)[..., None, None, None]
    return torch.exp(-squared / (2 * sigma**2)) * there


def heat_loss(heat: Tensor, centres: Tensor, annotated: Tensor, small: Sequence[int]) -> Tensor:
    """Mean squared error over the organs that are drawn, weighted so that a Gaussian's few voxels are felt.

    In a volume of 10^5 voxels a peak of a hundred is forgotten without weights: the flat map is then the optimum.
    """
    target = heat_maps(centres, heat.shape[2:])
    asked = annotated[:, list(small)].float()[:, :, None, None, None]
    return ((1.0 + 200.0 * target) * (heat.float() - target).pow(2) * asked).mean()


def cropped(labels: Tensor, starts: Tensor, shape: Sequence[int]) -> Tensor:
    """Labels `(batch, z, y, x)` inside boxes of `shape` at `starts` `(batch, 3)`."""
    rows = []
    for b in range(labels.shape[0]):
        z, y, x = (int(v) for v in starts[b])
        rows.append(labels[b, z : z + shape[0], y : y + shape[1], x : x + shape[2]])
    return torch.stack(rows)


def box_loss(parts: Parts, patch: Patch, small: Sequence[int]) -> Tensor:
    """Focal (gamma 2) plus 1 - Dice of each small organ inside its box. Organs that are not drawn are left out.

    A box that misses its organ, as a localised one may, has no Dice. Its focal term teaches to find nothing there.
    """
    terms = [torch.zeros((), device=patch.labels.device)]
    for k, organ in enumerate(small):
        logits = parts.roi[k][:, 0].float()
        truth = (cropped(patch.labels, parts.starts[k], logits.shape[1:]) == organ).float()
        drawn = patch.annotated[:, organ].float()
        inside = (truth.flatten(1).sum(1) > 0).float()
        surprise = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        focal = ((1 - torch.exp(-surprise)).pow(2) * surprise).flatten(1).mean(1)
        dice = losses.class_dice(logits.sigmoid()[:, None], truth[:, None])[:, 0]
        terms.append((drawn * (focal + inside * (1 - dice))).mean())
    return torch.stack(terms).sum()


class Staged(nn.Module):
    """FocusNet as one stage trains it: its forward pass ends in the stage's loss."""

    def __init__(self, net: FocusNet, stage: Stage, sizes: Tensor, bf16: bool) -> None:
        super().__init__()
        self.net, self.stage, self.bf16 = net, stage, bf16
        self.register_buffer("sizes", sizes, persistent=False)
        for part in FROZEN[stage]:
            getattr(net, part).requires_grad_(False)

    def forward(self, image: Tensor, labels: Tensor, annotated: Tensor) -> Tensor:
        patch, centres = Patch(image, labels, annotated), centres_of(labels, self.net.small)
        if self.stage == "semantic":
            return self._semantic(self._half(lambda: self.net.snet(image)[0]), patch)
        if self.stage == "localise":
            heat = self._half(lambda: torch.sigmoid(self.net.sol(self.net.snet(image)[1])))
            return heat_loss(heat, centres, annotated, self.net.small)
        true = centres if self.stage == "small" else None
        parts = self._half(lambda: self.net.parts(image, true))
        boxes = box_loss(parts, patch, self.net.small)
        if self.stage == "small":
            return boxes
        return self._semantic(parts.semantic, patch) + boxes + heat_loss(parts.heat, centres, annotated, self.net.small)

    def _half(self, run: Callable[[], T]) -> T:
        with torch.autocast(self.get_buffer("sizes").device.type, torch.bfloat16, enabled=self.bf16):
            return run()

    def _semantic(self, logits: Tensor, patch: Patch) -> Tensor:
        return losses.focal_dice(logits, patch.labels, patch.annotated, self.get_buffer("sizes"))


class SemanticOnly(nn.Module):
    """FocusNet before its small-organ networks have learned: S-Net's answer alone."""

    def __init__(self, net: FocusNet) -> None:
        super().__init__()
        self.snet = net.snet

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.snet(image)[0]
        return logits


def answering(net: nn.Module, recipe: Recipe) -> nn.Module:
    """The network whose answer a run is measured by: a FocusNet of the first two stages speaks through S-Net alone."""
    if recipe.stage in ("semantic", "localise") and isinstance(net, FocusNet):
        return SemanticOnly(net).train(net.training)
    return net
