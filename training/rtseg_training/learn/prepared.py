"""A case made ready for one recipe: on its grid, cropped around the patient, one label per voxel."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from rtseg_daemon.anatomy.volume import AIR_HU, Array, Volume
from rtseg_daemon.segment.body import body_mask, centre_box
from rtseg_daemon.segment.resample import resample, spaced_grid
from rtseg_training.errors import CaseError
from rtseg_training.learn.recipe import Recipe
from rtseg_training.sets.cases import Case
from rtseg_training.sets.labels import labels_on


class TrainingCase(Protocol):
    """What training asks of a case, in memory (`Prepared`) or on disk (`stored.OnDisk`). Volumes are `(z, y, x)`."""

    @property
    def name(self) -> str:
        """The case's name in its data set."""

    @property
    def digest(self) -> str:
        """SHA-256 of the case's file, by which it is known again in another data set, empty where there is no file."""

    @property
    def patient(self) -> str:
        """Digest of the patient, empty where unknown."""

    @property
    def hu(self) -> Volume:
        """HU, int16."""

    @property
    def labels(self) -> Array:
        """Class of each voxel, uint8."""

    @property
    def annotated(self) -> Array:
        """Which classes were looked for `(classes,)` bool, background first."""

    @property
    def counts(self) -> Array:
        """Voxels of each class `(classes,)`."""

    def voxels(self, organ: int) -> Array:
        """Flat numbers of an organ's voxels, rising."""


@dataclass(frozen=True)
class Prepared:
    """A case on the recipe's grid, in memory. See `TrainingCase`."""

    name: str
    hu: Volume
    labels: Array
    annotated: Array
    digest: str = ""
    patient: str = ""

    @cached_property
    def counts(self) -> Array:
        return np.bincount(self.labels.ravel(), minlength=len(self.annotated))

    def voxels(self, organ: int) -> Array:
        return np.flatnonzero(self.labels == organ)


def prepare(case: Case, recipe: Recipe) -> Prepared:
    """Resample to the recipe's spacing and crop around the patient with room for the jitter, as the daemon would.

    What lies outside the body becomes air. Raises CaseError if there is no body.
    """
    grid = spaced_grid(case.ct, recipe.spacing_mm)
    hu = resample(case.ct, grid, sampled=recipe.in_plane == "sample")
    body = body_mask(hu)
    if not body.any():
        raise CaseError(f"case {case.name}: no body found in the CT (nothing above -350 HU)")
    room = tuple(e + 2 * j * s for e, j, s in zip(recipe.extent_mm, recipe.jitter, recipe.spacing_mm, strict=True))
    box = centre_box(body, recipe.spacing_mm, (room[0], room[1], room[2]))
    inside = np.where(body[box.slices], hu.array[box.slices], np.float32(AIR_HU))
    labels, annotated = labels_on(case, grid, recipe.classes, box)
    rounded = np.clip(np.rint(inside), -1024, 8000).astype(np.int16)
    return Prepared(case.name, hu.crop(box).with_array(rounded), labels, annotated)


def extent(case: TrainingCase, organ: int) -> Array | None:
    """Voxels `(z, y, x)` from an organ's first to its last along each axis, None where the case does not show it."""
    flat = case.voxels(organ)
    if not len(flat):
        return None
    places = np.stack(np.unravel_index(flat, case.hu.shape))
    return np.asarray(places.max(axis=1) - places.min(axis=1) + 1)
