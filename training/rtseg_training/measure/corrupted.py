"""Copies of a case with one fault each, whose true contours are still known. They stand for failures that are rare.

A copy is a case like any other: the fault is in its CT, and where the fault moves the patient its contours move along.
Everything random comes from the seed, so that a copy can be made again.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from rtseg_daemon.anatomy.volume import AIR_HU, Array, Volume
from rtseg_training.sets.cases import Case

MUSCLE_HU = 50.0
FAT_HU = -100.0
BED_NOISE_HU = 15.0
"""Spread of the tissue that fills a bed, about that of a planning CT's muscle."""
FILLED = "empty"


@dataclass(frozen=True)
class Fault:
    """One kind of corruption.

    Args:
        name: how the table calls it.
        of: makes the copy from a case and a generator, or None where the case cannot have this fault.
        kind: `image` (the patient is as before), `scan` (another part or grid), `absent` (an organ is gone), `region`
            (another part of the body, or another position: such a case must be held).
    """

    name: str
    of: "Callable[[Case, np.random.Generator], Case | None]"
    kind: str


def with_hu(case: Case, hu: Array) -> Case:
    """`case` with another CT on the same grid, kept to what a stored CT can hold."""
    kept = np.clip(np.rint(hu), -1024, 8000).astype(np.int16)
    return replace(case, ct=case.ct.with_array(kept))


def noisy(sigma_hu: float) -> Callable[[Case, np.random.Generator], Case]:
    """Gaussian noise of this standard deviation (HU) in every voxel of the patient."""

    def apply(case: Case, rng: np.random.Generator) -> Case:
        hu = case.ct.array.astype(np.float32)
        inside = hu > AIR_HU
        return with_hu(case, hu + inside * rng.normal(0.0, sigma_hu, hu.shape))

    return apply


def shifted_hu(by: float) -> Callable[[Case, np.random.Generator], Case]:
    """All of the patient `by` HU brighter: another beam, or contrast agent everywhere."""

    def apply(case: Case, _rng: np.random.Generator) -> Case:
        hu = case.ct.array.astype(np.float32)
        return with_hu(case, np.where(hu > AIR_HU, hu + by, hu))

    return apply


def streaked(case: Case, rng: np.random.Generator) -> Case | None:
    """Streaks of 400 HU from two fillings at the mandible, over 30 mm of height. None without a mandible."""
    if case.status.get("Bone_Mandible") != "drawn":
        return None
    hu = case.ct.array.astype(np.float32)
    jaw = np.argwhere(case.mask("Bone_Mandible"))
    dz, dy, dx = case.ct.spacing_mm
    middle = jaw.mean(axis=0)
    y, x = np.ogrid[: hu.shape[1], : hu.shape[2]]
    for side in (-1, 1):
        y0, x0 = (jaw[:, 1].min() + middle[1]) / 2, middle[2] + side * 20.0 / dx
        angle = np.arctan2((y - y0) * dy, (x - x0) * dx)
        radius = np.hypot((y - y0) * dy, (x - x0) * dx)
        rays = np.sin(9 * angle + rng.uniform(0, 6.28)) * 400.0 * np.exp(-radius / 60.0)
        for z in range(hu.shape[0]):
            if abs((z - middle[0]) * dz) <= 15.0:
                hu[z] += np.where(hu[z] > AIR_HU, rays, 0.0)
                hu[z][(radius < 5.0) & (hu[z] > AIR_HU)] = 3000.0
    return with_hu(case, hu)


def cut_to(case: Case, first: int, stop: int, least: int = 24) -> Case | None:
    """The slices `[first, stop)` of a case. None where fewer than `least` are left.

    An organ of which nothing is left is `outside`. One of which a part is left stays drawn.
    """
    if stop - first < least:
        return None
    ct = Volume(case.ct.array[first:stop], case.ct.spacing_mm, (case.ct.origin_mm[0] + first * case.ct.spacing_mm[0],
                case.ct.origin_mm[1], case.ct.origin_mm[2]))  # fmt: skip
    cut = replace(case, ct=ct, bits=case.bits[first:stop])
    status = {
        name: "outside" if stated == "drawn" and not cut.mask(name).any() else stated
        for name, stated in case.status.items()
    }
    return replace(cut, status=status)


