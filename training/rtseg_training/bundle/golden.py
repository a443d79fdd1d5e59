"""Golden cases: phantoms whose Dice is recorded in the bundle. No later bundle of that name may be worse there."""

from collections.abc import Sequence

from rtseg_daemon.bundles import Bundle, Golden
from rtseg_daemon.demo.phantom import make_phantom
from rtseg_daemon.segment.pipeline import Segmenter
from rtseg_training.errors import ExportError
from rtseg_training.measure.evaluate import full_mask
from rtseg_training.measure.metrics import dice

SEEDS = (101, 102, 103)
MATRIX = 256
SLACK = 0.02
"""How far a figure may fall: other engines and processors round differently."""


def measure(segmenter: Segmenter, seed: int, matrix: int) -> Golden:
    """Dice of every organ of the bundle that the phantom has."""
    volume, truth = make_phantom(seed, matrix)
    organs = segmenter.segment_volume(volume).organs
    scores = {o.name: round(dice(truth[o.name], full_mask(o, volume)), 4) for o in organs if o.name in truth}
    return Golden(seed=seed, matrix=matrix, dice=scores)


def measure_all(segmenter: Segmenter, seeds: Sequence[int] = SEEDS, matrix: int = MATRIX) -> list[Golden]:
    """The golden cases of a new bundle."""
    return [measure(segmenter, seed, matrix) for seed in seeds]


def refuse_worse(name: str, recorded: Sequence[Golden], measured: Sequence[Golden]) -> None:
    """Raises ExportError for the first organ whose Dice fell below the recorded figure (less SLACK)."""
    now = {(g.seed, g.matrix): g.dice for g in measured}
    for old in recorded:
        new = now[(old.seed, old.matrix)]
        for organ, figure in old.dice.items():
            if new.get(organ, 0.0) < figure - SLACK:
                raise ExportError(
                    f"bundle {name} not promoted: on golden case {old.seed} {organ} falls from Dice {figure:.3f} to "
                    f"{new.get(organ, 0.0):.3f}"
                )


def best_of(recorded: Sequence[Golden], measured: Sequence[Golden]) -> list[Golden]:
    """The higher figure of each organ: a record that followed every small fall would allow a large one."""
    before = {(g.seed, g.matrix): g.dice for g in recorded}
    return [
        g.model_copy(
            update={"dice": {o: max(d, before.get((g.seed, g.matrix), {}).get(o, 0.0)) for o, d in g.dice.items()}}
        )
        for g in measured
    ]


def measure_against(candidate: Segmenter, current: Bundle) -> list[Golden]:
    """Measure a candidate on the golden cases of the bundle it would replace. Raises ExportError if it is worse."""
    measured = [measure(candidate, g.seed, g.matrix) for g in current.golden]
    refuse_worse(current.name, current.golden, measured)
    return measured
