"""A structure set as a planning system sends it back: its contours edited as people edit, and approved."""

import random
from copy import deepcopy
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import DataElement
from pydicom.uid import generate_uid

from tests.structure_sets import by_a_person

Points = NDArray[np.float64]


def edited(file: bytes, seed: int, drifted: str = "", larger_mm: float = 0.0) -> bytes:
    """The file with a new identity, approved, and every ROI changed by chance, `drifted` by `larger_mm` all around."""
    dataset, chance = dcmread(BytesIO(file)), random.Random(seed)
    by_a_person(dataset)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = generate_uid()
    dataset.StructureSetLabel = "PLAN"
    names = {int(roi.ROINumber): str(roi.ROIName) for roi in dataset.StructureSetROISequence}
    for roi in dataset.ROIContourSequence:
        if not roi.get("ContourSequence"):
            continue
        if names[int(roi.ReferencedROINumber)] == drifted and larger_mm:
            for contour in roi.ContourSequence:
                put(contour, grown(points(contour), larger_mm))
        chance.choice((leave_alone, extend_inferiorly, end_higher, shave, redraw))(roi, chance)
    out = BytesIO()
    dcmwrite(out, dataset, enforce_file_format=True)
    return out.getvalue()


def leave_alone(_roi: Dataset, _chance: random.Random) -> None:
    """Nothing is wrong with it."""


def extend_inferiorly(roi: Dataset, _chance: random.Random) -> None:
    """The lowest contours are copied one slice down, where nobody refers to an image."""
    slices = sorted({points(contour)[0, 2] for contour in roi.ContourSequence})
    if len(slices) < 2:
        return
    lowest = [contour for contour in roi.ContourSequence if points(contour)[0, 2] == slices[0]]
    for contour in lowest:
        copy = deepcopy(contour)
        copy.pop("ContourImageSequence", None)
        put(copy, points(contour) - (0.0, 0.0, slices[1] - slices[0]))
        roi.ContourSequence.append(copy)


def end_higher(roi: Dataset, _chance: random.Random) -> None:
    """The lowest contours go."""
    slices = sorted({points(contour)[0, 2] for contour in roi.ContourSequence})
    if len(slices) > 3:
        roi.ContourSequence = [one for one in roi.ContourSequence if points(one)[0, 2] != slices[0]]


def shave(roi: Dataset, chance: random.Random) -> None:
    """Some slices become a little smaller."""
    for contour in roi.ContourSequence:
        if chance.random() < 0.4:
            put(contour, grown(points(contour), -0.7))


def redraw(roi: Dataset, chance: random.Random) -> None:
    """Every slice is drawn anew by a hand that is not quite steady."""
    noise = np.random.default_rng(chance.randrange(2**32))
    for contour in roi.ContourSequence:
        put(contour, grown(points(contour), float(noise.normal(0.0, 0.4))))


def points(contour: Dataset) -> Points:
    """Points (x, y, z) in mm."""
    return np.array(contour.ContourData, float).reshape(-1, 3)


def put(contour: Dataset, at: Points) -> None:
    contour["ContourData"] = DataElement(0x30060050, "DS", [f"{value:.3f}" for value in at.ravel()])
    contour.NumberOfContourPoints = len(at)


def grown(at: Points, mm: float) -> Points:
    """A contour whose points lie `mm` farther from its middle, in its plane."""
    middle = at.mean(axis=0)
    outwards = at - middle
    length = np.linalg.norm(outwards, axis=1, keepdims=True)
    return np.asarray(middle + outwards * (1.0 + mm / np.maximum(length, 1e-6)).clip(0.2))
