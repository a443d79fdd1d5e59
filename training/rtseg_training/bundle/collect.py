"""Every member's answer to every validation case, reduced and kept on disk: weights can be tried without inference."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rtseg_daemon.anatomy.arrays import on_host
from rtseg_daemon.anatomy.overlap import dice
from rtseg_daemon.anatomy.volume import Array, Grid, Volume, grid_of
from rtseg_daemon.segment.infer import member_probabilities
from rtseg_daemon.segment.pipeline import Segmenter, to_network_grid
from rtseg_training.bundle.kept import Store
from rtseg_training.measure.evaluate import truth_on
from rtseg_training.sets.cases import Case


@dataclass(frozen=True)
class Collected:
    """One case as the members see it. Its images stay on disk, so that hundreds of cases can be collected.

    Args:
        name: the case's.
        patient: digest of the patient, empty where unknown.
        load: reads the case itself, for measuring on its own grid.
        grid: the case's own grid.
        network: the network's grid as a volume of no HU (one value for all voxels, which takes no memory).
        annotated: `(classes,)`, background first.
        store: truth on the network's grid, and members' probabilities.
        member_dice: `(members, classes - 1)`, or NaN where the organ is not drawn, or too small for the network's grid.
    """

    name: str
    patient: str
    load: Callable[[], Case]
    grid: Grid
    network: Volume
    annotated: Array
    store: Store
    member_dice: Array

    @property
    def truth(self) -> Array:
        """Labels `(z, y, x)` on the network's grid."""
        return self.store.truth()

    def members(self) -> Iterator[Array]:
        """Each member's probabilities `(classes, z, y, x)` float32."""
        return self.store.members()


def without_hu(network: Volume) -> Volume:
    """The same grid, with one value for all voxels."""
    return network.with_array(np.broadcast_to(np.float32(0.0), network.shape))


def member_scores(p: Array, truth: Array, drawn: Sequence[bool]) -> list[float]:
    """Dice of one member's own argmax per organ, or NaN where nothing is drawn, or left of it on this grid."""
    labels = p.argmax(axis=0)
    there = [known and bool((truth == k).any()) for k, known in enumerate(drawn, 1)]
    return [dice(truth == k, labels == k) if known else float("nan") for k, known in enumerate(there, 1)]


def collect_case(segmenter: Segmenter, load: Callable[[], Case], folder: Path) -> Collected:
    """Run all members on one case. Raises CalibrationError where the disk is full."""
    bundle, case = segmenter.bundle, load()
    network = to_network_grid(case.ct, bundle)
    truth, annotated = truth_on(network, case, bundle.classes)
    drawn = [case.status.get(organ.name) == "drawn" for organ in bundle.classes]
    store = Store(folder / f"{case.name}.npz")
    members = member_probabilities(segmenter.engine, bundle, network.array, lambda: None)
    scores = [member_scores(on_host(p), truth, drawn) for p in store.write(truth, members)]
    return Collected(
        case.name, case.patient, load, grid_of(case.ct), without_hu(network), annotated, store, np.asarray(scores)
    )


def collect(
    segmenter: Segmenter, cases: Iterable[Callable[[], Case]], folder: Path, report: Callable[[str], None]
) -> list[Collected]:
    """Run all members on every case. Each of `cases` reads one from disk, when its turn comes."""
    out = []
    for load in cases:
        out.append(collect_case(segmenter, load, folder))
        report(out[-1].name)
    return out
