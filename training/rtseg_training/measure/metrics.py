"""How far two masks of one organ are apart. Surfaces come from the surface-distance package (Nikolov et al. 2018)."""

import math
import warnings
from dataclasses import asdict, dataclass
from typing import Any

import surface_distance as sd

from rtseg_daemon.anatomy.overlap import added_path_mm, dice
from rtseg_daemon.anatomy.volume import Array, Triple, bounding_box


@dataclass(frozen=True)
class Scores:
    """Agreement of a prediction with the truth. Distances are infinite where one of the two is empty.

    Args:
        dice: 2 |A n B| / (|A| + |B|).
        hd95_mm: the larger of the two directed 95th percentiles of surface distance.
        assd_mm: mean surface distance over both surfaces.
        surface_dice: share of both surfaces within the tolerance of the other.
        added_path_mm: length of true contour that lies on no predicted contour and would have to be drawn.
        volume_error: (V_predicted - V_true) / V_true. Its absolute value is the papers' RVE.
    """

    dice: float
    hd95_mm: float
    assd_mm: float
    surface_dice: float
    added_path_mm: float
    volume_error: float

    def as_row(self) -> dict[str, float]:
        return asdict(self)


def surfaces_of(truth: Array, found: Array, spacing_mm: Triple) -> Any:
    """The package's surface distances. The package still calls scipy.ndimage by names that scipy 2 will drop."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=r".*scipy\.ndimage\.(filters|morphology)", category=DeprecationWarning
        )
        return sd.compute_surface_distances(truth, found, spacing_mm)


def compare(truth: Array, found: Array, spacing_mm: Triple, tolerance_mm: float = 3.0) -> Scores:
    """All scores of two masks `(z, y, x)` on one grid. Raises ValueError if the truth is empty."""
    box = bounding_box(truth | found)
    if box is None or not truth.any():
        raise ValueError("the true mask is empty")
    box = box.grown(1, (truth.shape[0], truth.shape[1], truth.shape[2]))
    a, b = truth[box.slices], found[box.slices]
    error = (int(b.sum()) - int(a.sum())) / int(a.sum())
    path = added_path_mm(a, b, spacing_mm)
    if not b.any():
        return Scores(0.0, math.inf, math.inf, 0.0, path, error)
    surfaces = surfaces_of(a, b, spacing_mm)
    forth, back = sd.compute_average_surface_distance(surfaces)
    areas = surfaces["surfel_areas_gt"].sum(), surfaces["surfel_areas_pred"].sum()
    assd = (forth * areas[0] + back * areas[1]) / (areas[0] + areas[1])
    return Scores(
        dice(a, b),
        float(sd.compute_robust_hausdorff(surfaces, 95)),
        float(assd),
        float(sd.compute_surface_dice_at_tolerance(surfaces, tolerance_mm)),
        path,
        error,
    )
