"""Golden cases: phantoms, or patients of a department, whose Dice is recorded in the bundle.

No later bundle of that name may be worse there.
"""

from collections.abc import Sequence
from pathlib import Path

from rtseg_daemon.bundles import Golden
from rtseg_daemon.demo.golden import dice_of, falls, load_case
from rtseg_daemon.segment.pipeline import Segmenter
from rtseg_training.errors import ExportError

SEEDS = (101, 102, 103)
MATRIX = 256


def measure(segmenter: Segmenter, case: Golden, folder: Path | None = None) -> Golden:
    """The case with the Dice of every organ of the bundle that it has. Files of patients lie in `folder`."""
    return case.model_copy(update={"dice": dice_of(segmenter, load_case(case, folder))})


def measure_all(segmenter: Segmenter, seeds: Sequence[int] = SEEDS, matrix: int = MATRIX) -> list[Golden]:
    """The phantoms of a new bundle."""
    return [measure(segmenter, Golden(seed=seed, matrix=matrix, dice={})) for seed in seeds]


def refuse_worse(name: str, recorded: Sequence[Golden], measured: Sequence[Golden]) -> None:
    """Raises ExportError for the first organ whose Dice fell below the recorded figure (less SLACK)."""
    now = {g.key: g.dice for g in measured}
    for old in recorded:
        if fault := falls(old, now[old.key]):
            raise ExportError(f"bundle {name} not promoted: {fault}")


def best_of(recorded: Sequence[Golden], measured: Sequence[Golden]) -> list[Golden]:
    """The higher figure of each organ: a record that followed every small fall would allow a large one."""
    before = {g.key: g.dice for g in recorded}
    return [
        g.model_copy(update={"dice": {o: max(d, before.get(g.key, {}).get(o, 0.0)) for o, d in g.dice.items()}})
        for g in measured
    ]
