"""Random patches of prepared cases.

A patch depends on (seed, step, place in the batch) alone, so a run that is taken up again sees what it would have seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from rtseg_daemon.anatomy.sides import mirrored_channels
from rtseg_daemon.anatomy.volume import AIR_HU, Array, Box, Shape
from rtseg_daemon.segment.infer import network_input, padded_window
from rtseg_training.learn.prepared import TrainingCase
from rtseg_training.learn.recipe import Augment, Recipe


@dataclass(frozen=True)
class Patch:
    """Network input `(1, z, y, x)` float32, labels `(z, y, x)` int64, annotated `(classes,)` bool."""

    image: torch.Tensor
    labels: torch.Tensor
    annotated: torch.Tensor


def class_names(recipe: Recipe) -> list[str]:
    """The classes in channel order, background first."""
    return ["background", *recipe.classes]


def sampled_size(recipe: Recipe, whole: Sequence[int]) -> Sequence[int]:
    """Voxels `(z, y, x)` of the part that the recipe samples. The whole volume where it says nothing."""
    if recipe.sample_mm is None:
        return whole
    return [max(1, round(e / s)) for e, s in zip(recipe.sample_mm, recipe.spacing_mm, strict=True)]


def sampled_box(shape: Sequence[int], size: Sequence[int]) -> Box:
    """The part of a volume, `size` voxels at most, from which patches come: its top along z, its middle in-plane."""
    stop = [shape[0], *((n + min(n, s)) // 2 for n, s in zip(shape[1:], size[1:], strict=True))]
    start = [max(0, b - s) for b, s in zip(stop, size, strict=True)]
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def patch_corner(box: Box, patch: Sequence[int], jitter: Sequence[int], rng: np.random.Generator) -> Shape:
    """Where a patch starts: anywhere it fits into the box, and up to half of `jitter` voxels beyond its edge."""
    corner = []
    for start, n, p, j in zip(box.start, box.shape, patch, jitter, strict=True):
        low, high = min(0, n - p), max(0, n - p)
        corner.append(start + int(rng.integers(low - j // 2, high + j // 2 + 1)))
    return corner[0], corner[1], corner[2]


def foreground_corner(case: TrainingCase, patch: Sequence[int], rng: np.random.Generator) -> Shape | None:
    """A corner that puts a voxel of one of the case's organs, each organ as likely, somewhere in the patch's middle."""
    present = np.flatnonzero(case.counts[1:]) + 1
    if present.size == 0:
        return None
    voxels = case.voxels(int(rng.choice(present)))
    point = np.unravel_index(int(voxels[rng.integers(len(voxels))]), case.hu.shape)
    corner = [int(c - p // 2 + rng.integers(-(p // 4), p // 4 + 1)) for c, p in zip(point, patch, strict=True)]
    return corner[0], corner[1], corner[2]


def sampling_points(
    patch: Sequence[int], spacing: Sequence[float], augment: Augment, rng: np.random.Generator
) -> Array:
    """Displacement in voxels `(z, y, x, 3)` of a random rotation, scaling and smooth elastic field about the centre."""
    axes = [np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in patch]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) * np.asarray(spacing, np.float32)
    angles = np.deg2rad(rng.uniform(-augment.rotate_deg, augment.rotate_deg, 3))
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [i for i in range(3) if i != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    matrix = matrix * rng.uniform(1 - augment.scale, 1 + augment.scale, 3)
    moved = points @ matrix.T.astype(np.float32)
    if augment.elastic_mm > 0:
        coarse = torch.from_numpy(rng.normal(0, augment.elastic_mm, (1, 3, 5, 5, 5)).astype(np.float32))
        field = F.interpolate(coarse, size=tuple(patch), mode="trilinear", align_corners=True)[0]
        moved = moved + field.permute(1, 2, 3, 0).numpy()
    return np.asarray(moved / np.asarray(spacing, np.float32) + (np.asarray(patch, np.float32) - 1) / 2)


def warp(array: Array, points: Array, mode: str, fill: float) -> Array:
    """`array` `(z, y, x)` read at `points` (voxel indices), `fill` outside."""
    size = np.asarray(array.shape, np.float32)
    grid = torch.from_numpy(np.ascontiguousarray((2 * points[..., ::-1] + 1) / size[::-1] - 1))
    source = torch.from_numpy(array.astype(np.float32) - fill)[None, None]
    out = F.grid_sample(source, grid[None], mode=mode, padding_mode="zeros", align_corners=False)
    return np.asarray(out[0, 0].numpy() + fill)


def random_patch(
    cases: Sequence[TrainingCase], recipe: Recipe, seed: int, step: int, place: int, places: int | None = None
) -> Patch:
    """The patch of this step and place among the step's `places` (the batch size, over all devices), augmented."""
    rng = np.random.default_rng((seed, step, place))
    epoch, index = divmod(step * (places or recipe.batch) + place, len(cases))
    order = np.random.default_rng((seed, epoch)).permutation(len(cases))
    case = cases[int(order[index])]
    whole = case.hu
    corner = patch_corner(sampled_box(whole.shape, sampled_size(recipe, whole.shape)), recipe.patch, recipe.jitter, rng)
    if recipe.foreground and rng.random() < recipe.foreground:
        corner = foreground_corner(case, recipe.patch, rng) or corner
    augment = recipe.augment
    hu = padded_window(whole.array, corner, recipe.patch, AIR_HU).astype(np.float32)
    labels = padded_window(case.labels, corner, recipe.patch, 0)
    bends = augment.rotate_deg or augment.scale or augment.elastic_mm
    if bends and (augment.warp >= 1 or rng.random() < augment.warp):
        points = sampling_points(recipe.patch, recipe.spacing_mm, augment, rng)
        hu = warp(hu, points, "bilinear", AIR_HU)
        labels = np.rint(warp(labels, points, "nearest", 0)).astype(np.uint8)
    annotated = case.annotated
    if rng.random() < augment.flip:
        swap = np.asarray(mirrored_channels(class_names(recipe)))
        hu, labels, annotated = hu[:, :, ::-1], swap[labels[:, :, ::-1]], annotated[swap]
    hu = augmented_intensity(np.ascontiguousarray(hu), augment, rng)
    image = network_input(hu, recipe.intensity[int(rng.integers(len(recipe.intensity)))])
    return Patch(
        torch.from_numpy(image)[None],
        torch.from_numpy(np.ascontiguousarray(labels).astype(np.int64)),
        torch.from_numpy(annotated.copy()),
    )