def half_gone(case: Case, rng: np.random.Generator) -> Case | None:
    """The upper or the lower half of the scan alone."""
    middle = case.ct.shape[0] // 2
    return cut_to(case, 0, middle) if rng.random() < 0.5 else cut_to(case, middle, case.ct.shape[0])


def no_shoulders(case: Case, _rng: np.random.Generator) -> Case | None:
    """Nothing below the widest narrow part: the scan ends 40 mm below the mandible, or has lost its lower third."""
    depth = case.ct.spacing_mm[0]
    first = case.ct.shape[0] // 3
    if case.status.get("Bone_Mandible") == "drawn":
        first = int(np.flatnonzero(case.mask("Bone_Mandible").any(axis=(1, 2)))[0] - 40.0 / depth)
    return cut_to(case, max(first, 1), case.ct.shape[0])


def thick(case: Case, _rng: np.random.Generator) -> Case | None:
    """Slices of 5 mm: two neighbours of 2 to 3 mm become their mean. An organ is where it was in either of the two."""
    dz, dy, dx = case.ct.spacing_mm
    count = case.ct.shape[0] // 2
    if not 2.0 <= dz <= 3.0 or count < 24:
        return None
    hu = case.ct.array[: 2 * count].astype(np.float32)
    mean = (hu[0::2] + hu[1::2]) / 2
    z, y, x = case.ct.origin_mm
    ct = Volume(np.rint(mean).astype(np.int16), (2 * dz, dy, dx), (z + dz / 2, y, x))
    return replace(case, ct=ct, bits=case.bits[0 : 2 * count : 2] | case.bits[1 : 2 * count : 2])


def rotated(degrees: float, axes: tuple[int, int] = (0, 1)) -> Callable[[Case, np.random.Generator], Case]:
    """The patient turned about the middle of the scan, by default in the sagittal plane, up or down by the seed.

    Voxels are turned in mm. HU are interpolated linearly, contours go with the nearest voxel.
    """

    def apply(case: Case, rng: np.random.Generator) -> Case:
        angle = np.deg2rad(degrees) * (1 if rng.random() < 0.5 else -1)
        turn = np.eye(3)
        turn[np.ix_(axes, axes)] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        return moved(case, turn)

    return apply


def zoomed(factor: float) -> Callable[[Case, np.random.Generator], Case]:
    """The patient larger (or smaller) by `factor` along every axis."""

    def apply(case: Case, _rng: np.random.Generator) -> Case:
        z, y, x = (step * factor for step in case.ct.spacing_mm)
        return replace(case, ct=replace(case.ct, spacing_mm=(z, y, x)))

    return apply


def moved(case: Case, turn: Array) -> Case:
    """The patient turned by the matrix `turn` (z, y, x in mm) about the middle of the scan, on the same grid."""
    steps = np.asarray(case.ct.spacing_mm)
    matrix = np.diag(1 / steps) @ turn.T @ np.diag(steps)
    middle = (np.asarray(case.ct.shape) - 1) / 2
    offset = middle - matrix @ middle
    hu = ndimage.affine_transform(case.ct.array.astype(np.float32), matrix, offset, order=1, cval=AIR_HU)
    bits = ndimage.affine_transform(case.bits.astype(np.float64), matrix, offset, order=0, cval=0).astype(np.uint32)
    return replace(with_hu(case, hu), bits=bits)


def filled(organ: str, tissue_hu: float) -> Callable[[Case, np.random.Generator], Case | None]:
    """`organ` taken out and its bed filled with tissue of `tissue_hu`: there is nothing to contour any more."""

    def apply(case: Case, rng: np.random.Generator) -> Case | None:
        if case.status.get(organ) != "drawn":
            return None
        mask = ndimage.binary_dilation(case.mask(organ), iterations=1)
        hu = case.ct.array.astype(np.float32)
        share = ndimage.gaussian_filter(mask.astype(np.float32), 0.7)
        bed = tissue_hu + rng.normal(0.0, BED_NOISE_HU, hu.shape)
        gone = np.uint32(1) << np.uint32(case.structures.index(organ))
        out = with_hu(case, np.where(hu > AIR_HU, share * bed + (1 - share) * hu, hu))
        return replace(out, bits=case.bits & ~gone, status=case.status | {organ: FILLED})

    return apply


