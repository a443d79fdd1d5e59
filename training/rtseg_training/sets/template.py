"""A population average of head-and-neck patients: what the daemon's phantom is made from.

Whole (uncropped) patients are brought onto one of them by their organs' centres and an affine transform, then twice
deformed to the average of the round before. No single patient's image is kept. The median over the patients keeps
the edges of bone and air that a mean would blur.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from rtseg_daemon.anatomy.image import to_image
from rtseg_daemon.anatomy.volume import AIR_HU, Array, Grid, Shape, Triple, Volume, bounding_box
from rtseg_daemon.segment.intensity import intensity_knots, segmental_linear
from rtseg_training.errors import CaseError
from rtseg_training.sets.cases import Case

SPACING_MM: Triple = (2.5, 3.906, 3.906)
SHAPE: Shape = (124, 88, 128)
DEFAULT_ORGANS = ("Brainstem", "SpinalCord", "Parotid_L", "Parotid_R", "Bone_Mandible", "Larynx", "Esophagus")
LABEL_SHARE = 0.3
"""How much an organ's contour adds to the image that is registered (SLF1 runs from 0 to 1)."""
DEMONS = ((4, 40, 1.5), (2, 30, 1.5), (1, 12, 1.2))
"""Shrink factor, iterations, smoothing of the field in voxels: coarse to fine."""

Report = Callable[[str], None]


def is_whole(case: Case) -> bool:
    """The body was not cut to a treated region: the lowest slices (chest) are nearly the largest."""
    area = (case.ct.array > -350).sum(axis=(1, 2)).astype(float)
    return float(np.median(area[:8])) > 0.6 * float(area.max())


def choose_cases(cases: Sequence[Case], organs: Sequence[str], count: int) -> list[Case]:
    """The `count` largest whole bodies with every organ drawn. Raises CaseError if fewer than four qualify.

    Args:
        cases: bodies without their couch (`cases.body_alone`).
    """
    able = [c for c in cases if is_whole(c) and all(c.status.get(o) == "drawn" for o in organs)]
    if len(able) < 4:
        raise CaseError(f"{len(able)} cases show a whole body with every organ drawn; a template needs at least 4")
    return sorted(able, key=lambda c: -float((c.ct.array > -350).sum()) * c.ct.voxel_ml)[:count]


def centre_mm(case: Case, organ: str) -> Array:
    """Centre of an organ in patient coordinates (x, y, z) mm."""
    index = np.argwhere(case.mask(organ)).mean(axis=0)
    point = np.asarray(case.ct.origin_mm) + index * np.asarray(case.ct.spacing_mm)
    return np.asarray(point[::-1])


def reference_grid(case: Case) -> Grid:
    """A grid of SHAPE and SPACING_MM with the case's top slice on top and its body in the middle of each slice."""
    box = bounding_box(case.ct.array > -350)
    assert box is not None
    top = case.ct.origin_mm[0] + (box.stop[0] - 1) * case.ct.spacing_mm[0]
    middle = [
        o + s * (a + b - 1) / 2
        for o, s, a, b in zip(case.ct.origin_mm, case.ct.spacing_mm, box.start, box.stop, strict=True)
    ]
    origin = [m - s * (n - 1) / 2 for m, s, n in zip(middle, SPACING_MM, SHAPE, strict=True)]
    return Grid(SHAPE, SPACING_MM, (top - SPACING_MM[0] * (SHAPE[0] - 1), origin[1], origin[2]))


def landmark_affine(fixed: Sequence[Array], moving: Sequence[Array]) -> sitk.AffineTransform:
    """Rotation, one scaling and shift that bring the organs' centres together (least squares).

    The organs lie nearly in one plane, so a full affine fit would be ill-posed. The scale comes from the spread.
    """
    f, m = np.asarray(fixed), np.asarray(moving)
    rigid = sitk.VersorRigid3DTransform(
        sitk.LandmarkBasedTransformInitializer(sitk.VersorRigid3DTransform(), f.ravel().tolist(), m.ravel().tolist())
    )
    scale = float(np.linalg.norm(m - m.mean(0)) / np.linalg.norm(f - f.mean(0)))
    transform = sitk.AffineTransform(3)
    transform.SetCenter(f.mean(0).tolist())
    transform.SetMatrix((np.asarray(rigid.GetMatrix()) * scale).tolist())
    transform.SetTranslation((m.mean(0) - f.mean(0)).tolist())
    return transform