def augmented_intensity(hu: Array, augment: Augment, rng: np.random.Generator) -> Array:
    """In-plane blur, contrast, shift and noise inside the body. Air around it stays air."""
    inside = hu > AIR_HU + 1
    if augment.blur and rng.random() < 0.5:
        share = np.float32(rng.uniform(0, augment.blur))
        for axis in (1, 2):
            hu = (1 - 2 * share) * hu + share * (np.roll(hu, 1, axis) + np.roll(hu, -1, axis))
    gain = rng.uniform(1 - augment.contrast, 1 + augment.contrast)
    shift = rng.uniform(-augment.shift_hu, augment.shift_hu)
    noise = rng.standard_normal(hu.shape, np.float32) * np.float32(rng.uniform(0, augment.noise_hu))
    return np.asarray(np.where(inside, (hu + 1000) * np.float32(gain) - 1000 + np.float32(shift) + noise, hu))


def batch_of(
    cases: Sequence[TrainingCase], recipe: Recipe, seed: int, step: int, rank: int = 0, world: int = 1
) -> Patch:
    """This device's batch of a step: image `(b, 1, z, y, x)`, labels `(b, z, y, x)`, annotated `(b, classes)`."""
    places = recipe.batch * world
    mine = range(rank * recipe.batch, (rank + 1) * recipe.batch)
    patches = [random_patch(cases, recipe, seed, step, place, places) for place in mine]
    return Patch(
        torch.stack([p.image for p in patches]),
        torch.stack([p.labels for p in patches]),
        torch.stack([p.annotated for p in patches]),
    )


def label_frequencies(cases: Sequence[TrainingCase], classes: int) -> torch.Tensor:
    """Mean voxels of each class per case that has it annotated (classes without such a case: 0)."""
    voxels, drawn = np.zeros(classes), np.zeros(classes)
    for case in cases:
        voxels += case.counts * case.annotated
        drawn += case.annotated
    return torch.from_numpy(voxels / np.maximum(drawn, 1)).float()


def drawn_counts(cases: Sequence[TrainingCase], classes: int) -> torch.Tensor:
    """In how many cases each class is annotated `(classes,)`: the background where all organs are (seed 003, eq. 5)."""
    counts = np.zeros(classes, np.float32)
    for case in cases:
        counts += case.annotated
        counts[0] += float(case.annotated[1:].all()) - float(case.annotated[0])
    return torch.from_numpy(counts)