# --- another region, another position -------------------------------------------------------------------------------


def flipped(axes: tuple[int, ...]) -> Callable[[Case, np.random.Generator], Case]:
    """The voxels in reverse order along `axes` of (z, y, x), with the same header: what a wrong header shows."""

    def apply(case: Case, _rng: np.random.Generator) -> Case:
        hu, bits = np.flip(case.ct.array, axes), np.flip(case.bits, axes)
        return replace(with_hu(case, hu), bits=np.ascontiguousarray(bits))

    return apply


def turned_90(case: Case, _rng: np.random.Generator) -> Case:
    """Pixels turned by 90 degrees in the slice."""
    z, y, x = case.ct.spacing_mm
    hu = np.ascontiguousarray(np.rot90(case.ct.array, 1, (1, 2)))
    bits = np.ascontiguousarray(np.rot90(case.bits, 1, (1, 2)))
    return replace(case, ct=Volume(hu, (z, x, y), case.ct.origin_mm), bits=bits)


def brain_alone(case: Case, _rng: np.random.Generator) -> Case | None:
    """What lies above the brainstem's middle: a scan of the brain."""
    if case.status.get("Brainstem") != "drawn":
        return None
    rows = np.flatnonzero(case.mask("Brainstem").any(axis=(1, 2)))
    first = int(rows.mean())
    return cut_to(case, first, case.ct.shape[0], 16)


def chest_alone(case: Case, _rng: np.random.Generator) -> Case | None:
    """What lies below the larynx, or below the mandible by 60 mm: the upper chest."""
    if case.status.get("Larynx") == "drawn":
        stop = int(np.flatnonzero(case.mask("Larynx").any(axis=(1, 2)))[0])
    elif case.status.get("Bone_Mandible") == "drawn":
        low = np.flatnonzero(case.mask("Bone_Mandible").any(axis=(1, 2)))[0]
        stop = int(low - 60.0 / case.ct.spacing_mm[0])
    else:
        return None
    return cut_to(case, 0, stop)


FAULTS = (
    Fault("noise of 20 HU", noisy(20.0), "image"),
    Fault("noise of 60 HU", noisy(60.0), "image"),
    Fault("noise of 150 HU", noisy(150.0), "image"),
    Fault("streaks", streaked, "image"),
    Fault("60 HU brighter", shifted_hu(60.0), "image"),
    Fault("80 HU darker", shifted_hu(-80.0), "image"),
    Fault("half of the scan gone", half_gone, "scan"),
    Fault("no shoulders", no_shoulders, "scan"),
    Fault("slices of 5 mm", thick, "scan"),
    Fault("turned by 15 degrees", rotated(15.0), "scan"),
    Fault("1.3 times as large", zoomed(1.3), "scan"),
    Fault("0.75 times as large", zoomed(0.75), "scan"),
    Fault("Parotid_L filled with muscle", filled("Parotid_L", MUSCLE_HU), "absent"),
    Fault("Parotid_R filled with fat", filled("Parotid_R", FAT_HU), "absent"),
    Fault("brain alone", brain_alone, "region"),
    Fault("chest alone", chest_alone, "region"),
    Fault("pixels turned by 90 degrees", turned_90, "region"),
    Fault("pixels turned by 180 degrees", flipped((1, 2)), "region"),
    Fault("slices in reversed order", flipped((0,)), "region"),
)
"""Every fault, in the order of the table. Left and right exchanged is not among them: no gate can see it."""


def corrupted(case: Case, fault: Fault, seed: int) -> Case | None:
    """The copy of `case` with `fault`, named after both, or None where it cannot have it."""
    number = sum(map(ord, case.name + fault.name))
    made = fault.of(case, np.random.default_rng([seed, number]))
    return None if made is None else replace(made, name=f"{case.name}: {fault.name}")
