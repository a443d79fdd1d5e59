"""How good a bundle is on cases with known contours, measured on their own grid through the daemon's own pipeline."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from rtseg_daemon.anatomy.organ import Organ
from rtseg_daemon.anatomy.volume import Array, Box, Volume, grid_of
from rtseg_daemon.bundles import Bundle, OrganClass, bundle_in
from rtseg_daemon.config.sections import Compute
from rtseg_daemon.errors import EngineError
from rtseg_daemon.segment.pipeline import Segmentation, Segmenter
from rtseg_daemon.segment.resample import block_mean, interpolate, spaced_grid
from rtseg_training.measure.metrics import Scores, compare
from rtseg_training.sets.cases import Case
from rtseg_training.sets.labels import labels_on

TableRow = dict[str, float | str]


@dataclass
class Evaluation:
    """Rows of one data set: one per case and drawn organ, voxels and errors per entropy level, seconds per case.

    Args:
        absent: a row for each organ that somebody looked for and the scan does not hold: what was found of it, in ml.
        levels: vote entropy, rounded to 4 digits, to [voxels inside predicted organs, wrong ones among them].
    """

    rows: list[TableRow] = field(default_factory=list)
    levels: dict[float, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    seconds: list[float] = field(default_factory=list)
    absent: list[TableRow] = field(default_factory=list)

    def of(self, organ: str, column: str) -> Array:
        """A column's values for one organ, in the order of the cases."""
        return np.asarray([row[column] for row in self.rows if row["organ"] == organ], float)


def open_segmenter(bundle: Bundle, threads: int = 0, cache: Path | None = None) -> Segmenter:
    """The daemon's own segmenter of a bundle, on whatever this machine runs it best.

    Raises EngineError where memory leaves it other windows than the bundle's: figures would be of another model.
    """
    segmenter = Segmenter.load(bundle, Compute(threads=threads), cache)
    mine = segmenter.bundle
    if (mine.window, mine.window_step) != (bundle.window, bundle.window_step):
        raise EngineError(
            f"bundle {bundle.name}: memory is too short for its windows, and what is measured in smaller ones is "
            "not true of it; end other programs and run this again"
        )
    return segmenter


def open_bundle(folder: Path) -> Bundle:
    """The bundle in `folder`, `NAME` or `NAME/VERSION`. Raises BundleError naming what is wrong with it."""
    return bundle_in(folder)


def full_mask(organ: Organ, ct: Volume) -> Array:
    """The organ on the CT's whole grid."""
    mask = np.zeros(ct.shape, bool)
    if organ.box is not None and organ.mask is not None:
        mask[organ.box.slices] = organ.mask
    return mask


def drawn(case: Case, organ: str) -> bool:
    """Whether there is a truth to compare with."""
    return case.status.get(organ) == "drawn"


def organ_row(case: Case, organ: Organ, scores: Scores, truth_ml: float) -> TableRow:
    """One line of the table: who, how good, and what the daemon knew without the truth."""
    row: TableRow = {"case": case.name, "organ": organ.name, **scores.as_row()}
    row |= {"true_ml": truth_ml, "volume_ml": organ.volume_ml, **organ.figures}
    if organ.predicted_dice is not None and organ.interval is not None:
        row |= {"predicted": organ.predicted_dice, "low": organ.interval[0], "high": organ.interval[1]}
    return row


def organ_rows(case: Case, organs: Iterable[Organ], tolerance_mm: float) -> list[TableRow]:
    """Rows of every organ that is drawn in the case. An organ that was not found has Dice 0."""
    rows = []
    for organ in organs:
        if drawn(case, organ.name):
            truth = case.mask(organ.name)
            scores = compare(truth, full_mask(organ, case.ct), case.ct.spacing_mm, tolerance_mm)
            rows.append(organ_row(case, organ, scores, float(truth.sum()) * case.ct.voxel_ml))
    return rows


