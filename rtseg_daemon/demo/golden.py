"""Golden cases: what a bundle must still find before it may serve, on phantoms and on patients that a department keeps.

A patient's case is a file outside the repository, without name, date or number, and its digest stands in the bundle.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rtseg_daemon.anatomy.organ import Organ
from rtseg_daemon.anatomy.volume import Array, Volume
from rtseg_daemon.bundles import Bundle, Golden
from rtseg_daemon.config.sections import Compute
from rtseg_daemon.demo.phantom import make_phantom
from rtseg_daemon.errors import BundleError
from rtseg_daemon.segment.pipeline import Segmenter
from rtseg_daemon.storage import damage
from rtseg_daemon.work import case

SLACK = 0.02
"""How far a figure may fall: other engines and processors round differently."""


@dataclass(frozen=True)
class GoldenCase:
    """A CT in HU and the masks `(z, y, x)` of its organs."""

    ct: Volume
    masks: dict[str, Array]


def load_case(golden: Golden, folder: Path | None) -> GoldenCase:
    """The phantom, or the patient's file in `folder`. Raises BundleError where that is not there or was altered."""
    if golden.file is None:
        assert golden.seed is not None
        assert golden.matrix is not None
        return GoldenCase(*make_phantom(golden.seed, golden.matrix))
    if folder is None:
        raise BundleError(
            f"golden case {golden.file} is a patient's and lies outside the bundle; name its folder with "
            "--golden-folder, or as models.golden in the configuration"
        )
    path = folder / Path(golden.file).name
    if fault := damage(path, golden.sha256 or ""):
        raise BundleError(f"golden case {path} {fault}; copy it there from where the bundle was made")
    return read_file(path)


def read_file(path: Path) -> GoldenCase:
    """A patient's case: HU `(z, y, x)`, and one bit for each organ in `bits`."""
    with np.load(path) as data:
        spacing, origin = data["spacing_mm"].tolist(), data["origin_mm"].tolist()
        ct = Volume(data["ct"], (spacing[0], spacing[1], spacing[2]), (origin[0], origin[1], origin[2]))
        bits = data["bits"]
        names = [str(name) for name in data["organs"]]
    return GoldenCase(ct, {name: ((bits >> bits.dtype.type(k)) & 1).astype(bool) for k, name in enumerate(names)})


def load_segmenter(bundle: Bundle, compute: Compute) -> Segmenter:
    """The bundle as a worker loads it."""
    return case.load_segmenter(bundle, compute, None)


def overlap(truth: Array, organ: Organ) -> float:
    """Dice of a found organ with its true mask on the whole CT, or 1 if both are empty."""
    found = 0 if organ.mask is None else int(organ.mask.sum())
    both = 0
    if organ.box is not None and organ.mask is not None:
        both = int((truth[organ.box.slices] & organ.mask).sum())
    whole = int(truth.sum()) + found
    return 2 * both / whole if whole else 1.0


def dice_of(segmenter: Segmenter, known: GoldenCase) -> dict[str, float]:
    """Dice of every organ of the bundle that the case has."""
    organs = segmenter.segment_volume(known.ct).organs
    return {o.name: round(overlap(known.masks[o.name], o), 4) for o in organs if o.name in known.masks}


def falls(recorded: Golden, now: dict[str, float]) -> str:
    """The first organ whose Dice fell below the recorded figure by more than SLACK, in words, or nothing."""
    for organ, figure in recorded.dice.items():
        if now.get(organ, 0.0) < figure - SLACK:
            return f"on golden case {recorded.label} {organ} falls from Dice {figure:.3f} to {now.get(organ, 0.0):.3f}"
    return ""


def check(bundle: Bundle, segmenter: Segmenter, folder: Path | None) -> str:
    """Measure every golden case of a bundle on this machine. Returns what was found.

    Raises BundleError for one that is not there, or on which the bundle is worse than recorded.
    """
    measured = [golden for golden in bundle.golden if golden.dice]
    for golden in measured:
        if fault := falls(golden, dice_of(segmenter, load_case(golden, folder))):
            raise BundleError(f"{bundle.name} {bundle.version} may not serve: {fault}")
    figures = sum(len(golden.dice) for golden in measured)
    return f"{len(measured)} golden cases with {figures} figures hold" if measured else "none recorded"
