"""Every member's probabilities on every validation case, kept on disk: weights can be tried without inference."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rtseg_daemon.anatomy.volume import Array, Volume
from rtseg_daemon.segment.infer import member_probabilities
from rtseg_daemon.segment.pipeline import Segmenter, to_network_grid
from rtseg_training.measure.evaluate import truth_on
from rtseg_training.measure.metrics import dice
from rtseg_training.sets.cases import Case


@dataclass(frozen=True)
class Collected:
    """One case as the members see it.

    Args:
        case: the case itself, for measuring on its own grid.
        network: HU on the network's grid.
        truth: labels `(z, y, x)` on the network's grid.
        annotated: `(classes,)`, background first.
        file: members' probabilities `(members, classes, z, y, x)` float16.
        member_dice: `(members, classes - 1)`, or NaN where the organ is not drawn, or too small for the network's grid.
    """

    case: Case
    network: Volume
    truth: Array
    annotated: Array
    file: Path
    member_dice: Array

    def members(self) -> Iterator[Array]:
        """Each member's probabilities `(classes, z, y, x)` float32."""
        for p in np.load(self.file, mmap_mode="r"):
            yield np.asarray(p, np.float32)


def member_scores(p: Array, truth: Array, drawn: Sequence[bool]) -> list[float]:
    """Dice of one member's own argmax per organ, or NaN where nothing is drawn, or left of it on this grid."""
    labels = p.argmax(axis=0)
    there = [known and bool((truth == k).any()) for k, known in enumerate(drawn, 1)]
    return [dice(truth == k, labels == k) if known else float("nan") for k, known in enumerate(there, 1)]


def collect_case(segmenter: Segmenter, case: Case, folder: Path) -> Collected:
    """Run all members on one case."""
    bundle = segmenter.bundle
    network = to_network_grid(case.ct, bundle)
    truth, annotated = truth_on(network, case, bundle.classes)
    drawn = [case.status.get(organ.name) == "drawn" for organ in bundle.classes]
    kept = np.empty((len(bundle.members), len(bundle.classes) + 1, *network.shape), np.float16)
    scores = []
    for index, p in enumerate(member_probabilities(segmenter.engine, bundle, network.array, lambda: None)):
        kept[index] = p
        scores.append(member_scores(p, truth, drawn))
    path = folder / f"{case.name}.npy"
    np.save(path, kept)
    return Collected(case, network, truth, annotated, path, np.asarray(scores))


def collect(
    segmenter: Segmenter, cases: Sequence[Case], folder: Path, report: Callable[[str], None]
) -> list[Collected]:
    """Run all members on every case."""
    out = []
    for case in cases:
        out.append(collect_case(segmenter, case, folder))
        report(case.name)
    return out