def truth_on(network: Volume, case: Case, classes: Sequence[OrganClass]) -> tuple[Array, Array]:
    """True labels `(z, y, x)` uint8 on the network's grid and which classes are annotated `(classes,)` bool.

    A voxel is the organ's that fills most of it, if that is a half or more (as in training).
    """
    return labels_on(case, grid_of(network), [organ.name for organ in classes])


def count_levels(levels: dict[float, list[int]], entropy: Array, found: Array, truth: Array, annotated: Array) -> None:
    """Add a case's voxels inside predicted, annotated organs to the counts per entropy level (seed 001, Fig. 12c)."""
    inside = (found > 0) & annotated[found]
    wrong = truth != found
    values, index = np.unique(np.round(entropy[inside], 4), return_inverse=True)
    for k, value in enumerate(values):
        chosen = index == k
        levels[float(value)][0] += int(chosen.sum())
        levels[float(value)][1] += int(wrong[inside][chosen].sum())


def doubtful_level(levels: Mapping[float, Sequence[int]]) -> float | None:
    """The least vote entropy (nats, rounded down) from which on half of the voxels are wrong, or None if there is none.

    Complete agreement is no level: it is not to be seen in a ring.
    """
    for level in sorted(level for level in levels if level > 0):
        beyond = [counts for value, counts in levels.items() if value >= level]
        if 2 * sum(wrong for _, wrong in beyond) >= sum(voxels for voxels, _ in beyond) > 0:
            return math.floor(100 * level) / 100
    return None


def add_case(evaluation: Evaluation, case: Case, result: Segmentation, bundle: Bundle, tolerance_mm: float) -> None:
    """Measure one segmented case."""
    evaluation.rows += organ_rows(case, result.organs, tolerance_mm)
    evaluation.absent += [
        {"case": case.name, "organ": organ.name, "found_ml": organ.volume_ml}
        for organ in result.organs
        if case.status.get(organ.name) in ("empty", "outside")
    ]
    truth, annotated = truth_on(result.network, case, bundle.classes)
    count_levels(evaluation.levels, result.entropy, result.ensemble.labels, truth, annotated)
    evaluation.seconds.append(sum(result.seconds.values()))


def divided(ct: Volume, parts: int) -> Volume:
    """`ct` with each pixel divided into `parts` x `parts`, interpolated linearly: as large as scans, but as smooth."""
    z, y, x = ct.spacing_mm
    return interpolate(ct, spaced_grid(ct, (z, y / parts, x / parts)))


def joined_pixels(organ: Organ, fine: Volume, parts: int) -> Organ:
    """An organ of a CT whose pixels were divided, on the pixels as they were: those of which it holds half or more."""
    share = block_mean(fine.with_array(full_mask(organ, fine)), (1, parts, parts)).array
    return replace(organ, box=Box((0, 0, 0), (share.shape[0], share.shape[1], share.shape[2])), mask=share >= 0.5)


def segmented(segmenter: Segmenter, ct: Volume, parts: int) -> Segmentation:
    """What the daemon says of `ct` when it comes with its pixels divided. Organs are on the pixels of `ct`."""
    if parts == 1:
        return segmenter.segment_volume(ct)
    fine = divided(ct, parts)
    result = segmenter.segment_volume(fine)
    return replace(result, organs=[joined_pixels(organ, fine, parts) for organ in result.organs])


def evaluate(
    segmenter: Segmenter, cases: Iterable[Case], tolerance_mm: float, report: Callable[[str], None], parts: int = 1
) -> Evaluation:
    """Segment every case, each pixel divided into `parts` x `parts`, and measure it.

    A case holds the CT as it was received, so this is what the daemon says of that patient.
    """
    evaluation = Evaluation()
    for case in cases:
        add_case(evaluation, case, segmented(segmenter, case.ct, parts), segmenter.bundle, tolerance_mm)
        report(case.name)
    return evaluation
