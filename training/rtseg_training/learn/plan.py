"""A recipe for another data set: its grid, windows and network from the set's spacings, sizes and organs.

The rules are nnU-Net's where it has one (Isensee et al., Nature Methods 18, 2021): the median spacing, a patch as large
as memory allows, two patches a step at least. Each number carries its reason as a comment.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rtseg_daemon.anatomy.sides import one_sided
from rtseg_daemon.anatomy.volume import Array
from rtseg_training.errors import RecipeError
from rtseg_training.sets.reach import Looked

WIDTHS = (48, 32, 24, 16, 8)
"""3D-SepNet's own width first. Memory decides."""

PAPERS_PATCH = (16, 128, 128)
"""3D-SepNet's patch at its spacing. A smaller one than this many voxels is taken of a narrower network only."""

BYTES_OF_WIDTH, BYTES_OF_CLASS = 300, 60
"""What a step takes for each voxel, in float32: by channel of the network's width, and by class (measured)."""

RESERVE = 2 * 2**30
"""For the program, its weights and everything else."""

MOST_BATCH = 6
"""3D-SepNet's."""

STEP = 8
"""Sides of 3D-SepNet's patches are multiples of it."""

MARGIN_MM = 30.0
LEAST_DRAWN = 5
EPOCHS, EPOCHS_A_RATE = 250, 10


@dataclass(frozen=True)
class Plan:
    """A recipe's numbers, and the organs that are too few to be learned."""

    spacing_mm: tuple[float, float, float]
    extent_mm: tuple[float, float, float]
    patch: tuple[int, int, int]
    window_step: tuple[int, int, int] | None
    in_plane: str
    width: int
    batch: int
    steps: int
    every: int
    classes: list[str]
    left_out: dict[str, int]
    cases: int
    memory: int


def median_spacing(spacings: Array) -> tuple[float, float, float]:
    """The median over cases `(cases, 3)`. An axis over three times as coarse as the finest takes its 10th percentile.

    So no slice is invented where slices are far apart, and thin ones are not thrown away.
    """
    middle = np.median(spacings, axis=0)
    coarse = int(middle.argmax())
    if middle[coarse] > 3 * middle.min():
        middle[coarse] = max(np.percentile(spacings[:, coarse], 10), middle.min())
    z, y, x = (round(float(v), 3) for v in middle)
    return z, y, x


def extent_of(reaches: Array, spacing: Sequence[float]) -> tuple[float, float, float]:
    """What the network looks at: 98 % of the organs' reaches `(cases, 3)` and a margin, in whole voxels."""
    z, y, half = np.percentile(reaches, 98, axis=0)
    wanted = (z + MARGIN_MM, y + MARGIN_MM, 2 * (half + MARGIN_MM))
    sides = [math.ceil(side / s) * s for side, s in zip(wanted, spacing, strict=True)]
    return round(sides[0], 1), round(sides[1], 1), round(sides[2], 1)


def step_bytes(patch: Sequence[int], width: int, classes: int) -> int:
    """Memory of one patch in a step of 3D-SepNet."""
    return int(np.prod(patch)) * (BYTES_OF_WIDTH * width + BYTES_OF_CLASS * (classes + 1))


def fitting_patch(shape: Sequence[int], spacing: Sequence[float], room: float) -> tuple[int, int, int]:
    """The largest patch of at most `room` voxels: the whole extent, its longest side in mm cut until it fits."""
    sides = [max(STEP, math.ceil(n / STEP) * STEP) for n in shape]
    while np.prod(sides) > room and max(sides) > STEP:
        longest = max((k for k in range(3) if sides[k] > STEP), key=lambda k: sides[k] * spacing[k])
        sides[longest] -= STEP
    return sides[0], sides[1], sides[2]


def chosen_classes(drawn: dict[str, int], cases: int) -> tuple[list[str], dict[str, int]]:
    """Organs that enough cases have, and those that do not. A side without its twin goes with it."""
    needed = max(min(LEAST_DRAWN, cases), math.ceil(cases / 20))
    classes = sorted(organ for organ, count in drawn.items() if count >= needed)
    while lone := one_sided(classes):
        classes = [organ for organ in classes if organ not in lone]
    return classes, {organ: count for organ, count in sorted(drawn.items()) if organ not in classes}