def refine_affine(fixed: sitk.Image, moving: sitk.Image, start: sitk.AffineTransform) -> sitk.Transform:
    """Affine registration by mean squares on two coarse levels."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMeanSquares()
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.25)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 60)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2])
    method.SetSmoothingSigmasPerLevel([2, 1])
    method.SetInitialTransform(sitk.AffineTransform(start), inPlace=False)
    found: sitk.Transform = method.Execute(fixed, moving)
    return found


class Patient:
    """One case as the images to be registered: HU, organ shares, and both in one image."""

    def __init__(self, case: Case, organs: Sequence[str]) -> None:
        self.name = case.name
        self.centres = [centre_mm(case, organ) for organ in organs]
        self.hu = to_image(case.ct.with_array(case.ct.array.astype(np.float32)))
        self.shares = [to_image(case.ct.with_array(case.mask(o).astype(np.float32))) for o in organs]
        seen = registered_image(case.ct.array, [case.mask(o).astype(np.float32) for o in organs])
        self.seen = to_image(case.ct.with_array(seen))

    def at(self, grid: sitk.Image, transform: sitk.Transform) -> tuple[Array, Array]:
        """HU `(z, y, x)` (NaN outside the scan) and organ shares `(organs, z, y, x)` on `grid`."""
        hu = sitk.GetArrayFromImage(sitk.Resample(self.hu, grid, transform, sitk.sitkLinear, float("nan")))
        shares = [sitk.GetArrayFromImage(sitk.Resample(s, grid, transform, sitk.sitkLinear, 0.0)) for s in self.shares]
        return hu, np.stack(shares)


def registered_image(hu: Array, shares: Sequence[Array]) -> Array:
    """SLF1 of the HU plus LABEL_SHARE inside organs: contours guide what grey values leave open."""
    return np.asarray(segmental_linear(hu, *intensity_knots("SLF1")) + LABEL_SHARE * sum(shares), dtype=np.float32)


def deform(fixed: Array, patient: Patient, affine: sitk.Transform, grid: sitk.Image) -> sitk.Transform:
    """`affine` followed by a diffeomorphic demons field that brings the patient to the average image `fixed`."""
    target = sitk.GetImageFromArray(fixed)
    target.CopyInformation(grid)
    moving = sitk.GetArrayFromImage(sitk.Resample(patient.seen, grid, affine, sitk.sitkLinear, float("nan")))
    source = sitk.GetImageFromArray(np.where(np.isnan(moving), fixed, moving))
    source.CopyInformation(grid)
    field: sitk.Image | None = None
    for shrink, iterations, sigma in DEMONS:
        small_fixed, small_moving = shrunk(target, shrink), shrunk(source, shrink)
        demons = sitk.DiffeomorphicDemonsRegistrationFilter()
        demons.SetNumberOfIterations(iterations)
        demons.SetStandardDeviations(sigma)
        demons.SmoothDisplacementFieldOn()
        if field is None:
            field = demons.Execute(small_fixed, small_moving)
        else:
            field = demons.Execute(small_fixed, small_moving, sitk.Resample(field, small_fixed))
    assert field is not None
    whole = sitk.Resample(sitk.Cast(field, sitk.sitkVectorFloat64), grid)
    return sitk.CompositeTransform([affine, sitk.DisplacementFieldTransform(whole)])


def shrunk(image: sitk.Image, factor: int) -> sitk.Image:
    if factor == 1:
        return image
    smooth = sitk.DiscreteGaussian(image, [(0.4 * factor * s) ** 2 for s in image.GetSpacing()])
    small: sitk.Image = sitk.Shrink(smooth, [factor] * 3)
    return small


def average(patients: Sequence[Patient], transforms: Sequence[sitk.Transform], grid: sitk.Image) -> tuple[Array, Array]:
    """Median HU over the patients that reach a voxel (air where fewer than a quarter do) and mean organ shares."""
    hus, total = [], None
    for patient, transform in zip(patients, transforms, strict=True):
        hu, shares = patient.at(grid, transform)
        hus.append(hu.astype(np.float32))
        total = shares if total is None else total + shares
    assert total is not None
    stack = np.stack(hus)
    seen = np.isfinite(stack).sum(axis=0)
    stack[0][seen == 0] = AIR_HU
    median = np.nanmedian(stack, axis=0)
    return np.where(seen * 4 >= len(patients), median, AIR_HU), total / len(patients)


def make_template(
    cases: Sequence[Case], organs: Sequence[str], report: Report, rounds: int = 2
) -> tuple[Volume, Array]:
    """The average HU volume and the organs' shares `(organs, z, y, x)` on its grid."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    volumes = [float((c.ct.array > -350).sum()) * c.ct.voxel_ml for c in cases]
    middle = int(np.argsort(volumes)[len(volumes) // 2])
    grid = reference_grid(cases[middle])
    canvas = to_image(Volume(np.zeros(grid.shape, np.float32), grid.spacing_mm, grid.origin_mm))
    patients = [Patient(case, organs) for case in cases]
    fixed = sitk.Resample(patients[middle].seen, canvas, sitk.Transform(), sitk.sitkLinear, 0.0)
    affine = []
    for patient in patients:
        report(f"affine {patient.name}")
        affine.append(refine_affine(fixed, patient.seen, landmark_affine(patients[middle].centres, patient.centres)))
    hu, shares = average(patients, affine, canvas)
    for number in range(1, rounds + 1):
        image = registered_image(hu, list(shares))
        transforms = []
        for patient, start in zip(patients, affine, strict=True):
            report(f"deform {number}/{rounds} {patient.name}")
            transforms.append(deform(image, patient, start, canvas))
        hu, shares = average(patients, transforms, canvas)
    return Volume(hu, grid.spacing_mm, grid.origin_mm), shares


def save_template(path: Path, hu: Volume, shares: Array, organs: Sequence[str], cases: int) -> None:
    """Compact file: HU in steps of 4 as int16, each organ's share as uint8 (255: certain) inside its box.

    Coordinates are the template's own: the centre of the volume is the origin, so nothing of a scanner remains.
    """
    size = np.asarray(hu.shape) * np.asarray(hu.spacing_mm)
    origin = (np.asarray(hu.spacing_mm) - size) / 2
    arrays = {
        "hu": (np.rint(np.clip(hu.array, -1000, 3000) / 4) * 4).astype(np.int16),
        "spacing_mm": np.asarray(hu.spacing_mm),
        "origin_mm": origin,
        "organs": np.asarray(list(organs)),
        "cases": np.asarray(cases),
    }
    for name, share in zip(organs, shares, strict=True):
        box = bounding_box(share > 0.02)
        if box is None:
            raise CaseError(f"template: {name} vanished in the average; choose other cases")
        arrays[f"box_{name}"] = np.asarray([box.start, box.stop])
        arrays[f"share_{name}"] = np.rint(share[box.slices] * 255).astype(np.uint8)
    np.savez_compressed(path, **arrays)
