"""What FocusNet's boxes add to its S-Net: Dice of each small organ by S-Net alone, and with the organ's own network.

    python bench/branches.py RUNS --member focusnet --data SET [--note TEXT] [--log FILE]

RUNS is the folder that `rtseg-train train` wrote. Both answers are of one set of weights. Differences are by patient,
with a 95 % interval when patients are drawn again.
"""

import numpy as np
from rtseg_training.compare.score import score_case
from rtseg_training.learn.focus import SemanticOnly
from rtseg_training.measure.statistics import bootstrap_of
from stage_runs import Row, StageRun, told

from rtseg_daemon.anatomy.volume import Array


def interval(gain: Array) -> list[float]:
    """95 % interval of a mean over patients."""
    return [round(v, 3) for v in bootstrap_of(lambda k: float(gain[k].mean()), np.arange(len(gain)), draws=5000)]


def measured(run: StageRun) -> dict[str, Row]:
    """Each small organ's Dice both ways, and what its box adds."""
    alone, recipe = SemanticOnly(run.net), run.recipe
    pairs = [(score_case(alone, case, recipe), score_case(run.net, case, recipe)) for case in run.cases]
    organs = {}
    for name in recipe.small_organs:
        own = np.asarray([(before[name], after[name]) for before, after in pairs if name in after])
        gain = own[:, 1] - own[:, 0]
        organs[name] = {
            "cases": len(own),
            "snet": round(float(own[:, 0].mean()), 3),
            "focusnet": round(float(own[:, 1].mean()), 3),
            "gain": round(float(gain.mean()), 3),
            "interval": interval(gain),
        }
    return organs


if __name__ == "__main__":
    told(
        __doc__,
        "focusnet",
        measured,
        "S-Net {snet}, FocusNet {focusnet}, {gain:+} ({interval[0]:+} to {interval[1]:+})",
    )