def planned(looked: Sequence[Looked], drawn: dict[str, int], memory: int) -> Plan:
    """The plan for a set. Raises RecipeError where too few cases have an organ, or `memory` bytes do not suffice."""
    classes, left_out = chosen_classes(drawn, len(looked))
    reaches = [one.reach_mm for one in looked if one.reach_mm is not None]
    if not classes or not reaches:
        raise RecipeError("no organ is drawn in enough cases to be learned; look into the sets' import.md")
    spacing = median_spacing(np.asarray([one.spacing_mm for one in looked]))
    extent = extent_of(np.asarray(reaches), spacing)
    shape = [round(e / s) for e, s in zip(extent, spacing, strict=True)]
    for width in WIDTHS:
        voxel = step_bytes((1, 1, 1), width, len(classes))
        room = (memory - RESERVE) / voxel
        if room >= 2 * min(np.prod(PAPERS_PATCH), np.prod(shape)) or (width == WIDTHS[-1] and room >= 2 * 32**3):
            break
    else:
        raise RecipeError(f"{memory / 2**30:.0f} GiB hold no step of the narrowest network; name more with --memory")
    patch = fitting_patch(shape, spacing, room / 2)
    batch = max(2, min(MOST_BATCH, int(room / np.prod(patch))))
    whole = all(2 * p >= n for p, n in zip(patch, shape, strict=True))
    epoch = math.ceil(len(looked) / batch)
    return Plan(
        spacing, extent, patch, (STEP, STEP, STEP) if whole else None,
        "sample" if min(spacing[1:]) >= 2.5 else "average", width, batch,
        max(4000, EPOCHS * epoch), max(160, EPOCHS_A_RATE * epoch), classes, left_out, len(looked), memory,
    )  # fmt: skip


MEMBERS = (
    ("slf1-a05", "SLF1", 0.5), ("slf2-a05", "SLF2", 0.5), ("slf3-a05", "SLF3", 0.5),
    ("slf1-a1", "SLF1", 1.0), ("slf2-a1", "SLF2", 1.0), ("slf3-a1", "SLF3", 1.0),
)  # fmt: skip

WORDS = {
    "sample": "pixels as large as these were sampled, as a rule: bench/sharpness.py tells",
    "average": "pixels of this size hold what smaller ones average to",
}


def recipe_text(plan: Plan, name: str) -> str:
    """The recipe as YAML, every number with its reason above it."""
    few = ", ".join(f"{organ} ({count})" for organ, count in plan.left_out.items())
    need = plan.batch * step_bytes(plan.patch, plan.width, len(plan.classes)) / 2**30
    lines = [
        f"# Made by rtseg-train plan from {plan.cases} cases for {plan.memory / 2**30:.0f} GiB.",
        "# A proposal: change what you know better.",
        f"name: {name}",
        "# 3D-SepNet, the default for organs at risk. The paper has width 48. This is the widest of which two patches",
        "# of the paper's size fit into the memory.",
        "family: sepnet",
        f"arguments: {{width: {plan.width}}}",
        f"# Too few cases have: {few}." if few else "# Every organ that is drawn has cases enough.",
        f"classes: [{', '.join(plan.classes)}]",
        "# The median over cases. An axis over three times as coarse as the finest takes its 10th percentile.",
        f"spacing_mm: {list(plan.spacing_mm)}",
        f"# {WORDS[plan.in_plane].capitalize()}.",
        f"in_plane: {plan.in_plane}",
        f"# From the top and the front of the body: what 98 % of the cases' organs need, and {MARGIN_MM:.0f} mm.",
        f"extent_mm: {list(plan.extent_mm)}",
        "# The extent, its longest side in mm cut until two patches fit into the memory.",
        f"patch: {list(plan.patch)}",
        *window_lines(plan),
        f"# About {need:.1f} GiB a step in float32. The paper has {MOST_BATCH}.",
        f"batch: {plan.batch}",
        "jitter: [4, 8, 8]",
        "# Small organs are seen in every epoch.",
        "foreground: 0.33",
        "# Loss, optimizer and schedule are the paper's: the rate falls every 10 epochs.",
        "intensity: [SLF1]",
        "loss: {name: ath_l_exp, alpha: 0.5}",
        "optimizer: {name: adam, lr: 1.0e-3, weight_decay: 1.0e-8}",
        f"schedule: {{name: step, every: {plan.every}, factor: 0.9}}",
        f"# {EPOCHS} epochs of {plan.cases} cases, and 4000 steps at least.",
        f"steps: {plan.steps}",
        "# What rtseg-train audit lists and you find wrong.",
        "exclude: []",
        "# The paper's six: three intensity transforms, two alphas.",
        "members:",
    ]
    lines += [
        f"  - {{name: {member}, seed: {k}, intensity: [{slf}], loss: {{alpha: {alpha}}}}}"
        for k, (member, slf, alpha) in enumerate(MEMBERS, 1)
    ]
    return "\n".join(lines) + "\n"


def window_lines(plan: Plan) -> list[str]:
    """How volumes go in use."""
    if plan.window_step is None:
        return ["# No window_step: the patch holds less than half of the extent, so volumes go in windows of it."]
    return [
        "# The patch holds half of each side of the extent or more: in use volumes go in one piece.",
        f"window_step: {list(plan.window_step)}",
    ]
